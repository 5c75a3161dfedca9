"""Finds the files that come with the project, in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

from latentedit.errors import DamagedFileError


def shipped(relative: str) -> Path:
    """Path of a shipped file or folder, such as ``data/avatar-generator.safetensors``.

    Raises:
        DamagedFileError: this installation lacks it.
    """
    package = Path(__file__).parent
    for root in (package / "_shipped", package.parent):
        if (root / relative).exists():
            return root / relative
    raise DamagedFileError(f"this installation of latentedit lacks {relative}; install it again")
