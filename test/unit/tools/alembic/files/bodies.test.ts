import { expect, test } from "vitest";
import { readBodies } from "../../../../../src/tools/alembic/files/bodies.ts";

const bodyOf = (source: string) => readBodies(Buffer.from(source)).downgrade;

test.each([
  ["def downgrade():\n    pass\n"],
  ["def downgrade() -> None:\n    pass"],
  ["def downgrade() -> None:\n    # nothing\n\n    pass  # at all\n\nx = 1\n"],
  ["def downgrade(): pass"],
  ["def downgrade():\n    ..."],
  ["def downgrade():\n\treturn"],
  ["def downgrade():\n    return None"],
  ['def downgrade():\n    """Downgrade schema."""\n'],
  ['def downgrade():\n    """It\'s one way."""; pass\n    ...\n'],
  [
    "def upgrade():\n    op.drop_table('a')\n\ndef downgrade(engine_name: str = 'x') -> None:\n    pass\n",
  ],
])("%j does nothing", (source) => {
  expect(bodyOf(source)).toBe("empty");
});

test.each([
  ["def downgrade():\n    op.drop_table('a')\n"],
  ["def downgrade(): op.drop_table('a')"],
  ["def downgrade(): pass; op.drop_table('a')"],
  ["def downgrade():\n    raise NotImplementedError\n"],
  ["def downgrade():\n    if x:\n        pass\n"],
  ["def downgrade():\n    pass\n    op.drop_table('a')\n"],
  ["def downgrade():\n    f'{op.drop_table(1)}'\n"],
  ["def downgrade():\n    return op.drop_table('a')\n"],
])("%j does something", (source) => {
  expect(bodyOf(source)).toBe("full");
});

test.each([
  ["from other import downgrade\n"],
  ["downgrade = other\n"],
  ["def upgrade():\n    pass\n"],
  ["if x:\n    def downgrade():\n        pass\n"],
  ["@wrap\ndef downgrade():\n    pass\n"],
  ["def downgrade():\n    pass\n\ndowngrade = other\n"],
  ["async def downgrade():\n    pass\n"],
  ["def downgrade(:\n"],
])("of %j nobody can tell", (source) => {
  expect(bodyOf(source)).toBe("unknown");
});
