"""Imports of the library run in one direction, without cycles."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from course_lib.files import ROOT

LAYERS = {"nets": 1, "datasets": 1, "methods": 2, "zoo": 3, "teaching": 4, "widgets": 4}  # 0 is the core


def name_of(path) -> str:
    """A file's module, such as course_lib.nets.unet; a package has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in (ROOT / "course_lib").rglob("*.py")}


def imports(source: str) -> set[str]:
    """The modules of the library that a source imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            found |= names or {str(node.module)}
    return found & FILES.keys()


def layer(module: str) -> int:
    parts = module.split(".")
    return LAYERS.get(parts[1], 0) if len(parts) > 1 else 0


def upward(module: str, imported: str) -> bool:
    """Whether this import is against the direction. Only the pages, of what is not a widget, may import widgets."""
    if module == "course_lib.__main__":  # the command is above all
        return False
    if ".widgets" in imported and ".widgets" not in module:
        return not module.startswith("course_lib.teaching.publish")
    return layer(imported) > layer(module)


GRAPH = {module: imports(path.read_text(encoding="utf-8")) - {"course_lib"} for module, path in FILES.items()}


def test_imports_run_downwards():
    found = [f"{module} imports {other}" for module, others in GRAPH.items() for other in others if upward(module, other)]
    assert not found


def test_there_are_no_cycles():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_wrong_import_is_found():
    (planted,) = imports("def f():\n    from course_lib.zoo import models\n")
    assert planted == "course_lib.zoo.models"
    assert upward("course_lib.samplers", planted) and not upward("course_lib.teaching.claims", planted)
    assert upward("course_lib.zoo.models", "course_lib.widgets.page") and upward(
        "course_lib.nets.unet", "course_lib.methods.sdxl"
    )
