"""The JSON of a recipe: written, and read as what anyone may have written, with every type and size checked."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.edits import Edit
from latentedit.editing.faces import Faces, parse_seeds
from latentedit.editing.ingredients import Ingredient
from latentedit.errors import LatentEditError

EMBEDDED = 64
"""Faces whose codes stand in the recipe itself."""
_MOST_FACES, _MOST_NUMBERS, _LONGEST_EDIT = 10_000, 1 << 22, 10_000

# ---- writing


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as they are typed, ``3,7,12-15``."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1][1:] = [seed]
        else:
            parts.append([seed])
    return ",".join("-".join(map(str, part)) for part in parts)


def faces_document(faces: Faces, named: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if faces.seeds:
        found["seeds"] = seeds_text(faces.seeds)
    if isinstance(faces.codes, Tensor):
        if len(faces.codes) > EMBEDDED:
            raise LatentEditError(
                f"codes of {len(faces.codes)} faces do not fit a recipe; save them, and name the file"
            )
        values = np.ascontiguousarray(faces.codes.detach().cpu().numpy(), "<f4")
        found["codes"] = {
            "shape": list(values.shape), "float32": base64.b64encode(values.tobytes()).decode(),
            "names": list(faces.names),
        }  # fmt: skip
    elif faces.codes is not None:
        found["codes"] = named_file(named, "codes")
    if faces.style is not None:
        found["style"] = named_file(named, "style")
    for name in ("label", "truncation", "noise", "count", "every_content"):
        found[name] = getattr(faces, name)
    return found


def named_file(named: Mapping[str, Any], role: str) -> Any:
    if role not in named:
        raise LatentEditError(f"the {role} of a recipe must be a file; a tensor has no name that finds it again")
    return named[role]


# ---- reading


def read_edit(document: Any) -> Edit:
    """The edit of a recipe.

    Raises:
        LatentEditError: it is none, or larger than edits are.
    """
    try:
        if len(text := json.dumps(document)) > _LONGEST_EDIT:
            raise LatentEditError(f"{len(text)} characters; it takes {_LONGEST_EDIT} at most")
        return Edit.from_json(document)
    except (LatentEditError, TypeError) as error:
        raise LatentEditError(f"edit of the recipe is none: {error}") from error


def read_faces(faces: Mapping[str, Any], contents: Any) -> tuple[Faces, list[Ingredient]]:
    known = ("seeds", "codes", "style", "label", "truncation", "noise", "count", "every_content")
    if unknown := sorted(set(faces) - set(known)):
        raise LatentEditError(f"faces of the recipe have {unknown[0]!r}, which is not known; known: {', '.join(known)}")
    values: dict[str, Any] = {}
    found = []
    if "seeds" in faces:
        values["seeds"] = _seeds(text_of(faces, "seeds", most=1 << 20))
    codes = part(faces, "codes") if "codes" in faces else {}
    if "float32" in codes:
        values["codes"], values["names"] = _codes(codes)
    elif codes:
        found.append(read_file("codes", codes, "name"))
    if "style" in faces:
        found.append(read_file("style", part(faces, "style"), "name"))
    if contents is not None:
        found.append(read_file("content", part({"contents": contents}, "contents"), "name"))
    values |= {one.role: one.name for one in found}
    truncation, noise = faces.get("truncation", 1.0), faces.get("noise", "stored")
    if isinstance(truncation, bool) or not isinstance(truncation, (int, float)) or not abs(truncation) < math.inf:
        raise LatentEditError(f"truncation of the recipe is {shown(truncation)}; it must be a finite number")
    if not isinstance(noise, (str, int)):
        raise LatentEditError(f"noise of the recipe is {shown(noise)}; it must be 'stored', 'none' or a seed")
    if faces.get("label") is not None:
        values["label"] = whole_number(faces, "label", 0, 1 << 31)
    if faces.get("count") is not None:
        values["count"] = whole_number(faces, "count", 1, _MOST_FACES)
    every = faces.get("every_content", False) is True
    return Faces(truncation=float(truncation), noise=noise, every_content=every, **values), found


def _seeds(text: str) -> tuple[int, ...]:
    seeds = parse_seeds(text)
    if len(seeds) > _MOST_FACES:
        raise LatentEditError(f"the recipe has {len(seeds)} seeds; it takes {_MOST_FACES} at most")
    return seeds


def _codes(codes: Mapping[str, Any]) -> tuple[Tensor, tuple[str, ...]]:
    shape, names = codes.get("shape"), codes.get("names", [])
    if (
        not isinstance(shape, list)
        or not 2 <= len(shape) <= 3
        or not all(type(one) is int and one > 0 for one in shape)
    ):
        raise LatentEditError(
            f"codes of the recipe have the shape {shown(shape)}; it must be two or three whole numbers"
        )
    if shape[0] > EMBEDDED or math.prod(shape) > _MOST_NUMBERS:
        raise LatentEditError(f"codes of the recipe have the shape {shape}; it takes {EMBEDDED} faces at most")
    try:
        data = base64.b64decode(text_of(codes, "float32", most=8 * _MOST_NUMBERS), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LatentEditError(f"codes of the recipe are no base64 ({error})") from error
    if len(data) != 4 * math.prod(shape):
        raise LatentEditError(
            f"codes of the recipe have {len(data)} bytes; their shape {shape} takes {4 * math.prod(shape)}"
        )
    values = np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(values).all():
        raise LatentEditError("codes of the recipe hold values that are not finite (NaN or infinity)")
    if not isinstance(names, list) or (names and len(names) != shape[0]) or not all(isinstance(n, str) for n in names):
        raise LatentEditError("names of the recipe's codes must be a list of texts, one a code")
    return torch.from_numpy(values), tuple(name[:200] for name in names)


def read_file(role: str, document: Mapping[str, Any], key: str) -> Ingredient:
    sha256 = text_of(document, "sha256")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise LatentEditError(f"sha256 {shown(sha256)} of the recipe is none; it must be 64 hexadecimal digits")
    return Ingredient(role, name_of(document, key), sha256)


def read_files(role: str, document: Mapping[str, Any]) -> list[Ingredient]:
    """Files of an editor."""
    files = document.get("files")
    if not isinstance(files, list) or not all(isinstance(one, Mapping) for one in files) or not 0 < len(files) <= 2:
        raise LatentEditError(f"files of the recipe's {role} must be a list of one or two objects")
    return [read_file(role, one, "path") for one in files]


def part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, Mapping):
        raise LatentEditError(f"{key} of the recipe is {shown(value)}; it must be an object")
    return value


def text_of(document: Mapping[str, Any], key: str, *, most: int = 4096) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value or len(value) > most:
        raise LatentEditError(f"{key} of the recipe is {shown(value)}; it must be a text of {most} characters at most")
    return value


def name_of(document: Mapping[str, Any], key: str) -> str:
    """The name of a file or generator; none that asks for another computer's, as a name on a Windows network does."""
    value = text_of(document, key)
    path = value.partition(":")[2] if ":" in value[2:] else value
    if not value.isprintable() or any(one.lstrip().replace("\\", "/").startswith("//") for one in (value, path)):
        raise LatentEditError(f"{key} of the recipe is {shown(value)}; it must be the name of a file here")
    return value


def whole_number(document: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = document.get(key)
    if type(value) is not int or not least <= value <= most:
        raise LatentEditError(
            f"{key} of the recipe is {shown(value)}; it must be a whole number from {least} to {most}"
        )
    return value


def shown(value: Any) -> str:
    """A value in a message."""
    return cut(repr(value), 60)


def cut(text: str, most: int) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= most else text[: most - 3] + "..."
