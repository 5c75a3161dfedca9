"""What the names in pickles stand for: builders of arrays and plain containers, and inert things of other classes.

Tensors are those of :mod:`~latentedit.checkpoints.tensor_builders`. Nothing here trusts its arguments, which a file
chose: every size is checked before memory is taken.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from latentedit.checkpoints.tensor_builders import ReadStorage, TensorBuilders, sizes
from latentedit.checkpoints.unpickling import Budget, Fillable, Inert, StandIn, key, shown
from latentedit.errors import DamagedFileError, UnsafeFileError

_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[Mm]8|[USaV]\d{1,6})")
_VALUES = (  # classes of the standard library and of numpy that a file calls for values; they are kept as inert
    "datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone",
    "decimal.Decimal", "fractions.Fraction", "types.SimpleNamespace", "types.GenericAlias", "operator.getitem",
    "_operator.getitem", "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    "numpy.random._pickle.__randomstate_ctor", "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
)  # fmt: skip


class Call(NamedTuple):
    """A call that was kept as data: NVIDIA's pickles rebuild each module with one."""

    name: str
    args: tuple[Any, ...]


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
    """Stands for numpy.dtype: numbers, dates and text of a fixed length, no objects."""

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

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

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


def _complex(*parts: Any) -> complex:
    if len(parts) > 2 or not all(isinstance(part, int | float) for part in parts):
        raise DamagedFileError("it holds a complex number of other things")
    return complex(*parts)


def _reconstructed(*args: Any) -> Inert:
    """An object as pickles of protocols 0 and 1 begin it: class, base class, contents."""
    if len(args) != 3 or not isinstance(args[0], StandIn):
        raise UnsafeFileError("it asks for copyreg._reconstructor, and no code that a file names is ever run")
    made = Inert(args[0].class_name)
    contents = args[2] if isinstance(args[2], dict | list) else {}
    made.entries.update(contents if isinstance(contents, dict) else enumerate(contents))
    return made


def _value(name: str) -> Any:
    return lambda *args: Inert(name, args)


class Builders:
    """What the names in one file stand for.

    Args:
        budget: of the file.
        read_storage: reads a storage that is a file of its own; None within such a file.

    Attributes:
        tensors: builders of tensors.
        names: functions that may be called, and values, by ``module.name``.
    """

    def __init__(self, budget: Budget, read_storage: ReadStorage | None = None) -> None:
        self.tensors = TensorBuilders(budget, read_storage)
        tables = _Tables(budget)
        numpy_names: dict[str, Any] = {}
        for core in ("numpy.core", "numpy._core"):
            numpy_names[f"{core}.multiarray._reconstruct"] = _empty_array
            numpy_names[f"{core}.multiarray.scalar"] = tables.scalar
            numpy_names[f"{core}.numeric._frombuffer"] = tables.array_from_buffer
        paths = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
        self.names = {
            **numpy_names, **self.tensors.names(), **{name: _value(name) for name in _VALUES},
            **{f"{module}.{name}": _path for module in ("pathlib", "pathlib._local") for name in paths},
            "collections.OrderedDict": tables.plain_dict, "collections.Counter": tables.plain_dict,
            "collections.defaultdict": lambda *_: {},
            "collections.deque": tables.plain_list,
            "builtins.set": tables.plain_set, "__builtin__.set": tables.plain_set,
            "builtins.frozenset": tables.plain_set, "__builtin__.frozenset": tables.plain_set,
            "builtins.bytearray": tables.bytes_of_text, "__builtin__.bytearray": tables.bytes_of_text,
            "builtins.complex": _complex, "__builtin__.complex": _complex,
            "_codecs.encode": tables.bytes_of_text, "__builtin__.bytes": tables.bytes_of_text,
            "copyreg._reconstructor": _reconstructed, "copy_reg._reconstructor": _reconstructed,
            "numpy.dtype": tables.dtype,
            "torch.Size": tables.plain_tuple, "torch.device": _first,
            "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
        }  # fmt: skip
