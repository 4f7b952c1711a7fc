# The blog: the application that `entrypoint` migrates and becomes, as `uvicorn app.main:app`.

from typing import Iterator, List

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from app.database import database_url
from app.models import Post, count_words

engine = create_engine(database_url(), pool_pre_ping=True)
app = FastAPI(title="Blog")


class NewPost(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    body: str


class StoredPost(NewPost):
    id: int
    word_count: int


def open_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@app.get("/healthz")
def healthz() -> dict:
    # Whether this process serves. A probe that asked the database too would have every replica restarted
    # by an outage that no restart cures.
    return {"status": "ok"}


@app.get("/posts", response_model=List[StoredPost])
def list_posts(session: Session = Depends(open_session)) -> List[dict]:
    return [describe(post) for post in session.scalars(select(Post).order_by(Post.id))]


@app.post("/posts", response_model=StoredPost, status_code=201)
def create_post(new: NewPost, session: Session = Depends(open_session)) -> dict:
    if "\0" in new.title + new.body:
        raise HTTPException(422, "PostgreSQL cannot store the character U+0000")
    post = Post(title=new.title, body=new.body, word_count=count_words(new.body))
    session.add(post)
    session.commit()
    return describe(post)


def describe(post: Post) -> dict:
    return {"id": post.id, "title": post.title, "body": post.body, "word_count": post.word_count}
