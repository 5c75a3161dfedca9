"""Which tagger says whether edits did what they should, where none was named.

In this order: the one that is named; the independent one that ships for the generator (``default_judge`` of the
object); the tagger that the editor was fitted with, whose name its file holds, which flatters the editor. Nothing else
is guessed: a tagger of other pictures gives confident scores that mean nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from latentedit.editing.editor import Editor
from latentedit.editing.editors import tagger_name_of, taggers_of
from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator
from latentedit.taggers import Tagger, load_tagger

Why = Literal["named", "ships", "fitted"]


@dataclass(frozen=True)
class Judge:
    """A tagger that judges.

    Attributes:
        tagger: it.
        name: that it was loaded by.
        why: it was "named", "ships" with the generator, or is the tagger that the editor was "fitted" with.
        fitted: it is the tagger that an editor was fitted with, however it was chosen.
    """

    tagger: Tagger
    name: str
    why: Why
    fitted: bool

    def __str__(self) -> str:
        """Who judges, in a line."""
        why = {"named": "", "ships": ", which ships for this generator", "fitted": ""}[self.why]
        flatters = ", the tagger that the edits were fitted with, which flatters them" if self.fitted else ""
        return f"judge: {self.name} ({self.tagger.id}){why}{flatters}"


def fitted_with(editors: Iterable[Editor]) -> tuple[str, frozenset[str]]:
    """The name of the first tagger that editors say they were fitted with, "" where none does; and the ids of all."""
    every = list(editors)
    names = [name for editor in every if (name := tagger_name_of(editor))]
    return (names or [""])[0], frozenset().union(*map(taggers_of, every))


def choose_judge(
    generator: Generator,
    named: str | None = None,
    *,
    fitted: tuple[str, Collection[str]] = ("", ()),
    device: str | torch.device = "cpu",
    runs_code: bool = True,
) -> Judge:
    """The judge of edits of a generator; see the head of this module.

    Args:
        generator: whose pictures are judged.
        named: by the user; None or "" where nobody did.
        fitted: name and ids of the taggers that what edits was fitted with, as :func:`fitted_with` gives them.
        device: as in torch.
        runs_code: take a tagger ``torch:...`` that a file names, which imports and calls code.

    Raises:
        LatentEditError: there is none to take, it cannot be loaded, or it knows stored samples alone.
    """
    recorded, ids = fitted
    ships = getattr(generator, "default_judge", "")
    name, why = _first((named or "", "named"), (ships, "ships"), (recorded, "fitted"))
    if not name:
        raise LatentEditError(
            f"no judge ships for {generator.id}, and what edits does not say which tagger it was fitted with; "
            "name one with --judge"
        )
    if why == "fitted" and name.startswith("torch:") and not runs_code:
        raise LatentEditError(
            f"what edits was fitted with the tagger {name}, which is code; say that it may judge: --judge '{name}'"
        )
    try:
        tagger = load_tagger(name, device=device)
    except LatentEditError as error:
        if why == "named":
            raise
        raise LatentEditError(
            f"no judge is named, and {name}, the tagger that what edits was fitted with, cannot be loaded ({error}); "
            "name one with --judge"
        ) from error
    if hasattr(tagger, "label_rows"):
        raise LatentEditError(
            f"{name} holds labels of stored samples and cannot judge other pictures; name a tagger that looks at "
            "pictures with --judge"
        )
    return Judge(tagger, name, why, tagger.id in ids)


def _first(*asked: tuple[str, Why]) -> tuple[str, Why]:
    """The first that has a name, else the last."""
    return next((one for one in asked if one[0]), asked[-1])
