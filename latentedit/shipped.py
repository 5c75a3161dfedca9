"""Finds the files that come with the project, in a wheel or in a checkout."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from latentedit.errors import DamagedFileError

SHIPPED = "shipped:"
"""Before the name of a shipped file or folder, where one is recorded: it is found again wherever the package is."""


def shipped(relative: str) -> Path:
    """Path of a shipped file or folder, such as ``data/avatar-generator.safetensors``.

    Raises:
        DamagedFileError: this installation lacks it.
    """
    for root in _roots():
        if (root / relative).exists():
            return root / relative
    raise DamagedFileError(f"this installation of latentedit lacks {relative}; install it again")


def recorded(path: Path) -> str:
    """How a path is recorded: that of a shipped file or folder by its name, ``shipped:data/contents``."""
    for root in _roots():
        if path.is_relative_to(root) and path.relative_to(root).parts[:1] in (("data",), ("directions",)):
            return SHIPPED + path.relative_to(root).as_posix()
    return str(path)


def recorded_places(name: str) -> list[Path]:
    """Where what :func:`recorded` wrote may be: where it was, or where it ships now, whatever machine it was on."""
    inside = name.removeprefix(SHIPPED) if name.startswith(SHIPPED) else "/".join(PureWindowsPath(name).parts[-2:])
    found = [root / inside for root in _roots()] if inside.startswith(("data/", "directions/")) else []
    return found if name.startswith(SHIPPED) else [Path(name), *found]


def _roots() -> tuple[Path, Path]:
    package = Path(os.path.abspath(__file__)).parent
    return package / "_shipped", package.parent
