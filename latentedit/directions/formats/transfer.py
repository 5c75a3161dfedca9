"""Directions of other projects to a bank, and back.

Formats are those of genforce/interfacegan, harskish/ganspace (and its copy in omertov/encoder4editing),
rosinality/stylegan2-pytorch, halcy/AnimeFaceNotebooks and omertov/encoder4editing;
:data:`latentedit.directions.formats.FORMATS` lists them.

**Length.** A :class:`~latentedit.directions.direction.Direction` has unit (Frobenius) norm; the length in the file
becomes its ``coefficient_norm``, so that ``unit="raw"`` adds what the file holds, and :func:`export_directions` writes
``coefficient_norm * vector``. A vector within 1e-5 of unit length is kept to the last bit. The sign is the
file's.

**Sigma** is measured on the generator's own codes (:data:`latentedit.directions.sefa.SIGMA_SEEDS`): the standard
deviation of their projection on the direction; of a direction per slot, of the same code in every slot. What
GANSpace measured stays in ``params["lat_stdev"]``.

**Steps differ.** InterFaceGAN's ``linear_interpolate`` moves (1, d) codes *to* distances from the hyperplane
through the origin; an edit here moves them *by* a distance: ``s`` there is ``s - code . vector`` here. On codes
per slot it moves by distances, as we do.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.formats.containers import Array, Held, is_numbers, numbers, read_file, write_npy, write_pt
from latentedit.directions.formats.recognition import check_format, format_of_suffix, guess_format
from latentedit.directions.sefa import SIGMA_SEEDS
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.files import sha256_of
from latentedit.generators.base import Generator

UNIT_TOLERANCE = 1e-5
"""Vectors whose norm is this near to 1 are kept as they are."""


STILL = 1e-6
"""Codes that deviate less than this along a direction do not vary with it."""


class _Raw(NamedTuple):
    """A direction as the file has it."""

    tag: str
    values: Array
    params: dict[str, Any]


def import_directions(
    path: str | Path,
    generator: Generator,
    *,
    format: str | None = None,
    tags: Sequence[str] | None = None,
    generator_name: str = "",
) -> DirectionBank:
    """Directions of a file of another project, or of our own.

    Args:
        path: the file.
        generator: the one that the directions are of; its id is written down, its codes give sigma.
        format: a name in :data:`latentedit.directions.formats.FORMATS`; by the file's contents when None.
        tags: for a file of one direction, its tag (the file's name when None); else which ones to take: the
            file's own tags, ``ganspace_00`` or ``factor_00`` on.
        generator_name: what the generator was loaded by, for commands that use the bank.

    Raises:
        DamagedFileError: the file cannot be read, or holds something else.
        LatentEditError: directions that do not fit the generator, an unknown tag or format.
    """
    return import_held(read_file(path), generator, format=format, tags=tags, generator_name=generator_name)


def import_held(
    held: Held, generator: Generator, *, format: str | None, tags: Sequence[str] | None, generator_name: str
) -> DirectionBank:
    """:func:`import_directions` of a file that was read already."""
    name = guess_format(held) if format is None else format
    if name.startswith("latents-") and format is None:
        raise LatentEditError(
            f"{held.path}: shape {tuple(held.tree.shape)} is that of codes; if it is a direction, say so by format="
            f"{name.removeprefix('latents-')!r}"
        )
    check_format(name, "directions")
    if isinstance(tags, str):
        raise LatentEditError(f"tags are {tags!r}; give a list, [{tags!r}]")
    if name == "latentedit":
        bank = DirectionBank.load(held.path)
        bank.check_generator(generator)
        return _chosen(bank, tags)
    single = name not in _READERS
    found = [_one(held, tags)] if single else _READERS[name](held)
    if tags is not None and not single:
        found = _named(found, tags)
    shaped = {raw.tag: _shaped(raw.values, generator, f"{held.path}: {raw.tag}") for raw in found}
    found = _without_zeros(found, held)
    origin = {"format": name, "file": held.path.name, "sha256": sha256_of(held.path)}
    units = {raw.tag: _unit(shaped[raw.tag]) for raw in found}
    sigmas = measure_sigma(np.stack([unit for unit, _ in units.values()]), generator)
    _warn_of_sigmas(found, sigmas, held)
    return DirectionBank(
        [
            Direction(
                tag=raw.tag, vector=torch.from_numpy(units[raw.tag][0]), sigma=float(sigma), generator_id=generator.id,
                coefficient_norm=units[raw.tag][1], finder="imported", layers=tuple(generator.layers), truncation=None,
                params=origin | {"shape": list(raw.values.shape)} | raw.params,
            )
            for raw, sigma in zip(found, sigmas, strict=True)
        ],
        generator_name=generator_name,
    )  # fmt: skip


def _one(held: Held, tags: Sequence[str] | None) -> _Raw:
    if tags is not None and len(tags) != 1:
        raise LatentEditError(f"{held.path} holds one direction; give one tag for it, not {len(tags)}")
    return _Raw(held.path.stem if tags is None else tags[0], numbers(held.tree, str(held.path)), {})


def _ganspace(held: Held) -> list[_Raw]:
    """``lat_comp`` (k, 1, d) and ``lat_stdev`` (k,); e4e keeps the same as ``comp`` and ``std``."""
    names = ("lat_comp", "lat_stdev") if "lat_comp" in held.tree else ("comp", "std")
    if missing := [name for name in names if name not in held.tree]:
        raise DamagedFileError(f"{held.path}: has no {', '.join(missing)}, so it is not GANSpace's; see format")
    components, deviations = (numbers(held.tree[name], f"{held.path}: {name}") for name in names)
    k, size = len(components) if components.ndim else 0, deviations.size
    if components.ndim not in (2, 3) or size != k:
        raise DamagedFileError(
            f"{held.path}: {names[0]} is {components.shape}, {names[1]} {deviations.shape}; not (k, 1, d), (k,)"
        )
    stdevs = [float(s) for s in deviations.ravel()]
    return [_Raw(f"ganspace_{i:02d}", components[i], {"lat_stdev": stdevs[i]}) for i in range(k)]


def _factor(held: Held) -> list[_Raw]:
    """``eigvec`` (d, k), a direction a column, in the file's order."""
    if "eigvec" not in held.tree:
        raise DamagedFileError(f"{held.path}: has no eigvec, so it is not of closed_form_factorization")
    columns = numbers(held.tree["eigvec"], f"{held.path}: eigvec")
    if columns.ndim != 2 or columns.shape[1] > columns.shape[0]:
        raise DamagedFileError(
            f"{held.path}: eigvec has shape {columns.shape}; (d, k) with directions in columns is needed"
        )
    checkpoint = held.tree.get("ckpt")
    params = {"ckpt": checkpoint} if isinstance(checkpoint, str) else {}
    return [_Raw(f"factor_{i:02d}", np.ascontiguousarray(column), params) for i, column in enumerate(columns.T)]


def _tag_dirs(held: Held) -> list[_Raw]:
    """Tag to array, (d,), (1, d) or (layers, d)."""
    wrong = [tag for tag, value in held.tree.items() if not isinstance(tag, str) or not is_numbers(value)]
    shapes = {tuple(value.shape) for tag, value in held.tree.items() if tag not in wrong}
    if len(shapes) > 1:
        raise DamagedFileError(
            f"{held.path}: arrays of shapes {', '.join(map(str, sorted(shapes)))}; all must be alike"
        )
    if wrong or not held.tree:
        raise DamagedFileError(
            f"{held.path}: tag -> array is needed, for {wrong[0]!r} it is not" if wrong else f"{held.path}: empty"
        )
    return [_Raw(tag, numbers(value, f"{held.path}: {tag}"), {}) for tag, value in held.tree.items()]


def _of_names(reader: Callable[[Held], list[_Raw]]) -> Callable[[Held], list[_Raw]]:
    """A reader of files that hold names, which says so when one does not."""

    def read(held: Held) -> list[_Raw]:
        if not hasattr(held.tree, "items"):
            raise DamagedFileError(f"{held.path}: holds no names, so it is not of that format; leave the format out")
        return reader(held)

    return read


_READERS = {"ganspace": _of_names(_ganspace), "factor": _of_names(_factor), "halcy": _of_names(_tag_dirs)}


def _named(found: list[_Raw], tags: Sequence[str]) -> list[_Raw]:
    by_tag = {raw.tag: raw for raw in found}
    for tag in tags:
        if tag not in by_tag:
            raise UnknownNameError("direction", tag, by_tag)
    return [by_tag[tag] for tag in tags]


def _shaped(values: Array, generator: Generator, where: str) -> Array:
    """(d,), (1, d), (layers, d) or (1, layers, d) to (d,) or (layers, d)."""
    dim, layers = generator.dim, len(generator.layers)
    if values.shape[-1:] != (dim,):
        scores = "; one number a row is a file of scores" if values.shape[-1:] == (1,) else ""
        last = values.shape[-1] if values.ndim else 0
        raise LatentEditError(f"{where}: directions of {last} numbers, {generator.id} has codes of {dim}{scores}")
    rows = values[0] if values.ndim == 3 and len(values) == 1 else values
    if rows.ndim == 1 or (rows.ndim == 2 and len(rows) == 1):
        return rows.reshape(dim)
    if rows.ndim != 2:
        raise LatentEditError(
            f"{where}: shape {values.shape} is that of codes; a direction is (1, {dim}) or ({layers}, {dim})"
        )
    if len(rows) != layers:
        raise LatentEditError(
            f"{where}: {len(rows)} rows, {generator.id} has {layers} slots; give (1, {dim}) or ({layers}, {dim})"
        )
    return rows


def _without_zeros(found: list[_Raw], held: Held) -> list[_Raw]:
    """Leave out directions that are zero, as a Lasso's can be."""
    kept = [raw for raw in found if raw.values.any()]
    if not kept:
        raise LatentEditError(f"{held.path}: zero throughout, which is no direction")
    if lost := [raw.tag for raw in found if not raw.values.any()]:
        more = f", ... ({len(lost)} in all)" if len(lost) > 8 else ""
        warnings.warn(f"{held.path}: left out, for they are zero: {', '.join(lost[:8])}{more}", stacklevel=4)
    return kept


def _unit(values: Array) -> tuple[Array, float]:
    """A vector of unit norm, and the norm it had."""
    largest = float(np.abs(values).max())
    norm = largest * float(np.linalg.norm(values.astype(np.float64) / largest))  # no underflow of tiny squares
    return (values, 1.0) if abs(norm - 1) <= UNIT_TOLERANCE else ((values / norm).astype(np.float32), norm)


def measure_sigma(vectors: Array, generator: Generator) -> Array:
    """Standard deviation of the generator's codes along vectors (k, d) or (k, layers, d), (k,) float64.

    Along a vector per slot it is that of the code in every slot: the projection is on the sum of its rows.
    """
    v = vectors.astype(np.float64)
    v = v.sum(1) if v.ndim == 3 else v  # (k, d)
    codes = generator.sample_codes(SIGMA_SEEDS).detach().cpu().double().numpy()  # (4096, d)
    return (codes @ v.T).std(0)


def _warn_of_sigmas(found: Sequence[_Raw], sigmas: Array, held: Held) -> None:
    """Warn of directions along which codes do not vary, and when GANSpace's file has other deviations than the codes.

    Such a file is of another generator, or of z.
    """
    if still := [raw.tag for raw, sigma in zip(found, sigmas, strict=True) if not sigma > STILL]:
        more = f", ... ({len(still)} in all)" if len(still) > 8 else ""
        warnings.warn(
            f"{held.path}: codes of this generator do not vary along {', '.join(still[:8])}{more}, so that a strength "
            "in sigma moves nothing; edit in raw or latent units",
            stacklevel=4,
        )
    pairs = [
        (sigma, raw.params["lat_stdev"]) for raw, sigma in zip(found, sigmas, strict=True) if "lat_stdev" in raw.params
    ]
    ratios = [sigma / stdev for sigma, stdev in pairs[:10] if stdev > 0]
    if ratios and not 0.8 < (ratio := float(np.median(ratios))) < 1.25:
        z = "; all are 1, so they were found in z" if all(stdev == 1 for _, stdev in pairs) else ""
        warnings.warn(
            f"{held.path}: codes of this generator vary {ratio:.3g} times as much along these components as the file "
            f"says{z}; is it of this generator, without truncation?",
            stacklevel=4,
        )


def _chosen(bank: DirectionBank, tags: Sequence[str] | None) -> DirectionBank:
    if tags is None:
        return bank
    if isinstance(tags, str) or not tags:
        raise LatentEditError(f"tags are {tags!r}; give a list of {', '.join(bank.tags)}")
    return DirectionBank([bank[tag] for tag in tags], generator_name=bank.generator_name)


def export_directions(
    bank: DirectionBank, path: str | Path, *, format: str | None = None, tags: Sequence[str] | None = None
) -> None:
    """Write directions in a format of another project, or our own, atomically.

    ``npy`` and ``pt`` hold ``coefficient_norm * vector``, (1, d) or (layers, d) float32 (the shape of the file that
    it was imported from, if it was): what strength 1 adds in ``unit="raw"``. Of a sum of directions, which has no
    coefficients, and in ``interfacegan``, it is the unit vector.

    Args:
        bank: directions.
        path: the file; its suffix says the format when ``format`` is None.
        format: a name in :data:`latentedit.directions.formats.FORMATS`.
        tags: which ones; all when None. Formats other than our own hold one.

    Raises:
        LatentEditError: a format that is not written, or does not hold such directions; an unknown tag.
    """
    name = format_of_suffix(path, "directions") if format is None else format
    check_format(name, "directions", to_write=True)
    bank = _chosen(bank, tags)
    if name == "latentedit":
        bank.save(path)
        return
    if len(bank) > 1:
        some = ", ".join(bank.tags[:8]) + (", ..." if len(bank) > 8 else "")
        raise LatentEditError(f"{name} files hold one direction; choose one tag of {some}, or write .safetensors")
    direction = next(iter(bank))
    if name == "interfacegan" and direction.vector.ndim == 2:
        raise LatentEditError(
            f"{direction.tag!r} differs by slot, an InterFaceGAN boundary is (1, {bank.dim}); "
            "write npy, pt or .safetensors"
        )
    values = _raw_values(direction, unit=name == "interfacegan")
    (write_pt if name == "pt" else write_npy)(path, values)


def _raw_values(direction: Direction, *, unit: bool) -> Array:
    """The array that is written for a direction."""
    vector = direction.vector.numpy()
    norm = direction.coefficient_norm
    values = vector if unit or norm in (None, 1.0) else (norm * vector.astype(np.float64)).astype(np.float32)
    rows = values.reshape(-1, vector.shape[-1])
    shape = direction.params.get("shape")
    if unit or not isinstance(shape, list) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        return rows
    fits = shape[-1] == rows.shape[-1] and math.prod(shape) == rows.size
    return rows.reshape(shape) if fits else rows
