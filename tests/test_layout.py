"""The layout: which folder may import which, and that no two import each other, however long the way round."""

from __future__ import annotations

import ast
import graphlib
import importlib
from pathlib import Path

import pytest
from imports import FILES, PACKAGE, folder_graph, imports, module_of

import latentedit

# What stands on a line may import what stands on it or above.
ORDER = (
    ("errors",),
    ("lookalikes", "registry", "files", "shipped"),
    ("tensorfile",),
    ("checkpoints",),
    ("pictures",),
    ("generators",),
    ("taggers",),
    ("samples",),
    ("directions",),
    ("prior",),
    ("editing",),
    ("metrics",),
    ("study",),
    ("inspection",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Folders that import each other, in order; empty when there are none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def above(graph: dict[str, set[str]]) -> list[str]:
    """Imports that run against the order."""
    unit = {name: name.split(".")[1] for name in graph}
    return [
        f"{here} -> {there}"
        for here, others in sorted(graph.items())
        for there in sorted(others)
        if RANK[unit[here]] < RANK[there.split(".")[1]]
    ]


def test_folders_import_in_one_direction() -> None:
    graph = folder_graph()
    assert {name.split(".")[1] for name in graph} == set(RANK)
    assert above(graph) == []


def test_no_circle_of_folders() -> None:
    graph = folder_graph()
    assert len(graph) > 15
    assert circle(graph) == []


LOW = PACKAGE / "generators" / "base.py"


@pytest.mark.parametrize(
    "code",
    [
        "from latentedit.taggers.base import Tagger",
        "def later():\n    import latentedit.taggers",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from latentedit.taggers import Tagger",
        "from ..taggers.base import Tagger",
        "from .. import taggers",
        "from latentedit import load_tagger",
        "import latentedit as le\nle.load_tagger('avatar')",
        "TARGET = 'latentedit.taggers.avatar:load'",
    ],
)
def test_every_way_to_import_is_seen(code: str) -> None:
    graph = folder_graph({LOW: code})
    assert "latentedit.taggers" in graph["latentedit.generators"]
    assert above(graph) == ["latentedit.generators -> latentedit.taggers"]
    found = circle(graph)
    assert {"latentedit.generators", "latentedit.taggers"} <= set(found)


def test_a_circle_inside_a_folder_of_folders_is_seen() -> None:
    code = "from latentedit.generators.base import per_slot"
    graph = folder_graph({PACKAGE / "generators" / "networks" / "gnr.py": code})
    assert set(circle(graph)) == {"latentedit.generators", "latentedit.generators.networks"}


@pytest.mark.parametrize(
    ("package", "owner"), [("click", "cli"), ("rich", "cli"), ("pyarrow", "samples"), ("jinja2", "pictures")]
)
def test_one_folder_owns_the_package(package: str, owner: str) -> None:
    users = {module_of(p).split(".")[1] for p in FILES if any(n.split(".")[0] == package for n in imports(p))}
    assert users == {owner}


def test_the_top_stays_small() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "_shipped")]
    assert len(entries) <= 21, sorted(entries)


def test_no_module_is_called_like_a_public_function() -> None:
    functions = {name for name in latentedit.__all__ if name[0].islower()}
    assert {"sample", "tag", "edit", "evaluate"} <= functions
    assert not functions & {Path(path).stem for path in FILES} - {"__init__"}
    assert not functions & {path.name for path in PACKAGE.rglob("*") if path.is_dir()}


def test_public_names_stay_themselves_when_everything_is_imported() -> None:
    for path in FILES:
        if path.name != "__main__.py":
            importlib.import_module(module_of(path))
    for name in latentedit.__all__:
        assert callable(getattr(latentedit, name)), name  # a module is not


def test_dir_shows_the_public_names_alone() -> None:
    assert dir(latentedit) == sorted(latentedit.__all__)


def carried(code: str) -> dict[str, int]:
    """Function to how many of its calls are handed more than eight of its own parameters."""
    found = {}
    for function in ast.walk(ast.parse(code)):
        if isinstance(function, ast.FunctionDef):
            given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            own = {argument.arg for argument in given} - {"self", "cls"}
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            values = [[*call.args, *(keyword.value for keyword in call.keywords)] for call in calls]
            handed = [{n.id for one in row for n in ast.walk(one) if isinstance(n, ast.Name)} & own for row in values]
            found[function.name] = sum(len(names) > 8 for names in handed)
    return found


def test_no_function_carries_more_than_eight_parameters_through_more_than_one_call() -> None:
    for path in FILES:
        assert max(carried(path.read_text(encoding="utf-8")).values(), default=0) <= 1, path
    names = ", ".join("abcdefghi")
    assert carried(f"def f({names}):\n    g({names})\n    h({names})") == {"f": 2}
