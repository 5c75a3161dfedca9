"""What the names in pickles of tensors and arrays stand for: builders of tensors, arrays and plain containers.

Nothing here trusts its arguments, which a file chose: every size is checked before memory is taken.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentedit.checkpoints.unpickling import Budget, Fillable, amount, key, shown
from latentedit.errors import DamagedFileError, UnsafeFileError

_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "Untyped": torch.uint8,
}  # fmt: skip
_PLAIN_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_NUMBERS = re.compile("[<>|=]?(b1|[iu][1248]|f[248])")
_MOST_DIMENSIONS = 32
_LARGEST = 2**48  # of a size, stride, offset or count

ReadStorage = Callable[[bytes, Budget], Any]


class Call(NamedTuple):
    """A call that was kept as data: NVIDIA's pickles rebuild each module with one."""

    name: str
    args: tuple[Any, ...]


class Storage:
    """The numbers of one or more tensors.

    Args:
        dtype: of the numbers.
        size: how many.
        data: (size * itemsize,) uint8; zeros that are filled later when there is none.
    """

    def __init__(self, dtype: torch.dtype, size: int, data: Tensor | None = None) -> None:
        self.dtype, self.nbytes = dtype, size * dtype.itemsize
        self.bytes = torch.zeros(self.nbytes, dtype=torch.uint8) if data is None else data

    def aligned(self, itemsize: int, budget: Budget) -> Tensor:
        """The bytes where numbers of that size may lie; moved there once if they are not."""
        if self.bytes.data_ptr() % itemsize:
            budget.spend(self.nbytes)
            self.bytes = self.bytes.clone()
        return self.bytes


def sizes(numbers: Any, most: int = _MOST_DIMENSIONS) -> tuple[int, ...]:
    """Numbers that can be sizes, strides or offsets."""
    whole = isinstance(numbers, tuple | list) and len(numbers) <= most
    if not whole or not all(isinstance(x, int) and 0 <= x < _LARGEST for x in numbers):
        raise DamagedFileError("it holds a tensor of an impossible shape")
    return tuple(map(int, numbers))


def _as_bytes(data: Any) -> bytes:
    """Bytes as they are in new and old pickles."""
    if isinstance(data, str):
        return data.encode("latin1")  # how Python 2 wrote bytes, and protocol 2 does
    if not isinstance(data, bytes | bytearray):
        raise DamagedFileError("it holds an array without its numbers")
    return data if isinstance(data, bytes) else bytes(data)


def _sequence(items: Any) -> tuple[Any, ...] | list[Any] | set[Any]:
    if not isinstance(items, tuple | list | set):
        raise DamagedFileError("it makes a list of something else")
    return items


class _Dtype(Fillable):
    """Stands for numpy.dtype: numbers only, no objects."""

    def __init__(self, budget: Budget, code: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            what = shown(code, 20) if isinstance(code, str) else "?"
            raise UnsafeFileError(f"it holds an array of {what!r}; only numbers are read")
        self._budget, self.value = budget, np.dtype(code)

    def take_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise DamagedFileError("it holds an array of an unknown type")
        self.value = self.value.newbyteorder(state[1])

    def native(self, data: Any, shape: tuple[int, ...]) -> tuple[np.dtype, bytes]:
        """Type and bytes of an array in this machine's byte order."""
        held = _as_bytes(data)
        self._budget.spend(0 if held is data else len(held))
        if len(held) != math.prod(shape) * self.value.itemsize:
            raise DamagedFileError("it holds an array without its numbers")
        here = self.value.newbyteorder("=")
        if self.value == here:
            return here, held
        self._budget.spend(2 * len(held))
        return here, np.frombuffer(held, self.value).astype(here).tobytes()


class _Array(np.ndarray, Fillable):
    """Stands for numpy.ndarray while it is filled."""

    def take_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype):
            raise DamagedFileError("it holds an array of an unknown type")
        shape = sizes(shape)
        here, held = dtype.native(data, shape)
        super().__setstate__((1, shape, here, fortran is True, held))  # type: ignore[arg-type]  # numpy.bool in its stubs


class _Tables:
    """What names stand for in one file; none can leave anything for the next."""

    def __init__(self, budget: Budget, read_storage: ReadStorage | None) -> None:
        self._budget, self._read_storage = budget, read_storage
        self._nested: dict[int, tuple[bytes, Storage]] = {}

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        dtype = storage.dtype if isinstance(storage, Storage) else None
        return self._view(storage, dtype, offset, size, stride)

    def tensor_v3(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        return self._view(storage, rest[2] if len(rest) > 2 else None, offset, size, stride)

    def tensor_of_type(self, function: Any, _type: Any, args: Any, *_: Any) -> Tensor:
        """A tensor with attributes, which are left out."""
        if function not in (self.tensor, self.tensor_v3) or not isinstance(args, tuple):
            raise UnsafeFileError("it rebuilds a tensor in a way of its own, and no code of a file is ever run")
        return function(*args)

    def _view(self, storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        """A tensor that lies inside its storage and is not larger than it."""
        if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
            raise DamagedFileError("it holds a tensor without numbers")
        size, stride, (offset,) = sizes(size), sizes(stride), sizes((offset,))
        if len(size) != len(stride):
            raise DamagedFileError("it holds a tensor of an impossible shape")
        count, available = math.prod(size), storage.nbytes // dtype.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
        if count > available or last >= available:
            asked, held = amount(count * dtype.itemsize), amount(storage.nbytes)
            raise UnsafeFileError(f"it holds a tensor of {asked} that does not lie within its {held} of numbers")
        if not count:
            return torch.zeros(size, dtype=dtype)
        self._budget.claim(count * dtype.itemsize)
        data = storage.aligned(dtype.itemsize, self._budget)
        return data[: available * dtype.itemsize].view(dtype).as_strided(size, stride, offset)

    def dtype(self, code: Any, *_: Any) -> _Dtype:
        return _Dtype(self._budget, code)

    def array_from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        array = _empty_array()
        array.take_state((1, shape, dtype, order == "F", self.bytes_of_text(data)))
        return array

    def scalar(self, dtype: Any, data: Any) -> Any:
        return self.array_from_buffer(data, dtype, (), "C").item()

    def bytes_of_text(self, text: Any = b"", *_: Any) -> bytes:
        self._budget.spend(len(text))
        return _as_bytes(text)

    def plain_dict(self, items: Any = (), *_: Any) -> OrderedDict[Any, Any]:
        """A dictionary of pairs, without what else its class may keep, such as a factory."""
        pairs = tuple(items.items()) if isinstance(items, dict) else _sequence(items)
        self._budget.spend(192 * len(pairs))
        return OrderedDict((key(name), value) for name, value in pairs)

    def plain_set(self, items: Any = ()) -> set[Any]:
        self._budget.spend(128 * len(_sequence(items)))
        return {key(item) for item in items}

    def plain_list(self, items: Any = (), *_: Any) -> list[Any]:
        self._budget.spend(16 * len(_sequence(items)))
        return list(items)

    def plain_tuple(self, items: Any = ()) -> tuple[Any, ...]:
        return tuple(self.plain_list(items))

    def storage_of_bytes(self, data: Any) -> Storage:
        """A storage that NVIDIA's pickles hold as the bytes of a file of its own."""
        if not isinstance(data, bytes):
            raise DamagedFileError("it holds a storage without bytes")
        if self._read_storage is None:
            raise UnsafeFileError("it holds files in files in files")
        if id(data) not in self._nested:
            storage = self._read_storage(data, self._budget)
            if not isinstance(storage, Storage):
                raise DamagedFileError("it holds a storage that is something else")
            self._nested[id(data)] = data, storage
        return self._nested[id(data)][1]


def _first(value: Any, *_: Any) -> Any:
    return value


def _empty_array(*_: Any) -> _Array:
    return np.empty(0, np.uint8).view(_Array)


def _path(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise DamagedFileError("it holds a path that is not text")
    return str(PurePosixPath(*parts))


def _persistent(*args: Any) -> Call:
    return Call("persistent", args)


def _storage_types() -> dict[str, torch.dtype]:
    found = {f"torch.{kind}Storage": dtype for kind, dtype in _DTYPES.items()}
    return found | {f"torch.storage.{kind}Storage": dtype for kind, dtype in _DTYPES.items()}


def builders(budget: Budget, read_storage: ReadStorage | None = None) -> dict[str, Any]:
    """What the names in a file stand for: functions that may be called, and values.

    Args:
        budget: of the file.
        read_storage: reads a storage that is a file of its own; None within such a file.
    """
    tables = _Tables(budget, read_storage)
    numpy_names: dict[str, Any] = {}
    for core in ("numpy.core", "numpy._core"):
        numpy_names[f"{core}.multiarray._reconstruct"] = _empty_array
        numpy_names[f"{core}.multiarray.scalar"] = tables.scalar
        numpy_names[f"{core}.numeric._frombuffer"] = tables.array_from_buffer
    return {
        **numpy_names, **_storage_types(),
        **{f"torch.{name}": getattr(torch, name) for name in _PLAIN_DTYPES},
        "collections.OrderedDict": tables.plain_dict, "collections.Counter": tables.plain_dict,
        "collections.defaultdict": lambda *_: {},
        "collections.deque": tables.plain_list,
        "builtins.set": tables.plain_set, "__builtin__.set": tables.plain_set,
        "builtins.frozenset": tables.plain_set, "__builtin__.frozenset": tables.plain_set,
        "builtins.bytearray": tables.bytes_of_text, "__builtin__.bytearray": tables.bytes_of_text,
        "_codecs.encode": tables.bytes_of_text, "__builtin__.bytes": tables.bytes_of_text,
        "pathlib.PosixPath": _path, "pathlib.WindowsPath": _path, "pathlib.PurePosixPath": _path,
        "numpy.dtype": tables.dtype,
        "torch._utils._rebuild_tensor": tables.tensor, "torch._utils._rebuild_tensor_v2": tables.tensor,
        "torch._utils._rebuild_tensor_v3": tables.tensor_v3,
        "torch._tensor._rebuild_from_type_v2": tables.tensor_of_type,
        "torch._utils._rebuild_parameter": _first, "torch._utils._rebuild_parameter_with_state": _first,
        "torch.storage._load_from_bytes": tables.storage_of_bytes,
        "torch.Size": tables.plain_tuple, "torch.device": _first,
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    }  # fmt: skip
