"""A bank of directions: one per tag, in a file; it moves codes along straight lines.

**Files** are safetensors: ``direction`` (k, d) or (k, layers, d) float32, ``sigma`` (k,) and
``coefficient_norm`` (k,) float64 (NaN: none), and string metadata with everything else as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.direction import Direction, check_same_space
from latentedit.directions.edits import Edit, EditLike
from latentedit.directions.table import html_of
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.files import visible_files
from latentedit.generators.base import Generator
from latentedit.generators.probe import check_probe, probe_of
from latentedit.pictures.notebook import few
from latentedit.shipped import shipped
from latentedit.taggers.tag_names import found_tag, known_tag
from latentedit.tensorfile import read_safetensors, write_safetensors

FORMAT = "latentedit.directions"
SCHEMA = 1


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


def check_codes(codes: Tensor, dim: int, taker: str) -> None:
    """Refuse codes that an editor cannot move; ``taker`` names it, as in "directions take".

    Raises:
        LatentEditError: no floating-point tensor of shape (n, dim) or (n, layers, dim), or not finite.
    """
    if not isinstance(codes, Tensor) or not codes.is_floating_point():
        came = getattr(codes, "dtype", type(codes).__name__)
        raise LatentEditError(f"codes are {came}; give a floating-point torch tensor")
    if codes.ndim not in (2, 3) or codes.shape[-1] != dim:
        raise LatentEditError(f"codes have shape {tuple(codes.shape)}; {taker} (n, {dim}) or (n, layers, {dim})")
    if not torch.isfinite(codes).all():
        bad = int((~torch.isfinite(codes.flatten(1)).all(1)).nonzero()[0])
        raise LatentEditError(f"code {bad} holds values that are not finite (NaN or infinity)")


class DirectionBank:
    """Directions of one generator, one per tag, in order; an editor that moves codes along lines.

    Args:
        directions: at least one; tags differ, generator, space and shape are the same.
        generator_name: what the generator was loaded by, such as ``gnr:GNR_checkpoint.pt``; empty when unknown.
        tagger_name: what the tagger of their samples was loaded by; empty when unknown, or when there was none.
        generator_probe: what the generator draws, where its id does not say all
            (:mod:`latentedit.generators.probe`); None when unknown.

    Raises:
        LatentEditError: none, or a tag twice.
        MismatchError: directions that do not belong together.
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        *,
        generator_name: str = "",
        tagger_name: str = "",
        generator_probe: str | None = None,
    ) -> None:
        directions, self.generator_name, self.tagger_name = list(directions), generator_name, tagger_name
        self.generator_probe = generator_probe
        if not directions:
            raise LatentEditError("a bank needs at least one direction")
        for direction in directions[1:]:
            check_same_space(directions[0], direction)
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

    @property
    def usual_strengths(self) -> dict[str, float]:
        """Tag to the strength that it is used at when none is given, of sums of directions: as they were built."""
        return {d.tag: d.strength for d in self if d.strength is not None}

    def __getitem__(self, tag: str) -> Direction:
        return self._directions[found_tag(tag, self._directions, "direction")]

    def __contains__(self, tag: object) -> bool:
        return isinstance(tag, str) and known_tag(tag, self._directions) in self._directions

    def __len__(self) -> int:
        return len(self._directions)

    def __iter__(self) -> Iterator[Direction]:
        return iter(self._directions.values())

    def __repr__(self) -> str:
        return f"DirectionBank({len(self)} directions of {self.generator_id}: {few(self.tags, 8)})"

    def _repr_html_(self) -> str:
        """A table of the directions, for notebooks."""
        return html_of(self)

    def cosines(self) -> Tensor:
        """Cosine of each pair of directions, (k, k) float32; 1 on the diagonal."""
        v = torch.stack([d.vector.flatten() for d in self]).double()  # (k, d) or (k, layers * d)
        return (v @ v.T).clamp(-1, 1).float()

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator.

        Raises:
            MismatchError: these directions were found in another one, or its code has changed since.
        """
        if generator.id != self.generator_id:
            raise MismatchError(
                f"these directions fit the generator {self.generator_id}, not {generator.id}; fit that one's"
            )
        check_probe(
            probe_of(generator), self.generator_probe, holder="these directions", generator_id=generator.id,
            advice="sample again and fit them again",
        )  # fmt: skip

    def only(self, tags: Sequence[str]) -> DirectionBank:
        """A bank of some of its directions, in this order.

        Raises:
            UnknownNameError: it has no direction of that tag.
        """
        return self._holding([self[tag] for tag in tags])

    def added(self, *directions: Direction) -> DirectionBank:
        """A bank of its directions and some more, such as looks.

        Raises:
            LatentEditError: a tag twice.
            MismatchError: a direction of another generator or shape.
        """
        return self._holding([*self, *directions])

    def _holding(self, directions: Sequence[Direction]) -> DirectionBank:
        """A bank of other directions, found with the same generator and tagger."""
        return DirectionBank(
            directions, generator_name=self.generator_name, tagger_name=self.tagger_name,
            generator_probe=self.generator_probe,
        )  # fmt: skip

    def edit(self, codes: Tensor, edits: EditLike) -> Tensor:
        """Codes moved along straight lines; the input is left alone.

        An edit of strength s moves codes by ``s * sigma_a * v_a + s * r * sigma_b * v_b`` (a: its tag, b: its opposite,
        r: its ratio); several are added up. See :class:`~latentedit.directions.edits.Edit` for what is left open.

        Args:
            codes: (n, d) or (n, layers, d), floating point.
            edits: an edit, a tag, ``{tag: strength}`` (to which nothing is added), or a list of them.

        Returns:
            (n, d); (n, layers, d) when codes or directions are per slot or an edit names layers. Dtype and
            device of ``codes``.

        Raises:
            LatentEditError: unknown tag, slot or unit; codes or strengths of a wrong shape or not finite.
        """
        parts = Edit(edits).resolve(self.tags, usual=self.usual_strengths).parts
        check_codes(codes, self.dim, "directions take")
        per_slot = any(one.layers is not None for one in parts) or next(iter(self)).vector.ndim == 2
        if not per_slot:
            return codes + torch.stack([self._step(one) for one in parts]).sum(0).to(codes)
        slots = self._slots(codes)
        total = torch.stack([self._step(one) * self._chosen(one, slots) for one in parts]).sum(0)  # (layers, d)
        return (codes if codes.ndim == 3 else codes[:, None].expand(-1, len(slots), -1)) + total.to(codes)

    def _step(self, one: Edit) -> Tensor:
        """What one edit adds to every code, float64, of the directions' shape."""
        assert one.strength is not None
        moves = {one.tag: one.strength}
        if one.opposite is not None and one.ratio is not None:
            moves[one.opposite] = one.strength * one.ratio
        total = torch.zeros_like(self[one.tag].vector, dtype=torch.float64)
        for tag, strength in moves.items():
            direction = self[tag]
            if one.unit == "raw" and direction.coefficient_norm is None:
                raise LatentEditError(
                    f"{tag!r} is a sum of directions without coefficients; leave --raw out (unit='sigma')"
                )
            size = {"sigma": direction.sigma, "latent": 1.0, "raw": direction.coefficient_norm or 0.0}[one.unit]
            total += strength * size * direction.vector.double()
        return total

    def _slots(self, codes: Tensor) -> Sequence[str]:
        """Names of the slots that codes have, or get."""
        vector = next(iter(self)).vector
        rows = len(vector) if vector.ndim == 2 else (codes.shape[1] if codes.ndim == 3 else len(self.layers))
        if not rows:
            raise LatentEditError(
                "these directions do not know the generator's slots; leave layers out (--layers), or give codes "
                "(n, layers, d)"
            )
        slots = self.layers or [str(i) for i in range(rows)]
        if codes.ndim == 3 and codes.shape[1] != len(slots):
            known = ", ".join(slots)
            raise LatentEditError(f"codes have {codes.shape[1]} slots; the generator has {len(slots)}: {known}")
        return slots

    def _chosen(self, one: Edit, slots: Sequence[str]) -> Tensor:
        """1 for each slot that an edit moves, else 0: (layers, 1) float64."""
        keep = torch.zeros(len(slots), 1, dtype=torch.float64)
        keep[range(len(slots)) if one.layers is None else parse_layers(one.layers, slots)] = 1
        return keep

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
            "tagger_name": self.tagger_name,
            **({} if self.generator_probe is None else {"generator_probe": self.generator_probe}),
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
                tagger_name=metadata.get("tagger_name", ""), generator_probe=metadata.get("generator_probe"),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, LatentEditError) as error:
            raise DamagedFileError(f"{path}: damaged directions ({error}); fit them again") from error

    @classmethod
    def load_default(cls, generator: Generator) -> DirectionBank:
        """The shipped directions of a generator, chosen by its id; the first file in name order that is no prior's.

        Raises:
            LatentEditError: none come with latentedit.
        """
        for path in visible_files(shipped("directions"), "*.safetensors"):
            if path.name.endswith("prior.safetensors"):
                continue
            bank = cls.load(path)
            if bank.generator_id == generator.id:
                return bank
        raise LatentEditError(
            f"no directions of the generator {generator.id} come with latentedit; run `latentedit fit-directions`"
        )
