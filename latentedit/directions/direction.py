"""A direction as a value.

**Sign and unit, the only place they are written down.** A :class:`Direction` is a vector of unit (Frobenius)
norm in the style space; plus means *towards* its tag (an unsupervised direction without a tag has its
largest-magnitude entry positive). ``sigma`` is the standard deviation of the sampled codes' projection on
it, so that a strength s moves codes by ``s * sigma * vector`` and means about the same for every tag and finder::

    unit="sigma"    codes += s * sigma * vector               the default
    unit="latent"   codes += s * vector                       a length in code space
    unit="raw"      codes += s * coefficient_norm * vector    the regression's own coefficients

**A sum has a strength of its own**: where none is given, a direction that was found moves by the usual 3 σ, and what
was built of several, or is a multiple of one, by 1: a look, ``2 * smile - glasses``, is used as it was built.

**Directions are values.** ``-d``, ``2 * d``, ``a - b / 3`` make new directions by combining the *steps*
``sigma * vector`` in float64: the step of ``a - r * b`` is the step of ``a`` minus r times the step of ``b``, split
again into a unit vector and a ``sigma``. One unit of strength along ``a - r * b`` therefore moves codes as one unit
along ``a`` and ``-r`` units along ``b``; the ``sigma`` of a sum is the length of that step, no longer a
standard deviation. ``-(a - r * b) == -a + r * b`` holds exactly. Directions of two generators never mix.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError, MismatchError
from latentedit.pictures.notebook import table_html

UNITS = ("sigma", "latent", "raw")
Unit = Literal["sigma", "latent", "raw"]


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """A unit vector in a generator's style space.

    Two directions are equal when tag, vector, sigma, generator, space and layers are; provenance is not compared.

    Attributes:
        tag: what + means; of a combination, its formula.
        vector: (d,) or (layers, d) float32 on the CPU, unit Frobenius norm.
        sigma: code-space length of one unit of strength: the standard deviation of the codes' projection.
        generator_id: the only generator that it fits.
        coefficient_norm: norm of the regression's coefficients, 1 for other finders, None for sums.
        finder: name of the method.
        params: what the method was run with, and what it found on the way; JSON values.
        space: "w".
        layers: names of the generator's slots, all of them; empty when unknown.
        tagger_id: whose scores it was learned from, None for unsupervised ones.
        truncation: of the codes it was learned from.
        score: held-out R2 of the tag's target, None when nothing could be held out.
        support: rows that carry the tag.

    Raises:
        LatentEditError: a vector that is not finite or not of unit norm, a sigma that is not a finite number above 0.
    """

    tag: str
    vector: Tensor
    sigma: float
    generator_id: str
    coefficient_norm: float | None = 1.0
    finder: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    space: str = "w"
    layers: tuple[str, ...] = ()
    tagger_id: str | None = None
    truncation: float | None = 1.0
    score: float | None = None
    support: int | None = None

    def __post_init__(self) -> None:
        vector = torch.as_tensor(self.vector).detach().to("cpu", torch.float32, copy=True).contiguous()
        norm = float(torch.linalg.vector_norm(vector.double()))
        if vector.ndim not in (1, 2) or not abs(norm - 1) <= 1e-4:
            raise LatentEditError(
                f"direction {self.tag!r}: a vector of shape {tuple(vector.shape)} and norm {norm:.6g}; "
                "give (d,) or (layers, d) with norm 1"
            )
        if vector.ndim == 2 and self.layers and len(self.layers) != len(vector):
            raise LatentEditError(f"direction {self.tag!r}: {len(vector)} rows for the slots {', '.join(self.layers)}")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            still = "; codes do not vary along it, so that no strength would move any" if self.sigma == 0 else ""
            raise LatentEditError(f"direction {self.tag!r}: sigma is {self.sigma}{still}; give a finite number above 0")
        try:
            params = json.loads(json.dumps(dict(self.params)))  # a copy, and sure to fit into a file
        except (TypeError, ValueError) as error:
            raise LatentEditError(f"direction {self.tag!r}: params must be JSON values ({error})") from error
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "sigma", float(self.sigma))
        object.__setattr__(self, "layers", tuple(self.layers))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.vector.shape))
        found = [f"σ {self.sigma:.3g}", self.finder, "" if self.score is None else f"held-out R² {self.score:.3f}"]
        return f"Direction({self.tag!r}, {size} numbers of {self.generator_id}, {', '.join(filter(None, found))})"

    def _repr_html_(self) -> str:
        """What is known of it, a line each, for notebooks."""
        rows = [
            ("tag", self.tag), ("generator", self.generator_id), ("numbers", " x ".join(map(str, self.vector.shape))),
            ("σ", f"{self.sigma:.3f}"), ("finder", self.finder),
            ("held-out R²", "" if self.score is None else f"{self.score:.3f}"),
            ("support", self.support), ("tagger", self.tagger_id),
        ]  # fmt: skip
        return table_html([(name, value) for name, value in rows if value not in (None, "")])

    @property
    def step(self) -> Tensor:
        """``sigma * vector``, what one unit of strength adds to a code: (d,) or (layers, d) float64."""
        return self.sigma * self.vector.double()

    @property
    def strength(self) -> float | None:
        """What it is used at when no strength is given: 1 for a sum or multiple; None: the usual one of all tags."""
        own = self.params.get("strength", 1.0 if "terms" in self.params else None)
        return None if own is None else float(own)

    def named(self, tag: str) -> Direction:
        """The same under another tag, such as one for a sum, whose own is its formula."""
        params = {key: value for key, value in self.params.items() if key != "terms"}
        if self.strength is not None:
            params |= {"strength": self.strength, "made_of": self._terms}
        return replace(self, tag=tag, params=params)

    @property
    def _terms(self) -> dict[str, float]:
        return dict(self.params.get("terms", {self.tag: 1.0}))

    def _renamed(self, terms: Mapping[str, float]) -> dict[str, Any]:
        """Tag and params of a combination, written the same way whatever the order of the operations."""
        terms = {tag: f for tag, f in sorted(terms.items(), key=lambda item: (-abs(item[1]), item[0])) if f}
        params = {key: value for key, value in self.params.items() if key != "terms"}
        if len(terms) == 1 and next(iter(terms.values())) == 1:
            return {"tag": next(iter(terms)), "params": params}
        sizes = {tag: "" if abs(f) == 1 else f"{abs(f):.4g}*" for tag, f in terms.items()}
        text = " ".join(f"{'-' if f < 0 else '+'} {sizes[tag]}{tag}" for tag, f in terms.items())
        return {"tag": text.removeprefix("+ ") or "nothing", "params": params | {"terms": terms}}

    def __mul__(self, factor: float) -> Direction:
        if not isinstance(factor, (int, float, np.floating, np.integer)) or isinstance(factor, bool):
            return NotImplemented
        factor = float(factor)
        if not math.isfinite(factor) or not factor:
            raise LatentEditError(f"{self.tag!r} times {factor}: give a finite number other than 0")
        size = abs(factor)
        return replace(
            self,
            vector=-self.vector if factor < 0 else self.vector,
            sigma=self.sigma * size,
            coefficient_norm=None if self.coefficient_norm is None else self.coefficient_norm * size,
            **self._renamed({tag: f * factor for tag, f in self._terms.items()}),
        )

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Direction:
        return self * (1 / divisor)

    def __neg__(self) -> Direction:
        return self * -1.0

    def __add__(self, other: Direction) -> Direction:
        if not isinstance(other, Direction):
            return NotImplemented
        check_same_space(self, other)
        step = self.step + other.step
        sigma = float(torch.linalg.vector_norm(step))
        terms = self._terms
        for tag, factor in other._terms.items():
            terms[tag] = terms.get(tag, 0.0) + factor
        if not sigma > 1e-6 * (self.sigma + other.sigma):
            raise LatentEditError(f"{self.tag!r} and {other.tag!r} cancel out; no direction is left")
        return Direction(
            vector=(step / sigma).float(), sigma=sigma, coefficient_norm=None, finder="combination",
            generator_id=self.generator_id, space=self.space, layers=self.layers or other.layers,
            tagger_id=self.tagger_id if self.tagger_id == other.tagger_id else None,
            truncation=self.truncation if self.truncation == other.truncation else None,
            **(self._renamed(terms) | {"params": {"terms": terms}}),
        )  # fmt: skip

    def __sub__(self, other: Direction) -> Direction:
        return self + -other if isinstance(other, Direction) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Direction):
            return NotImplemented
        names = ("tag", "sigma", "generator_id", "space", "layers")
        return all(getattr(self, n) == getattr(other, n) for n in names) and torch.equal(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash((self.tag, self.sigma, self.generator_id, self.space, self.layers))


def check_same_space(a: Direction, b: Direction) -> None:
    """Raise MismatchError unless two directions live in the same space of the same generator."""
    shapes = [tuple(d.vector.shape) for d in (a, b)]
    if a.generator_id != b.generator_id:
        raise MismatchError(f"{a.tag!r} is of {a.generator_id}, {b.tag!r} of {b.generator_id}; do not mix them")
    if a.space != b.space or shapes[0] != shapes[1] or (a.layers and b.layers and a.layers != b.layers):
        raise MismatchError(
            f"{a.tag!r} is {shapes[0]} in space {a.space!r}, {b.tag!r} is {shapes[1]} in {b.space!r}; do not mix them"
        )
