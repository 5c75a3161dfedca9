"""Files of arrays: ``.npy``, ``.npz``, ``torch.save``, pickles of arrays; none is allowed to run anything.

The headers of ``.npy`` (numpy.lib.format, versions 1.0 and 2.0) are checked against the bytes that are there
before memory is taken.
"""

from __future__ import annotations

import math
import mmap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.checkpoints.diagnosis import diagnose_file
from latentedit.checkpoints.zip_files import members
from latentedit.directions.formats.tables import TABLES, read_table
from latentedit.errors import DamagedFileError, UnsafeFileError
from latentedit.files import write_bytes
from latentedit.lookalikes import lookalike, named

Array = NDArray[Any]

_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_PICKLED = (
    "it holds Python objects, that is a pickle, which is not loaded; HiGAN writes its boundaries so: if you trust the "
    "file, np.save('new.npy', np.load(PATH, allow_pickle=True)[()]['boundary']) makes an array of it"
)


class Held(NamedTuple):
    """What a file holds."""

    path: Path
    container: str
    """"npy", "npz", "csv", or as in :class:`latentedit.checkpoints.checkpoint.Checkpoint`."""
    tree: Any
    """An array or tensor, or names with arrays, tensors and further names."""
    metadata: Mapping[str, str] = {}


class _Archive(Mapping[str, Array]):
    """The arrays of an ``.npz``, each read when it is asked for: what is not needed may be large."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path, self._names = path, names

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        try:
            with zipfile.ZipFile(self._path) as archive:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as file:
                    return _read_array(file, info.file_size)
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{self._path}: {name}: {error}") from error
        except Exception as error:  # damage can show as any exception there is
            raise DamagedFileError(f"{self._path}: {name} is damaged ({_line(error)}); download it again") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_file(path: str | Path) -> Held:
    """What a file of arrays holds, told apart by its first bytes and not by its name; only a table must end so.

    Raises:
        DamagedFileError: no such file, damaged, or no file of arrays.
        UnsafeFileError: it asks for code, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedFileError(f"{path}: {'a folder; name a file' if path.is_dir() else 'there is no such file'}")
    with open(path, "rb") as file:
        head = file.read(16)
        file.seek(0)
        if head.startswith(b"\x93NUMPY"):
            return Held(path, "npy", _read_npy(path, file))
    if head.startswith(b"PK\x03\x04"):
        names = _members(path)
        if any(name.endswith(".npy") for name in names):
            return Held(path, "npz", _Archive(path, [n.removesuffix(".npy") for n in names if n.endswith(".npy")]))
        if not any(name.endswith("data.pkl") for name in names):
            raise DamagedFileError(f"{path}: a zip archive without arrays; unpack it, and name a file in it")
    elif path.suffix.lower() in TABLES:
        with named(path):
            return Held(path, "csv", read_table(path))
    elif (found := lookalike(path)) is not None and found.advice and found.kind != "cut":
        raise DamagedFileError(f"{path}: {found}")
    elif seems := diagnose_file(path):
        what = seems.partition(";")[0]  # what follows is about generators
        raise DamagedFileError(
            f"{path}: {what}; directions and codes are read from .npy, .npz, .csv, .pt, .pkl, .safetensors"
        )
    checkpoint = read_checkpoint(path)
    return Held(path, checkpoint.container, checkpoint.tree, checkpoint.metadata)


def _read_npy(path: Path, file: IO[bytes]) -> Array:
    try:
        return _read_array(file, path.stat().st_size)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: {error}") from error
    except Exception as error:  # damage can show as any exception there is
        raise DamagedFileError(f"{path}: damaged ({_line(error)}); download it again") from error


def _line(error: Exception) -> str:
    """An error as one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _members(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return list(members(mapped))
    except DamagedFileError as error:
        raise type(error)(f"{path}: {error}; download it again") from error


def _read_array(file: IO[bytes], size: int) -> Array:
    """The array of an ``.npy`` of that many bytes."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise DamagedFileError(f"its .npy version is {version}; 1.0 and 2.0 are read")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise UnsafeFileError(_PICKLED)
    wanted, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if dtype.kind not in "biuf" or min(shape, default=0) < 0 or wanted != there:
        raise DamagedFileError(f"it claims {dtype} numbers of shape {shape}, and {there} bytes are there")
    return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def is_numbers(thing: Any) -> bool:
    """Whether it is an array or a tensor of real numbers."""
    if isinstance(thing, Tensor):
        return not thing.is_complex() and thing.dtype != torch.bool
    return isinstance(thing, np.ndarray) and thing.dtype.kind in "iuf"


def numbers(thing: Any, where: str) -> Array:
    """An array or tensor as a float32 array of its own.

    Args:
        thing: what a file holds.
        where: file and name, for messages.

    Raises:
        DamagedFileError: something else, empty, or values that are not finite.
    """
    if not is_numbers(thing):
        names = ", ".join(map(str, list(thing)[:8])) if isinstance(thing, Mapping) else ""
        came = f"several things ({names})" if names else f"{type(thing).__name__}"
        raise DamagedFileError(f"{where} holds {came} where one array of numbers is needed")
    with np.errstate(over="ignore"):
        values = thing.detach().cpu().float().numpy() if isinstance(thing, Tensor) else thing
        values = np.array(values, np.float32, order="C", subok=False)
    if not values.size:
        raise DamagedFileError(f"{where} is empty: its shape is {values.shape}")
    if not np.isfinite(values).all():
        raise DamagedFileError(f"{where} holds values that are not finite (NaN or infinity)")
    return values


def write_npy(path: str | Path, values: Array) -> None:
    """Write one array, atomically."""
    write_bytes(path, lambda file: np.save(file, np.ascontiguousarray(values, np.float32), allow_pickle=False))


def write_npz(path: str | Path, values: Mapping[str, Array]) -> None:
    """Write arrays by name, atomically."""

    def write(whole: BinaryIO) -> None:
        with zipfile.ZipFile(whole, "w") as archive:
            for name, value in values.items():
                with archive.open(f"{name}.npy", "w") as file:  # np.savez would take a name such as "file" for its own
                    np.lib.format.write_array(file, np.ascontiguousarray(value, np.float32), allow_pickle=False)

    write_bytes(path, write)


def write_pt(path: str | Path, values: Array) -> None:
    """Write one tensor as ``torch.save`` does, atomically."""
    write_bytes(path, lambda file: torch.save(torch.from_numpy(np.array(values, np.float32)), file))
