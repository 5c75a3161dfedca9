"""How an edit is asked of a prior: which scores, how hard, with how much of the picture left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from latentedit.directions.edits import DEFAULT_STRENGTH, Edit
from latentedit.prior.conditions import widened

REACHED = 0.98
"""Score that an edit of positive strength asks for; its opposite, and what a negative one asks for, is 1 less this."""
NEAR = 0.02
"""A goal is reached when the score is as near to it as this."""


@dataclass(frozen=True)
class Way:
    """How hard an edit of full strength is pulled, and which cells of the picture are left open.

    Attributes:
        guidance: 1 goes to the new condition, more goes past it.
        open: "own" for the cells that the tag is about, "wider" for these and their neighbours, "all".
    """

    guidance: float
    open: Literal["own", "wider", "all"]

    def cells(self, region: Tensor) -> Tensor:
        """The cells (c,) bool that are left open, of those that the tag is about."""
        if self.open == "all":
            return torch.ones_like(region)
        return widened(region) if self.open == "wider" else region


LADDER = (Way(1.0, "own"), Way(1.2, "own"), Way(1.5, "own"), Way(1.2, "wider"), Way(1.2, "all"))
"""Ways to edit a face, the least first: each face goes the first that reaches what is asked for. Chosen on faces of
seeds from 60,000 on with the bundled tagger."""


def share_of(one: Edit) -> float:
    """The share of its full strength that an edit is asked for with."""
    if one.goal is not None:
        return 1.0
    return abs(DEFAULT_STRENGTH if one.strength is None else one.strength) / DEFAULT_STRENGTH


def added_up(parts: Sequence[Edit]) -> list[Edit]:
    """Paired edits of which no two with a strength are of one tag, or of a tag and its opposite, in the same slots."""
    found: dict[tuple[Any, ...], Edit] = {}
    for i, one in enumerate(parts):
        if one.goal is not None:
            found[i,] = one
            continue
        strength = DEFAULT_STRENGTH if one.strength is None else one.strength
        rest = (one.layers, one.keep, one.unit)
        same = found.get((one.tag, *rest))
        turned = found.get((one.opposite, *rest)) if one.opposite is not None else None
        if turned is not None and turned.opposite == one.tag:
            same, strength = turned, -strength
        base = same or one
        total = strength + (same.strength or 0.0 if same is not None else 0.0)
        found[base.tag, *rest] = Edit(
            base.tag, total, opposite=base.opposite, ratio=base.ratio, keep=base.keep, layers=base.layers,
            unit=base.unit,
        )  # fmt: skip
    return list(found.values())
