"""Gaussian transport: the free baseline of a prior, fitted in seconds and with no network.

The codes of a tag's carriers and of its lackers are each taken for a Gaussian, and a code is carried along the optimal
transport from one to the other, ``T(x) = m1 + A (x - m0)`` with ``A = C0^-1/2 (C0^1/2 C1 C0^1/2)^1/2 C0^-1/2`` (Olkin &
Pukelsheim, "The distance between two random vectors with given dispersion matrices", 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentedit.directions.bank import check_codes, parse_layers
from latentedit.directions.edits import DEFAULT_STRENGTH, Edit, EditLike
from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators.base import Generator
from latentedit.pictures.notebook import few, table_html
from latentedit.prior.reading import stored
from latentedit.samples.store import Samples, open_samples

SHRINK = 0.1
"""Share by which a covariance is drawn towards that of all codes, so that rare tags have one that can be inverted."""


class Transport:
    """An editor that carries codes from how lackers of a tag lie to how its carriers do. Made by :meth:`fit`.

    Args:
        maps: tag → (matrix (d, d), offset (d,)) float64 of ``T(x) = matrix x + offset``, and those of the way back.
        generator_id: the only generator that it fits.
        layers: names of the generator's slots; empty when unknown.
    """

    def __init__(
        self, maps: Mapping[str, tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]], generator_id: str,
        *, layers: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._maps, self.generator_id, self.layers = dict(maps), generator_id, tuple(layers)
        self.tags = tuple(self._maps)
        self.dim = len(next(iter(self._maps.values()))[0][1])

    def __repr__(self) -> str:
        return f"Transport({len(self.tags)} tags of {self.generator_id}: {few(self.tags, 8)})"

    def _repr_html_(self) -> str:
        """What is known of it, for notebooks."""
        tags = (f"{len(self.tags)} tags", few(self.tags, 8))
        return table_html([("transport of", self.generator_id), ("numbers", self.dim), tags])

    @classmethod
    def fit(
        cls, samples: Samples | str | Path, *, tags: Sequence[str] | None = None, tagger: str | None = None,
        layers: Sequence[str] = (),
    ) -> Transport:  # fmt: skip
        """The maps of every tag.

        Args:
            samples: tagged; a handle or their folder.
            tags: to fit; None: those that a direction would be fitted for.
            tagger: whose scores, when samples hold those of several.
            layers: names of the generator's slots, for edits that name some.

        Raises:
            UnknownNameError: a tag that the tagger does not have.
            LatentEditError: no tags, or one that all samples have.
        """
        run = open_samples(samples) if isinstance(samples, (str, Path)) else samples
        known = stored(run, tags=None if tags is None else tuple(tags), tagger=tagger, most=10_000)
        if not known.tags:
            raise LatentEditError(f"{run.path} holds no tags; label it with `latentedit tag {run.path}`")
        codes = known.codes.double()
        whole = torch.cov(codes.T)
        maps = {}
        for j, tag in enumerate(known.tags):
            labelled = known.scores[:, j].isfinite()
            carries = labelled & (known.scores[:, j] >= 0.5)
            sides = [codes[labelled & ~carries], codes[carries]]
            if min(map(len, sides)) < 2:
                raise LatentEditError(f"fewer than two samples lack {tag!r}, or have it; leave it out, or sample more")
            means = [side.mean(0) for side in sides]
            spreads = [torch.lerp(torch.cov(side.T), whole, SHRINK) for side in sides]
            maps[tag] = (_transport(*means, *spreads), _transport(*means[::-1], *spreads[::-1]))
        return cls(maps, run.generator_id, layers=layers)

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator.

        Raises:
            MismatchError: it was fitted to another one.
        """
        if generator.id != self.generator_id:
            raise MismatchError(f"this transport fits the generator {self.generator_id}, not {generator.id}")

    def moves(self, edits: EditLike) -> dict[str, float]:
        """Tag to its strength; opposites are what carriers lack anyway.

        Raises:
            UnknownNameError: a tag that it does not know.
            LatentEditError: a goal, or something to keep.
        """
        found: dict[str, float] = {}
        for one in Edit(edits).resolve(self.tags).parts:
            found[one.tag] = found.get(one.tag, 0.0) + (one.strength or 0.0)
        return found

    def edit(self, codes: Tensor, edits: EditLike) -> Tensor:
        """Codes on their way to the carriers: the usual strength goes all of it; a negative one goes to the lackers.

        Args:
            codes: (n, d) or (n, layers, d), floating point; slots are moved one by one.
            edits: as :func:`latentedit.edit` takes them; an opposite is what carriers lack anyway.

        Raises:
            UnknownNameError: a tag that it does not know.
            LatentEditError: a goal, something to keep, or a strength that is a length; codes of a wrong shape.
        """
        parts = Edit(edits).resolve(self.tags).parts
        check_codes(codes, self.dim, "this transport takes")
        if any(one.layers is not None for one in parts) and codes.ndim == 2:
            if not self.layers:
                raise LatentEditError("this transport does not know the generator's slots; give codes (n, layers, d)")
            codes = codes[:, None].expand(-1, len(self.layers), -1)
        exact = codes.cpu().double()  # an Apple GPU has no float64
        total = torch.zeros_like(exact)
        for one in parts:
            assert one.strength is not None
            if one.unit != "sigma":
                raise LatentEditError(f"{one}: transport has no {one.unit} strengths; leave the unit out")
            matrix, offset = self._maps[one.tag][0 if one.strength >= 0 else 1]
            step = abs(one.strength) / DEFAULT_STRENGTH * (exact @ matrix.T + offset - exact)
            if one.layers is not None:
                slots = self.layers or [str(i) for i in range(codes.shape[1])]
                chosen = torch.zeros(codes.shape[1], 1, dtype=torch.float64)
                chosen[parse_layers(one.layers, slots)] = 1
                step = step * chosen
            total += step
        return codes + total.to(codes)


def _transport(m0: Tensor, m1: Tensor, c0: Tensor, c1: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix (d, d) and offset (d,) that carry one Gaussian to another."""
    root, inverse = _root(c0), _root(c0, inverse=True)
    matrix = inverse @ _root(root @ c1 @ root) @ inverse
    return matrix, m1 - matrix @ m0


def _root(matrix: Tensor, *, inverse: bool = False) -> Tensor:
    """Square root of a symmetric positive matrix (d, d), or the inverse of that; narrow axes are left alone."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    wide = values > 1e-9 * values[-1]
    roots = torch.where(wide, values.clamp(min=1e-300).sqrt(), 0)
    roots = torch.where(wide, 1 / roots, 0) if inverse else roots
    return (vectors * roots) @ vectors.T
