"""Explicit strengths as an edit, with a unit or layers for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentedit.directions.edits import Edit


def explicit(strengths: Mapping[str, float], **fields: Any) -> Edit:
    """``{tag: strength}``, to which nothing is added, with these fields of :class:`Edit` besides."""
    return Edit([Edit(tag, strength, opposite=None, **fields) for tag, strength in strengths.items()])
