"""Style codes and scores in files of other projects.

Codes are those of W or W+: (n, d), or one row per slot, (n, layers, d). A file cannot tell W from z: z must be
mapped first (:meth:`latentedit.generators.Generator.map`). Two dimensions are n codes, unless they are as many as the
generator has slots: :func:`codes_of_generator` knows how many these are.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.formats.containers import Array, Held, numbers, read_file, write_npy, write_npz, write_pt
from latentedit.directions.formats.recognition import FORMATS, check_format, format_of_suffix, guess_format
from latentedit.errors import DamagedFileError, LatentEditError


def read_codes(path: str | Path, *, format: str | None = None) -> Tensor:
    """Style codes of a file, (n, d) or (n, layers, d) float32.

    Args:
        path: ``w.npy`` of InterFaceGAN, ``.npy`` and ``.pt`` latents of e4e and PTI with shape (d,), (n, d) or
            (n, layers, d), ``projected_w.npz`` of NVIDIA, results of rosinality's projector.
        format: a name in :data:`latentedit.directions.formats.FORMATS`; by the file's contents when None.

    Raises:
        DamagedFileError: the file cannot be read, or holds something else.
    """
    return read_named_codes(path, format=format)[1]


def read_named_codes(path: str | Path, *, format: str | None = None) -> tuple[tuple[str, ...], Tensor]:
    """Names and codes of a file: the projected pictures' names, else the file's with a number.

    Raises:
        DamagedFileError: the file cannot be read, or holds something else.
    """
    return named_codes(read_file(path), format=format)


def named_codes(held: Held, *, format: str | None) -> tuple[tuple[str, ...], Tensor]:
    """:func:`read_named_codes` of a file that was read already."""
    name = _code_format(held) if format is None else format
    check_format(name, "codes")
    if name == "projector":
        return _projected(held)
    where, tree = str(held.path), held.tree
    if name == "projected-w":
        if not isinstance(tree, Mapping) or "w" not in tree:
            raise DamagedFileError(f"{held.path}: has no array w, so it is not a projected_w file")
        where, tree = f"{held.path}: w", tree["w"]
    values = numbers(tree, where)
    codes = _as_codes(values[0] if values.ndim == 4 and len(values) == 1 else values, where)
    stem = held.path.stem
    names = (stem,) if len(codes) == 1 else tuple(f"{stem}-{i}" for i in range(len(codes)))
    return names, torch.from_numpy(codes)


def codes_of_generator(
    names: Sequence[str], codes: Tensor, *, layers: int, dim: int, where: str, faces: bool = False
) -> tuple[tuple[str, ...], Tensor]:
    """Codes of a file as those of a generator with so many slots.

    (n, 1, d) are n codes, and rows of layers * d numbers are codes by slot. (layers, d) may be one face, with a code
    for each slot, as projectors of StyleGAN write it, or as many faces: it is taken for one, with a warning that says
    how to choose, unless all its rows are the same, which is one face in either case.

    Args:
        names: of the codes, as :func:`read_named_codes` gives them.
        codes: (n, d) or (n, slots, d).
        layers: slots of the generator.
        dim: d of the generator.
        where: the file, for messages.
        faces: (layers, d) is as many faces.
    """
    if codes.ndim == 3 and codes.shape[1] == 1:
        return tuple(names), codes[:, 0]
    if codes.ndim == 2 and codes.shape[1] == layers * dim != dim:
        return tuple(names), codes.reshape(len(codes), layers, dim)
    if faces or layers < 2 or tuple(codes.shape) != (layers, dim):
        return tuple(names), codes
    if not bool((codes == codes[:1]).all()):
        warnings.warn(
            f"{where}: {layers} x {dim} numbers are taken for one face, a code for each of its {layers} slots; for "
            f"{layers} faces, save them as ({layers}, 1, {dim}): latentedit convert FILE NEW.npy --as faces",
            stacklevel=2,
        )
    return (str(names[0]).removesuffix("-0"),), codes[None]


def _code_format(held: Held) -> str:
    """The format, an array taken for codes."""
    name = guess_format(held)
    if name in ("interfacegan", "npy", "pt"):
        return f"latents-{FORMATS[name].suffix[1:]}"
    if FORMATS[name].holds != "codes":
        raise DamagedFileError(f"{held.path}: directions ({FORMATS[name].title}), not codes")
    return name


def _as_codes(values: Array, where: str) -> Array:
    """(d,), (n, d) or (n, layers, d) to the last two."""
    if values.ndim not in (1, 2, 3) or values.shape[-1] == 1:
        scores = "; one number a row is a file of scores" if values.shape[-1:] == (1,) else ""
        raise DamagedFileError(f"{where}: shape {values.shape}; codes are (d,), (n, d) or (n, layers, d){scores}")
    return values[None] if values.ndim == 1 else values


def _projected(held: Held) -> tuple[tuple[str, ...], Tensor]:
    """Latents (d,) or (layers, d) of a projector, by the picture's name; one picture's entry may stand alone."""
    tree = held.tree
    if isinstance(tree, Mapping) and "latent" in tree:
        tree = {held.path.stem: tree}
    if (
        not isinstance(tree, Mapping)
        or not tree
        or not all(isinstance(v, Mapping) and "latent" in v for v in tree.values())
    ):
        raise DamagedFileError(f"{held.path}: not of a projector: file -> latent is needed")
    latents = [numbers(value["latent"], f"{held.path}: {name}") for name, value in tree.items()]
    shapes = {latent.shape for latent in latents}
    if len(shapes) > 1 or latents[0].ndim not in (1, 2):
        raise DamagedFileError(
            f"{held.path}: latents of shape {', '.join(map(str, sorted(shapes)))}; all (d,), or all (layers, d)"
        )
    stems = [PurePosixPath(str(name).replace("\\", "/")).stem for name in tree]
    return tuple(stems), torch.from_numpy(np.stack(latents))


def write_codes(codes: Tensor, path: str | Path, *, format: str | None = None, layers: int | None = None) -> None:
    """Write style codes as float32, atomically.

    Args:
        codes: (d,), (n, d) or (n, layers, d), floating point.
        path: the file; its suffix says the format when ``format`` is None.
        format: a name in :data:`latentedit.directions.formats.FORMATS`.
        layers: of the generator; lets ``projected-w``, which is per slot, hold codes (n, d) repeated.

    Raises:
        LatentEditError: codes of a wrong shape or not finite, or a format that is not written.
    """
    name = format_of_suffix(path, "codes") if format is None else format
    check_format(name, "codes", to_write=True)
    values = _as_codes(_given(codes, "codes"), "codes")
    if name == "latents-npy":
        write_npy(path, values)
    elif name == "latents-pt":
        write_pt(path, values)
    else:
        if values.ndim == 2:
            if not layers:
                raise LatentEditError(
                    f"projected-w files hold (n, layers, d), codes are {values.shape}; name the generator (--generator)"
                )
            values = np.repeat(values[:, None], layers, axis=1)
        write_npz(path, {"w": values})


def _given(values: Tensor, what: str) -> Array:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        came = getattr(values, "dtype", type(values).__name__)
        raise LatentEditError(f"{what} are {came}; give a floating-point torch tensor")
    return numbers(values, what)


def read_scores(path: str | Path) -> Tensor:
    """Scores (n,) float32 of InterFaceGAN's ``scores.npy`` (n, 1).

    Raises:
        DamagedFileError: the file cannot be read, or holds something else.
    """
    held = read_file(path)
    values = numbers(held.tree, str(held.path))
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise DamagedFileError(f"{held.path}: shape {values.shape}; scores are (n, 1)")
    return torch.from_numpy(values.reshape(-1))


def write_scores(scores: Tensor, path: str | Path) -> None:
    """Write scores (n,) or (n, 1) as InterFaceGAN reads them: ``.npy``, (n, 1) float32.

    Raises:
        LatentEditError: another shape, or not finite.
    """
    values = _given(scores, "scores")
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise LatentEditError(f"scores have shape {values.shape}; give (n,) or (n, 1)")
    write_npy(path, values.reshape(-1, 1))
