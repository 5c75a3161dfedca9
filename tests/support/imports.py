"""What the package's files import, wherever and however they do it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from places import ROOT

import latentedit

PACKAGE = ROOT / "latentedit"
FILES = sorted(PACKAGE.rglob("*.py"))
_TARGET = re.compile(r"latentedit(\.\w+)*(:\w+)?")


def module_of(path: Path) -> str:
    """Dotted name of the module in a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str) -> str:
    """The folder that a module lies in, or the module itself where it lies right under the package."""
    path = ROOT.joinpath(*module.split("."))
    if path.is_dir():
        return module
    parent = module.rpartition(".")[0]
    return module if parent == "latentedit" else parent


def imports(path: Path, code: str | None = None) -> set[str]:
    """Full dotted names of all that a file imports: anywhere in it, for types alone, relatively, by a text that names a
    module (as registries do), and public names of the root, which stand for where they live.

    Args:
        path: of the file.
        code: what is read in its place.
    """
    return set(_imports(path, path.read_text(encoding="utf-8") if code is None else code))


@cache  # every test of the layout asks for all files
def _imports(path: Path, code: str) -> frozenset[str]:
    tree = ast.parse(code)
    found = set(_imported(tree, path)) | set(_named(tree))
    return frozenset(_home(name) for name in found)


def _imported(tree: ast.AST, path: Path) -> Iterator[str]:
    here = module_of(path).split(".") if path.is_relative_to(ROOT) else []
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                if alias.name == "latentedit" or (alias.name.startswith("latentedit.") and not alias.asname):
                    roots.add(alias.asname or "latentedit")
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + (path.name == "__init__.py")] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in roots:
            yield f"latentedit.{node.attr}"


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _TARGET.fullmatch(node.value):
            yield node.value.replace(":", ".")


def _home(name: str) -> str:
    """The module that a dotted name is of; names outside the package, and of the root itself, stay as they are."""
    parts = name.split(".")
    if parts[0] != "latentedit":
        return name
    if len(parts) > 1 and parts[1] in latentedit._HOME:
        return f"latentedit.{latentedit._HOME[parts[1]]}"
    while len(parts) > 1:
        path = ROOT.joinpath(*parts)
        if path.is_dir() or path.with_suffix(".py").is_file():
            break
        parts.pop()
    return ".".join(parts)


def folder_graph(code: dict[Path, str] | None = None) -> dict[str, set[str]]:
    """Folder to the folders that its files import; a module right under the package counts as one.

    Args:
        code: files that are read as something else, or as well.
    """
    graph: dict[str, set[str]] = {}
    for path in {*FILES, *(code or {})}:
        here = folder_of(module_of(path)) if path.name != "__init__.py" else module_of(path)
        ours = {name for name in imports(path, (code or {}).get(path)) if name.split(".")[0] == "latentedit"}
        graph.setdefault(here, set()).update({folder_of(name) for name in ours} - {here, "latentedit"})
    graph.pop("latentedit", None)  # it holds names, and imports them when they are asked for
    return graph
