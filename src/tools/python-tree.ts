// Python that finds where a migration's file says what is run, behind python.ts: for the tools that are asked to print their SQL.

/** Defines read_tree() and read_positions(). */
export const pythonTree = `
import ast

trees = {}


def read_tree(path):
    """The nodes of a file's syntax; none where it cannot be read."""
    if path not in trees:
        try:
            with open(path, "rb") as file:
                trees[path] = list(ast.walk(ast.parse(file.read())))
        except (OSError, SyntaxError, ValueError):
            trees[path] = []
    return trees[path]


def read_positions(frame):
    """Its line, its end line, its column and its end column; before Python 3.11 the line alone, and None."""
    if hasattr(frame.f_code, "co_positions"):
        positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        if None not in positions:
            return positions
    return frame.f_lineno, None, None, None
`;
