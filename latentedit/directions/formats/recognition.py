"""The formats, and which one a file has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from latentedit.directions.formats.containers import Held, is_numbers
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError

BANK = "latentedit.directions"


class Format(NamedTuple):
    """A kind of file."""

    holds: Literal["directions", "codes"]
    suffix: str
    writes: bool
    title: str


FORMATS: Mapping[str, Format] = {
    "latentedit": Format("directions", ".safetensors", True, "directions of latentedit"),
    "interfacegan": Format("directions", ".npy", True, "InterFaceGAN's boundary, (1, d), unit length"),
    "npy": Format("directions", ".npy", True, "directions, (d,) or (k, d), or one (layers, d), as e4e and PTI have it"),
    "pt": Format("directions", ".pt", True, "directions, (d,) or (k, d), or one (layers, d), of torch.save"),
    "named": Format("directions", ".npz", True, "directions by name, name -> (d,) or (layers, d), also of torch.save"),
    "csv": Format("directions", ".csv", False, "a table of directions, a row each, with a column of names or without"),
    "ganspace": Format("directions", ".npz", False, "GANSpace's components"),
    "factor": Format("directions", ".pt", False, "rosinality's closed_form_factorization"),
    "halcy": Format("directions", ".pkl", False, "halcy's tag_dirs, tag -> (layers, d)"),
    "latents-npy": Format("codes", ".npy", True, "style codes, (n, d) or (n, layers, d): InterFaceGAN's w.npy, e4e"),
    "latents-pt": Format("codes", ".pt", True, "style codes, (n, d) or (n, layers, d), of torch.save: e4e, PTI"),
    "projected-w": Format("codes", ".npz", True, "NVIDIA's projected_w, w (n, layers, d)"),
    "projector": Format("codes", ".pt", False, "rosinality's projector, file -> img, latent, noise"),
}


def check_format(name: str, holds: str, *, to_write: bool = False) -> None:
    """Refuse a format that is not known, or of other things, or not written.

    Raises:
        LatentEditError: what can be written, or read, instead.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    usable = ", ".join(_named(holds, to_write))
    if FORMATS[name].holds != holds:
        raise LatentEditError(
            f"{name} is a format of {FORMATS[name].holds} ({FORMATS[name].title}); for {holds}: {usable}"
        )
    if to_write and not FORMATS[name].writes:
        raise LatentEditError(f"{name} files ({FORMATS[name].title}) are read and not written; written are: {usable}")


def format_of_suffix(path: str | Path, holds: str) -> str:
    """The format that a file to be written is given by its name's end; for ``.npy`` the one of any length.

    Raises:
        LatentEditError: none that holds such things.
    """
    suffix = Path(path).suffix.lower().replace(".pth", ".pt")
    preferred = [name for name in _named(holds, True) if FORMATS[name].suffix == suffix and name != "interfacegan"]
    if not preferred:
        ends = ", ".join(sorted({FORMATS[name].suffix for name in _named(holds, True)}))
        raise LatentEditError(f"{path}: {holds} are written to {ends}; end the name so")
    return preferred[0]


def _named(holds: str, to_write: bool) -> list[str]:
    return [name for name, f in FORMATS.items() if f.holds == holds and (f.writes or not to_write)]


def guess_format(held: Held) -> str:
    """The format of a file by what it holds; an array of one or two dimensions is taken for a direction.

    Raises:
        DamagedFileError: it is none of them.
    """
    tree = held.tree
    if held.container == "csv":
        return "csv"
    if is_numbers(tree):
        container = "npy" if held.container == "npy" else "pt"
        if tree.ndim > 2:
            return f"latents-{container}"
        if container == "pt" or tree.ndim != 2 or len(tree) != 1:
            return container
        with np.errstate(over="ignore"):
            return "interfacegan" if abs(float(np.linalg.norm(tree)) - 1) < 1e-4 else container
    if held.metadata.get("format") == BANK:
        return "latentedit"
    if isinstance(tree, Mapping) and (found := _guess_by_names(tree, held.container)):
        return found
    names = f": its names are {', '.join(map(str, list(tree)[:8]))}" if isinstance(tree, Mapping) and tree else ""
    known = "; ".join(f"{name} ({f.title})" for name, f in FORMATS.items())
    raise DamagedFileError(f"{held.path}: neither directions nor codes{names}; known are: {known}")


def _guess_by_names(tree: Mapping[object, object], container: str) -> str | None:
    if "lat_comp" in tree or {"comp", "mean", "std"} <= set(tree):
        return "ganspace"
    if "eigvec" in tree:
        return "factor"
    if container == "npz" and "w" in tree:
        return "projected-w"
    if "latent" in tree or (tree and all(isinstance(v, Mapping) and "latent" in v for v in tree.values())):
        return "projector"
    shapes = {tuple(v.shape) if is_numbers(v) else None for v in tree.values()}  # type: ignore[attr-defined]
    shape = next(iter(shapes), None)
    if len(shapes) != 1 or shape is None or len(shape) not in (1, 2):
        return None
    return "halcy" if container == "pickle" else "named"
