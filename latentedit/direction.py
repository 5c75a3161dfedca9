"""Directions, banks of directions, and what is known about tags.

**Sign and unit, the only place they are written down.** A :class:`Direction` is a vector of unit (Frobenius)
norm in the style space; plus means *towards* its tag (an unsupervised direction without a tag has its
largest-magnitude entry positive). ``sigma`` is the standard deviation of the sampled codes' projection on
it, so that a strength s moves codes by ``s * sigma * vector`` and means about the same for every tag and finder::

    unit="sigma"    codes += s * sigma * vector               the default
    unit="latent"   codes += s * vector                       a length in code space
    unit="raw"      codes += s * coefficient_norm * vector    the regression's own coefficients

**Directions are values.** ``-d``, ``2 * d``, ``a - b / 3`` make new directions by combining the *steps*
``sigma * vector`` in float64: the step of ``a - r * b`` is the step of ``a`` minus r times the step of ``b``, split
again into a unit vector and a ``sigma``. One unit of strength along ``a - r * b`` therefore moves codes as one unit
along ``a`` and ``-r`` units along ``b``; the ``sigma`` of a sum is the length of that step, no longer a
standard deviation. ``-(a - r * b) == -a + r * b`` holds exactly. Directions of two generators never mix.

**Files** are safetensors: ``direction`` (k, d) or (k, layers, d) float32, ``sigma`` (k,) and
``coefficient_norm`` (k,) float64 (NaN: none), and string metadata with everything else as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.generators.base import Generator
from latentedit.shipped import shipped
from latentedit.tensorfile import read_safetensors, write_safetensors

FORMAT = "latentedit.directions"
SCHEMA = 1
UNITS = ("sigma", "latent", "raw")
Unit = Literal["sigma", "latent", "raw"]


@dataclass(frozen=True, eq=False)
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
        LatentEditError: a vector that is not finite or not of unit norm, a sigma that is negative or not finite.
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
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise LatentEditError(f"direction {self.tag!r}: sigma is {self.sigma}; give a finite number >= 0")
        try:
            params = json.loads(json.dumps(dict(self.params)))  # a copy, and sure to fit into a file
        except (TypeError, ValueError) as error:
            raise LatentEditError(f"direction {self.tag!r}: params must be JSON values ({error})") from error
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "sigma", float(self.sigma))
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def step(self) -> Tensor:
        """``sigma * vector``, what one unit of strength adds to a code: (d,) or (layers, d) float64."""
        return self.sigma * self.vector.double()

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
        if not math.isfinite(factor):
            raise LatentEditError(f"{self.tag!r} times {factor}: give a finite number")
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
        _same(self, other)
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


def _same(a: Direction, b: Direction) -> None:
    """Raise MismatchError unless two directions live in the same space of the same generator."""
    shapes = [tuple(d.vector.shape) for d in (a, b)]
    if a.generator_id != b.generator_id:
        raise MismatchError(f"{a.tag!r} is of {a.generator_id}, {b.tag!r} of {b.generator_id}; do not mix them")
    if a.space != b.space or shapes[0] != shapes[1] or (a.layers and b.layers and a.layers != b.layers):
        raise MismatchError(
            f"{a.tag!r} is {shapes[0]} in space {a.space!r}, {b.tag!r} is {shapes[1]} in {b.space!r}; do not mix them"
        )


def parse_layers(layers: str | Sequence[int | str], slots: Sequence[str]) -> list[int]:
    """Slot indices that ``"0-3,5"``, ``"conv1,to_rgb"`` or a list of indices and names stands for.

    Args:
        layers: exact slot names, indices, and inclusive ranges of indices.
        slots: the generator's slot names in order.

    Returns:
        Indices in rising order, none twice.

    Raises:
        LatentEditError: no such slot, or none chosen.
    """
    parts: Sequence[int | str] = [part.strip() for part in layers.split(",")] if isinstance(layers, str) else layers
    chosen: set[int] = set()
    for part in parts:
        if isinstance(part, str) and part in slots:
            chosen.add(slots.index(part))
            continue
        numbers = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", str(part))
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if not first <= last < len(slots):
            known = ", ".join(f"{i} {name}" if name != str(i) else name for i, name in enumerate(slots))
            raise LatentEditError(f"no layers {part!r}; write indices, ranges or names as in '0-3,5', of: {known}")
        chosen.update(range(first, last + 1))
    if not chosen:
        raise LatentEditError("layers is empty; name at least one slot, or leave it out for all")
    return sorted(chosen)


class DirectionBank:
    """Directions of one generator, one per tag, in order.

    Args:
        directions: at least one; tags differ, generator, space and shape are the same.
        generator_name: what the generator was loaded by, such as ``gnr:GNR_checkpoint.pt``; empty when unknown.

    Raises:
        LatentEditError: none, or a tag twice.
        MismatchError: directions that do not belong together.
    """

    def __init__(self, directions: Sequence[Direction], *, generator_name: str = "") -> None:
        directions, self.generator_name = list(directions), generator_name
        if not directions:
            raise LatentEditError("a bank needs at least one direction")
        for direction in directions[1:]:
            _same(directions[0], direction)
        self._directions = {direction.tag: direction for direction in directions}
        if len(self._directions) < len(directions):
            tags = [d.tag for d in directions]
            twice = sorted({tag for tag in tags if tags.count(tag) > 1})
            raise LatentEditError(f"two directions are called {', '.join(twice)}; a bank holds one per tag")
        first = directions[0]
        self.generator_id, self.space, self.dim = first.generator_id, first.space, first.vector.shape[-1]
        self.layers = next((d.layers for d in directions if d.layers), ())

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags in order."""
        return tuple(self._directions)

    def __getitem__(self, tag: str) -> Direction:
        if tag not in self._directions:
            raise UnknownNameError("direction", tag, self.tags)
        return self._directions[tag]

    def __contains__(self, tag: object) -> bool:
        return tag in self._directions

    def __len__(self) -> int:
        return len(self._directions)

    def __iter__(self) -> Iterator[Direction]:
        return iter(self._directions.values())

    def __repr__(self) -> str:
        return f"DirectionBank({len(self)} directions of {self.generator_id}: {', '.join(self.tags)})"

    def cosines(self) -> Tensor:
        """Cosine of each pair of directions, (k, k) float32; 1 on the diagonal."""
        v = torch.stack([d.vector.flatten() for d in self]).double()  # (k, d) or (k, layers * d)
        return (v @ v.T).clamp(-1, 1).float()

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator.

        Raises:
            MismatchError: these directions were found in another one.
        """
        if generator.id != self.generator_id:
            raise MismatchError(
                f"these directions fit the generator {self.generator_id}, not {generator.id}; fit that one's"
            )

    def edit(
        self,
        codes: Tensor,
        strengths: Mapping[str, float],
        *,
        layers: str | Sequence[int | str] | None = None,
        unit: str = "sigma",
    ) -> Tensor:
        """Codes moved along directions by explicit strengths; nothing is added, the input is left alone.

        Args:
            codes: (n, d) or (n, layers, d), floating point.
            strengths: strength of each tag, in ``unit``.
            layers: slots to move, see :func:`parse_layers`; all when None.
            unit: "sigma", "latent" or "raw"; see the module's docstring.

        Returns:
            (n, d); (n, layers, d) when codes or directions are per slot or ``layers`` is given. Dtype and
            device of ``codes``.

        Raises:
            LatentEditError: unknown tag, slot or unit; codes or strengths of a wrong shape or not finite.
        """
        shift = self._shift(strengths, unit)  # (d,) or (layers, d)
        self._check_codes(codes)
        rows = len(shift) if shift.ndim == 2 else (codes.shape[1] if codes.ndim == 3 else len(self.layers))
        if layers is None and shift.ndim == 1:
            return codes + shift.to(codes)
        if not rows:
            raise LatentEditError("these directions do not know the generator's slots; give codes (n, layers, d)")
        slots = self.layers or [str(i) for i in range(rows)]
        if codes.ndim == 3 and codes.shape[1] != len(slots):
            known = ", ".join(slots)
            raise LatentEditError(f"codes have {codes.shape[1]} slots; the generator has {len(slots)}: {known}")
        keep = torch.zeros(len(slots), 1, dtype=torch.float64)
        keep[range(len(slots)) if layers is None else parse_layers(layers, slots)] = 1
        per_slot = codes if codes.ndim == 3 else codes[:, None].expand(-1, len(slots), -1)
        return per_slot + (shift * keep).to(codes)

    def _shift(self, strengths: Mapping[str, float], unit: str) -> Tensor:
        """What is added to every code, float64, of the directions' shape."""
        if unit not in UNITS:
            raise UnknownNameError("unit", unit, UNITS)
        if not isinstance(strengths, Mapping):
            raise LatentEditError(f"strengths are {strengths!r}; write {{tag: strength}}")
        total = torch.zeros_like(next(iter(self)).vector, dtype=torch.float64)
        for tag, strength in strengths.items():
            direction = self[tag]
            try:
                number = float(strength)
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise LatentEditError(f"the strength of {tag!r} is {strength!r}; give a finite number")
            if unit == "raw" and direction.coefficient_norm is None:
                raise LatentEditError(f"{tag!r} is a sum of directions without coefficients; use unit='sigma'")
            size = {"sigma": direction.sigma, "latent": 1.0, "raw": direction.coefficient_norm or 0.0}[unit]
            total += number * size * direction.vector.double()
        return total

    def _check_codes(self, codes: Tensor) -> None:
        if not isinstance(codes, Tensor) or not codes.is_floating_point():
            came = getattr(codes, "dtype", type(codes).__name__)
            raise LatentEditError(f"codes are {came}; give a floating-point torch tensor")
        if codes.ndim not in (2, 3) or codes.shape[-1] != self.dim:
            raise LatentEditError(
                f"codes have shape {tuple(codes.shape)}; directions take (n, {self.dim}) or (n, layers, {self.dim})"
            )
        if not torch.isfinite(codes).all():
            bad = int((~torch.isfinite(codes.flatten(1)).all(1)).nonzero()[0])
            raise LatentEditError(f"code {bad} holds values that are not finite (NaN or infinity)")

    def save(self, path: str | Path) -> None:
        """Write the bank to a safetensors file, atomically."""
        tensors = {
            "direction": torch.stack([d.vector for d in self]).numpy(),
            "sigma": np.array([d.sigma for d in self]),
            "coefficient_norm": np.array([d.coefficient_norm for d in self], np.float64),  # None becomes NaN
        }
        names = ("tag", "finder", "params", "tagger_id", "truncation", "score", "support")
        metadata = {
            "format": FORMAT,
            "schema": str(SCHEMA),
            "generator_id": self.generator_id,
            "generator_name": self.generator_name,
            "space": self.space,
            "layers": json.dumps(self.layers),
            "directions": json.dumps([{name: getattr(d, name) for name in names} for d in self]),
        }
        write_safetensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path) -> DirectionBank:
        """A bank that :meth:`save` wrote.

        Raises:
            DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
        """
        arrays, metadata = read_safetensors(
            path, format=FORMAT, schema=SCHEMA, names=("direction", "sigma", "coefficient_norm")
        )
        try:
            shared: dict[str, Any] = {name: metadata[name] for name in ("generator_id", "space")}
            layers = tuple(json.loads(metadata["layers"]))
            rows = zip(*arrays.values(), json.loads(metadata["directions"]), strict=True)
            return cls(
                [
                    Direction(
                        vector=torch.from_numpy(v), sigma=float(s), layers=layers,
                        coefficient_norm=None if math.isnan(c) else float(c), **shared, **about,
                    )
                    for v, s, c, about in rows
                ],
                generator_name=metadata.get("generator_name", ""),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, LatentEditError) as error:
            raise DamagedFileError(f"{path}: damaged directions ({error}); fit them again") from error

    @classmethod
    def load_default(cls, generator: Generator) -> DirectionBank:
        """The shipped directions of a generator, chosen by its id; the first file in name order.

        Raises:
            LatentEditError: none come with latentedit.
        """
        for path in sorted(shipped("directions").glob("*.safetensors")):
            bank = cls.load(path)
            if bank.generator_id == generator.id:
                return bank
        raise LatentEditError(
            f"no directions of the generator {generator.id} come with latentedit; run `latentedit fit-directions`"
        )
