"""Safetensors files with a format name and a schema version in their metadata."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentedit.errors import DamagedFileError
from latentedit.files import atomic_write
from latentedit.lookalikes import named

if TYPE_CHECKING:
    from torch import nn


def write_safetensors(path: str | Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays and string metadata, atomically.

    Raises:
        LatentEditError: the disk is full, or the folder cannot be written to.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        try:
            save_file(arrays, temporary, dict(metadata))
        except SafetensorError as error:  # which is how it tells of a full disk
            raise OSError(str(error).removeprefix("Error while serializing: ")) from error


def read_safetensors(
    path: str | Path, *, format: str, schema: int, names: Iterable[str], optional: Collection[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays called ``names`` and metadata of a file whose metadata say ``format`` and a known ``schema``.

    Those of ``names`` that are ``optional`` may be missing.

    Raises:
        DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedFileError(f"{path}: there is no such file")
    with named(path, "safetensors"):
        return _read(path, format=format, schema=schema, names=names, optional=optional)


def _read(
    path: Path, *, format: str, schema: int, names: Iterable[str], optional: Collection[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != format:
                raise DamagedFileError(f"{path}: not a {format} file (its format is {metadata.get('format')!r})")
            if int(metadata.get("schema", "0")) > schema:
                raise DamagedFileError(
                    f"{path}: schema {metadata['schema']}, this latentedit reads up to {schema}; install a newer one"
                )
            present = set(file.keys())
            wanted = [name for name in names if name in present or name not in optional]
            return {name: file.get_tensor(name) for name in wanted}, metadata
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: damaged or not a safetensors file ({error}); write it again") from error


def header(path: str | Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def tags_in(path: str | Path) -> tuple[str, ...]:
    """Tags of a file of directions or of a prior, by its header alone and without torch; none of any other file."""
    metadata = header(path)
    try:
        tags = json.loads(metadata["tags"]) if "tags" in metadata else json.loads(metadata["directions"])
        return tuple(one if isinstance(one, str) else one["tag"] for one in tags)
    except (ValueError, LookupError, TypeError):
        return ()


def weight_names(path: Path) -> list[str]:
    """Names of the tensors of a safetensors file.

    Raises:
        DamagedFileError: the file is missing or truncated.
    """
    if not path.is_file():
        raise DamagedFileError(f"{path}: there is no such file")
    with named(path, "safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                return list(file.keys())
        except (OSError, SafetensorError) as error:
            raise DamagedFileError(f"{path} holds no weights: {str(error).splitlines()[0]}") from error


def load_weights(network: nn.Module, path: Path, what: str) -> None:
    """Fill a network with the tensors of a safetensors file, in float32 whatever they are stored in.

    Raises:
        DamagedFileError: the file is missing, truncated, or holds other tensors.
    """
    from safetensors.torch import load_file

    with named(path, "safetensors"):
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedFileError(f"{path} does not hold the weights of {what}: {reason}") from error
