"""Editors in files, and the best one that ships for a generator."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError, safe_open

from latentedit.directions.bank import DirectionBank
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import Generator
from latentedit.prior.prior import FORMAT as PRIOR
from latentedit.prior.prior import Prior

EditorFile: TypeAlias = DirectionBank | Prior


def open_editor(path: str | Path) -> EditorFile:
    """The editor in a file, whichever it is: directions, or a prior.

    Raises:
        DamagedFileError: missing, damaged, or neither.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedFileError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            kind = (file.metadata() or {}).get("format")
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path}: damaged or not a safetensors file ({error})") from error
    return Prior.load(path) if kind == PRIOR else DirectionBank.load(path)


def newest_editor(folder: str | Path, generator: Generator | None = None) -> tuple[EditorFile, Path] | None:
    """The newest readable editor's file in a folder, and the editor; None when there is none.

    Args:
        folder: looked into, not below.
        generator: only files that fit it.
    """
    files = sorted(Path(folder).glob("*.safetensors"), key=lambda path: (-path.stat().st_mtime, path.name))
    for path in files:
        if path.name.startswith("."):
            continue
        try:
            found = open_editor(path)
        except LatentEditError:
            continue
        if generator is None or found.generator_id == generator.id:
            return found, path
    return None


def load_default(generator: Generator) -> EditorFile:
    """The best editor that ships for a generator: its prior, else its directions.

    Raises:
        LatentEditError: none comes with latentedit.
    """
    try:
        return Prior.load_default(generator)
    except LatentEditError:
        return DirectionBank.load_default(generator)
