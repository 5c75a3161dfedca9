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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.formats.containers import Array, Held, read_file, write_npy, write_npz, write_pt
from latentedit.directions.formats.reading import Raw, Rows, raw_directions, shaped
from latentedit.directions.formats.recognition import check_format, format_of_suffix, guess_format
from latentedit.directions.sefa import sigma_codes
from latentedit.errors import LatentEditError
from latentedit.files import sha256_of
from latentedit.generators.base import Generator
from latentedit.generators.probe import probe_of

UNIT_TOLERANCE = 1e-5
"""Vectors whose norm is this near to 1 are kept as they are."""


STILL = 1e-6
"""Codes that deviate less than this along a direction do not vary with it."""


def import_directions(
    path: str | Path,
    generator: Generator,
    *,
    format: str | None = None,
    tags: Sequence[str] | None = None,
    rows: Rows | None = None,
    generator_name: str = "",
) -> DirectionBank:
    """Directions of a file of another project, or of our own.

    Args:
        path: the file.
        generator: the one that the directions are of; its id is written down, its codes give sigma.
        format: a name in :data:`latentedit.directions.formats.FORMATS`; by the file's contents when None.
        tags: for a file of one direction, its tag (the file's name when None); where nothing names the rows, a tag for
            each; else which ones to take: the file's own tags, ``ganspace_00`` or ``factor_00`` on.
        rows: of an array (k, d): "directions", or "slots" of one direction. None: what only fits; see
            :mod:`latentedit.directions.formats.reading`.
        generator_name: what the generator was loaded by, for commands that use the bank.

    Raises:
        DamagedFileError: the file cannot be read, or holds something else.
        LatentEditError: directions that do not fit the generator, an unknown tag or format, rows that may be either.
    """
    held = read_file(path)
    return import_held(held, generator, format=format, tags=tags, rows=rows, generator_name=generator_name)


def import_held(
    held: Held, generator: Generator, *, format: str | None, tags: Sequence[str] | None, rows: Rows | None,
    generator_name: str,
) -> DirectionBank:  # fmt: skip
    """:func:`import_directions` of a file that was read already."""
    name = guess_format(held) if format is None else format
    if name.startswith("latents-") and format is None:
        if rows is None:
            raise LatentEditError(
                f"{held.path}: shape {tuple(held.tree.shape)} is that of codes; if it holds directions, say --as "
                "directions or --as slots (rows='directions' or 'slots')"
            )
        name = name.removeprefix("latents-")
    check_format(name, "directions")
    if isinstance(tags, str):
        raise LatentEditError(f"tags are {tags!r}; give a list, [{tags!r}]")
    if name == "latentedit":
        bank = DirectionBank.load(held.path)
        bank.check_generator(generator)
        return _chosen(bank, tags)
    found = raw_directions(held, name, generator, tags=tags, rows=rows)
    values = {raw.tag: shaped(raw.values, generator, f"{held.path}: {raw.tag}") for raw in found}
    found = _kept(found, [bool(raw.values.any()) for raw in found], held, "zero throughout")
    origin = {"format": name, "file": held.path.name, "sha256": sha256_of(held.path)}
    units = {raw.tag: _unit(values[raw.tag]) for raw in found}
    sigmas = measure_sigma(np.stack([unit for unit, _ in units.values()]), generator)
    found = _kept(found, list(sigmas > STILL), held, f"codes of {generator.id} do not vary along it (σ is 0)")
    sigmas = sigmas[sigmas > STILL]
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
        generator_name=generator_name, generator_probe=probe_of(generator),
    )  # fmt: skip


def _kept(found: list[Raw], keep: Sequence[bool], held: Held, why: str) -> list[Raw]:
    """The directions that are some, with a line that names the others; refused when none is left.

    Raises:
        LatentEditError: why there is none.
    """
    lost = [raw.tag for raw, kept in zip(found, keep, strict=True) if not kept]
    names = ", ".join(lost[:8]) + (f", ... ({len(lost)} in all)" if len(lost) > 8 else "")
    if len(lost) == len(found):
        raise LatentEditError(f"{held.path}: {why}: {names}; that is no direction")
    if lost:
        warnings.warn(f"{held.path}: left out, for {why}: {names}", stacklevel=4)
    return [raw for raw, kept in zip(found, keep, strict=True) if kept]


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
    return (sigma_codes(generator) @ v.T).std(0)


def _warn_of_sigmas(found: Sequence[Raw], sigmas: Array, held: Held) -> None:
    """Warn when GANSpace's file has other deviations than the codes: it is of another generator, or of z."""
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
    return bank.only(tags)


def export_directions(
    bank: DirectionBank, path: str | Path, *, format: str | None = None, tags: Sequence[str] | None = None
) -> None:
    """Write directions in a format of another project, or our own, atomically.

    ``npy``, ``pt`` and, by tag, ``named`` hold ``coefficient_norm * vector``, (1, d) or (layers, d) float32 (the shape
    of the file that it was imported from, if it was): what strength 1 adds in ``unit="raw"``. Of a sum of directions,
    which has no coefficients, and in ``interfacegan``, it is the unit vector.

    Args:
        bank: directions.
        path: the file; its suffix says the format when ``format`` is None.
        format: a name in :data:`latentedit.directions.formats.FORMATS`.
        tags: which ones; all when None. ``npy``, ``pt`` and ``interfacegan`` hold one.

    Raises:
        LatentEditError: a format that is not written, or does not hold such directions; an unknown tag.
    """
    name = format_of_suffix(path, "directions") if format is None else format
    check_format(name, "directions", to_write=True)
    bank = _chosen(bank, tags)
    if name == "latentedit":
        bank.save(path)
        return
    if name == "named":
        write_npz(path, {direction.tag: _raw_values(direction, unit=False) for direction in bank})
        return
    if len(bank) > 1:
        some = ", ".join(bank.tags[:8]) + (", ..." if len(bank) > 8 else "")
        raise LatentEditError(
            f"{name} files hold one direction; choose one tag of {some}, or write .npz or .safetensors"
        )
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
