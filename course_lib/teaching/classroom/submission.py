"""A notebook as it was handed in: its functions, found by reading it and never by running it, with what they depend on."""

from __future__ import annotations

import ast
import json
import linecache
import re
import symtable
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from course_lib.teaching.checks.outcome import one_line

MOST_CELLS = 2000
REACHES_FOR_ANSWERS = {"checks", "function", "solution", "answer", "reference", "mistaken", "judge"}
REACHES_AROUND = {
    *("gc", "inspect", "ctypes", "importlib", "sys", "os", "subprocess", "socket", "builtins", "linecache", "pickle"),
    *("getattr", "locals", "_getframe", "f_back", "tb_frame", "gi_frame", "__dict__", "__closure__", "__builtins__"),
    *("attrgetter", "methodcaller", "__getattribute__", "__self__", "__func__", "__mro__", "runpy", "multiprocessing"),
    *("eval", "exec", "compile", "open", "globals", "vars", "__import__", "__globals__", "__subclasses__", "__code__"),
}
"""Names that an answer has no need of; where one has them, a person should look at it."""


@dataclass(frozen=True)
class Statement:
    """One statement of a notebook, the names that it binds, and those that it needs, at once or when it is called."""

    node: ast.stmt
    cell: int
    binds: frozenset[str] = field(default_factory=frozenset)
    needs: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_function(self) -> bool:
        return isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef))


def statements(content: bytes) -> tuple[list[Statement], list[str]]:
    """All statements of a notebook's cells, and a line about each cell that is no Python.

    Raises ValueError for what is no notebook.
    """
    found, unread = [], []
    for k, source in enumerate(_cells(content), 1):
        linecache.cache[f"<cell {k}>"] = (len(source), None, source.splitlines(keepends=True), f"<cell {k}>")
        try:
            found += [_statement(node, k) for node in _parsed(source)]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            unread.append(one_line(f"cell {k} cannot be read ({getattr(error, 'msg', None) or type(error).__name__})"))
    return found, unread


def _cells(content: bytes) -> list[str]:
    """The code of each cell, '' for one of text."""
    try:
        cells = json.loads(content)["cells"][:MOST_CELLS]
        code = [cell["source"] if cell["cell_type"] == "code" else "" for cell in cells]
        return ["".join(source) for source in code]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no notebook") from None


def _parsed(source: str) -> Iterator[ast.stmt]:
    """The statements of a cell, each import of several names as several; lines of magic are left out."""
    try:
        nodes = ast.parse(source).body
    except SyntaxError:
        lines = [re.sub(r"^(\s*)[%!?].*", r"\1pass", line) for line in source.splitlines()]
        nodes = ast.parse("\n".join(lines)).body
    for node in nodes:
        several = isinstance(node, (ast.Import, ast.ImportFrom))
        yield from (_with_names(node, [alias]) for alias in node.names) if several else [node]


def _with_names(node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> ast.stmt:
    return ast.copy_location(type(node)(**{**dict(ast.iter_fields(node)), "names": names}), node)


def _statement(node: ast.stmt, cell: int) -> Statement:
    table = symtable.symtable(ast.unparse(node), f"<cell {cell}>", "exec")
    binds, changed = set(_bound(node)), set(_changed(node))
    needs = {s.get_name() for s in table.get_symbols() if s.is_referenced()} | set(_global_names(table)) | changed
    return Statement(node, cell, frozenset(binds | changed), frozenset(needs))


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives a value in the notebook itself; "*" for all of a module's."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


def _changed(node: ast.stmt) -> Iterator[str]:
    """The names whose value a statement changes: x in x += 1, x[0] = 1 and x.y = 1."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            place = target
            while isinstance(place, (ast.Attribute, ast.Subscript)):
                place = place.value
            if isinstance(place, ast.Name) and (place is not target or isinstance(node, ast.AugAssign)):
                yield place.id


def _global_names(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that the functions in a table take from outside of all functions."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from _global_names(child)


def part(found: list[Statement], name: str) -> list[Statement]:
    """The last `def name` and all statements that it depends on, in their order; none where there is no such function.

    A name is what it was given last before it is needed, or else first after. An exercise is its own `def`, not what a lesson
    made of it later.
    """
    last = [k for k, each in enumerate(found) if each.is_function and each.node.name == name]
    taken, left = set(), last[-1:]
    while left:
        k = left.pop()
        if k not in taken:
            taken.add(k)
            needed = sorted(found[k].needs - ({name} if k == last[-1] else set()))
            left += [place for each in needed if (place := _where(found, each, k)) is not None]
    stars = {k for k, each in enumerate(found) if "*" in each.binds and taken}
    return [found[k] for k in sorted(taken | stars)]


def _where(found: list[Statement], name: str, at: int) -> int | None:
    """The place of the statement that binds the name, as it is needed at this place."""
    own = name.startswith("my_")
    places = [k for k, each in enumerate(found) if name in each.binds and k != at and (each.is_function or not own)]
    return max((k for k in places if k < at), default=min(places, default=None))


def uses(found: list[Statement], shown: set[str]) -> list[str]:
    """Which of the library's functions that do the same, of the checks, and of Python's ways around, the statements name."""
    names = set()
    for node in (node for each in found for node in ast.walk(each.node)):
        if isinstance(node, ast.Attribute) and node.attr in shown | REACHES_FOR_ANSWERS | REACHES_AROUND:
            names.add(ast.unparse(node)[-60:])
        elif isinstance(node, ast.Name) and node.id in shown | REACHES_AROUND:
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {repr(each) for each in node.value.split(".")} & {repr(each) for each in shown | REACHES_AROUND}
        elif isinstance(node, ast.MatchClass):
            names |= set(node.kwd_attrs) & (shown | REACHES_FOR_ANSWERS | REACHES_AROUND)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            said = [*[alias.name for alias in node.names], getattr(node, "module", None) or ""]
            names |= {each for each in said if set(each.split(".")) & (shown | REACHES_AROUND | {"checks"})}
    return sorted(names)


def load(content: bytes, name: str) -> Callable:
    """The notebook's function `name`, made by running its part of the notebook alone. Raises whatever that raises."""
    made: dict = {"__name__": "__main__"}
    for each in part(statements(content)[0], name):
        exec(compile(ast.Module([each.node], []), f"<cell {each.cell}>", "exec", dont_inherit=True), made)
    return made[name]
