"""Directions settled on a prior: a line's step, carried to where the generator's codes lie.

For directions that came from elsewhere or know no tags; where a prior knows the tag, its own edit keeps more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.edits import EditLike
from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators.base import Generator
from latentedit.pictures.notebook import table_html
from latentedit.prior.prior import Prior

TIME = 0.65
"""Of the flow, at which a moved code is mixed with its noise: nearer to 0 is more natural, nearer to 1 reaches more."""


class Settled:
    """An editor: the lines of a bank, settled on a prior, in difference form with the code's own noise.

    Args:
        bank: of the prior's generator.
        prior: with or without tags.
        time: in [0, 1]; see :data:`TIME`.

    Raises:
        MismatchError: bank and prior of two generators.
        LatentEditError: a time outside [0, 1].
    """

    def __init__(self, bank: DirectionBank, prior: Prior, *, time: float = TIME) -> None:
        if bank.generator_id != prior.generator_id or bank.dim != prior.dim:
            raise MismatchError(
                f"directions of {bank.generator_id} ({bank.dim} numbers) and a prior of {prior.generator_id} "
                f"({prior.dim}) do not belong together"
            )
        if not 0 <= time <= 1:
            raise LatentEditError(f"time is {time}; it must lie in [0, 1]")
        self.bank, self.prior, self.time = bank, prior, time
        self.tags, self.generator_id, self.generator_name = bank.tags, bank.generator_id, bank.generator_name

    def __repr__(self) -> str:
        return f"Settled({self.bank!r}, {self.prior!r}, time={self.time})"

    def _repr_html_(self) -> str:
        """A table of the directions, for notebooks."""
        return table_html([("settled on", repr(self.prior)), ("at time", self.time)]) + self.bank._repr_html_()

    @property
    def usual_strengths(self) -> dict[str, float]:
        """As of the bank."""
        return self.bank.usual_strengths

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator.

        Raises:
            MismatchError: the directions were found in another one, or its code has changed since.
        """
        self.bank.check_generator(generator)
        self.prior.check_generator(generator)

    @torch.no_grad()
    def edit(self, codes: Tensor, edits: EditLike) -> Tensor:
        """Codes moved as the bank moves them, then settled; slots are settled one by one, those that moved.

        Arguments and what it returns: as of :meth:`latentedit.directions.bank.DirectionBank.edit`.
        """
        moved = self.bank.edit(codes, edits)
        before = codes[:, None].expand_as(moved) if moved.ndim > codes.ndim else codes
        flat, there = before.reshape(-1, self.bank.dim), moved.reshape(-1, self.bank.dim)
        changed = (flat != there).any(1)
        found = there.clone()
        if changed.any():
            found[changed] = self.prior.settle(flat[changed], there[changed], time=self.time)
        return found.view_as(moved)
