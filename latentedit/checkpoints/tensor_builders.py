"""What the names in pickles of tensors stand for: builders of dense tensors of real and complex numbers.

They take what torch's own safe loader takes. Sparse tensors are spread out, quantised ones become the numbers that
they stand for, and those of other devices come to the processor. Nothing here trusts its arguments, which a file
chose: every size is checked before memory is taken.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.checkpoints.unpickling import Budget, Inert, StandIn, amount
from latentedit.errors import DamagedFileError, UnsafeFileError

_STORAGES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64, "Untyped": torch.uint8,
    "QInt8": torch.qint8, "QUInt8": torch.quint8, "QInt32": torch.qint32, "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}  # fmt: skip
_WHOLE = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
_SCHEMES = (
    "per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
    "per_channel_affine_float_qparams",
)  # fmt: skip
_COMPRESSED = {
    f"torch.{name}": getattr(torch, name) for name in ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
}
_MOST_DIMENSIONS = 32
_LARGEST = 2**48  # of a size, stride, offset or count

ReadStorage = Callable[[bytes, Budget], Any]


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


class TensorBuilders:
    """Builders of one file's tensors.

    Args:
        budget: of the file.
        read_storage: reads a storage that is a file of its own; None within such a file.

    Attributes:
        filled: storages have their numbers already. Old files have them behind the tree, which is then read twice
            if a builder needs to see them.
        waits: a builder needed numbers that were not there yet.
    """

    def __init__(self, budget: Budget, read_storage: ReadStorage | None) -> None:
        self._budget, self._read_storage = budget, read_storage
        self._nested: dict[int, tuple[bytes, Storage]] = {}
        self.filled, self.waits = True, False

    def dense(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        dtype = storage.dtype if isinstance(storage, Storage) else None
        return _signed(self._view(storage, dtype, offset, size, stride), rest[2] if len(rest) > 2 else None)

    def dense_v3(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        dtype = rest[2] if len(rest) > 2 else None
        return _signed(self._view(storage, dtype, offset, size, stride), rest[3] if len(rest) > 3 else None)

    def of_type(self, function: Any, _type: Any, args: Any, state: Any = None, *_: Any) -> Any:
        """A tensor with attributes, which are left out; those of a class that is not imported are kept."""
        if function not in self._functions().values() or not isinstance(args, tuple):
            raise UnsafeFileError("it rebuilds a tensor in a way of its own, and no code of a file is ever run")
        made = function(*args)
        if isinstance(made, Inert) and isinstance(state, dict):
            made.state = state
        return made

    def from_array(self, data: Any, dtype: Any, *_: Any) -> Tensor:
        """Of a TPU, an older Mac and the like: an array."""
        if not isinstance(data, np.ndarray):
            raise DamagedFileError("it holds a tensor without numbers")
        return self._cast(torch.from_numpy(data.view(np.ndarray)), dtype)

    def from_tensor(self, data: Any, dtype: Any, *_: Any) -> Tensor:
        """The same: a tensor of the processor."""
        if not isinstance(data, Tensor):
            raise DamagedFileError("it holds a tensor without numbers")
        return data if data.dtype != dtype and not self._sees() else self._cast(data, dtype)

    def _cast(self, data: Tensor, dtype: Any) -> Tensor:
        if not isinstance(dtype, torch.dtype):
            raise DamagedFileError("it holds a tensor of an unknown type")
        self._budget.spend(0 if data.dtype == dtype else data.numel() * dtype.itemsize)
        return data.to(dtype)

    def quantised(self, storage: Any, offset: Any, size: Any, stride: Any, scheme: Any, *_: Any) -> Any:
        """float32 (whole number - zero point) * scale; those of fewer than 8 bits are kept as nothing."""
        if not isinstance(storage, Storage) or not isinstance(scheme, tuple) or len(scheme) not in (3, 4):
            raise DamagedFileError("it holds a quantised tensor without numbers")
        if storage.dtype not in _WHOLE:
            return Inert("torch.Tensor of fewer than 8 bits a number")
        whole = self._view(storage, _WHOLE[storage.dtype], offset, size, stride)
        if not self._sees():
            return whole
        self._budget.spend(8 * whole.numel())
        scale, zero = (torch.as_tensor(number, dtype=torch.float32) for number in scheme[1:3])
        if len(scheme) == 4:
            (axis,) = sizes((scheme[3],))
            if axis >= whole.ndim or scale.shape != (whole.shape[axis],) or zero.shape != scale.shape:
                raise DamagedFileError("it holds a quantised tensor whose scales do not fit")
            scale, zero = (number.view(-1, *[1] * (whole.ndim - axis - 1)) for number in (scale, zero))
        elif scale.ndim or zero.ndim:
            raise DamagedFileError("it holds a quantised tensor whose scales do not fit")
        return (whole.float() - zero) * scale

    def sparse(self, layout: Any, data: Any = None) -> Any:
        """All numbers, zeros too; one that is far larger so than the file is kept as nothing."""
        compressed = isinstance(layout, str) and layout in _COMPRESSED
        if not isinstance(data, tuple) or not (compressed or layout == "torch.sparse_coo"):
            raise UnsafeFileError("it holds a sparse tensor of an unknown layout")
        *parts, size = data[: 4 if compressed else 3]
        size = sizes(size)
        if len(parts) != (3 if compressed else 2) or not all(isinstance(part, Tensor) for part in parts):
            raise DamagedFileError("it holds a sparse tensor without numbers")
        if not self._sees() or not self._budget.affords(math.prod(size) * parts[-1].dtype.itemsize):
            return Inert("torch.Tensor, sparse")
        self._budget.spend(math.prod(size) * parts[-1].dtype.itemsize)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that compressed layouts are new
            make: Any = torch.sparse_coo_tensor
            if compressed:
                make = partial(torch.sparse_compressed_tensor, layout=_COMPRESSED[layout])
            dense: Tensor = make(*parts, size, check_invariants=True).to_dense()
            return dense

    def _sees(self) -> bool:
        """Whether numbers may be looked at; if not, the tree is read again later."""
        self.waits |= not self.filled
        return self.filled

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

    def _functions(self) -> dict[str, Any]:
        """Builders of tensors by the names of torch's own, of all versions."""
        return {
            "_rebuild_tensor": self.dense, "_rebuild_tensor_v2": self.dense, "_rebuild_tensor_v3": self.dense_v3,
            "_rebuild_parameter": parameter, "_rebuild_parameter_with_state": parameter,
            "_rebuild_device_tensor_from_numpy": self.from_array, "_rebuild_xla_tensor": self.from_array,
            "_rebuild_mlc_tensor": self.from_array, "_rebuild_device_tensor_from_cpu_tensor": self.from_tensor,
            "_rebuild_qtensor": self.quantised, "_rebuild_sparse_tensor": self.sparse,
            "_rebuild_sparse_csr_tensor": self.sparse, "_rebuild_nested_tensor": _ragged,
            "_rebuild_meta_tensor_no_storage": _without_numbers, "_rebuild_wrapper_subclass": _of_unknown_class,
        }  # fmt: skip

    def names(self) -> dict[str, Any]:
        """What torch's names stand for: functions that may be called, and values."""
        storages = {
            f"{module}.{mark}{kind}Storage": dtype
            for kind, dtype in _STORAGES.items()
            for module in ("torch", "torch.storage", "torch.cuda")
            for mark in ("", "_")
        }
        dtypes = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
        return {
            **storages, **dtypes, **{f"torch._utils.{name}": function for name, function in self._functions().items()},
            **{f"{tensor}._rebuild_from_type{v}": self.of_type for tensor in ("torch._tensor", "torch.tensor")
               for v in ("", "_v2")},
            **{f"torch.{scheme}": scheme for scheme in _SCHEMES},
            "torch.storage._load_from_bytes": self.storage_of_bytes,
            "torch.serialization._get_layout": _layout,
            "torch.nn.parameter.Parameter": parameter,
        }  # fmt: skip


def parameter(data: Any, *_: Any) -> Any:
    """A parameter's tensor."""
    if not isinstance(data, Tensor | Inert):
        raise DamagedFileError("it holds a parameter without numbers")
    return data


def _signed(tensor: Tensor, metadata: Any) -> Tensor:
    """A tensor whose numbers are kept as negative or conjugate of what they are."""
    if not isinstance(metadata, dict):
        return tensor
    tensor = tensor.conj() if metadata.get("conj") is True else tensor
    return torch._neg_view(tensor) if metadata.get("neg") is True else tensor


def _layout(name: Any) -> str:
    if not isinstance(name, str):
        raise DamagedFileError("it holds a tensor of an unknown layout")
    return name


def _ragged(*args: Any) -> Inert:
    return Inert("torch.Tensor, nested", args)


def _without_numbers(*_: Any) -> Any:
    raise DamagedFileError(
        "its tensors have shapes and no numbers: it was saved from torch's device 'meta', before the weights were "
        "loaded; load them where it was made, and save it again"
    )


def _of_unknown_class(cls: Any, *_: Any) -> Inert:
    return Inert(cls.class_name if isinstance(cls, StandIn) else "torch.Tensor")
