"""An Apple GPU that is not there: tensors on "mps" that are worked out on the processor, by the rules of that device.

What breaks there breaks here, in the same words: float64, two devices in one operation, numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps", 0)
NO_FLOAT64 = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64"
MANY = {"to", "copy_", "__getitem__", "__setitem__", "type_as", "__set__", "_has_compatible_shallow_copy_type"}
"""What may have tensors of two devices."""


class Pretended(Tensor):
    """A tensor of the processor that says it is on the device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _work(func, args, kwargs or {})


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _work(func, args, kwargs or {})


def _work(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A function of torch, with what is on the device taken from there and its results brought back."""
    name = getattr(func, "__name__", str(func))
    if name == "_parse_to" or func is torch.device:  # these name it, and move nothing
        return func(*args, **kwargs)
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [value for value in given if isinstance(value, Pretended)]
    if name == "__get__" and there and func.__self__ is Tensor.device:
        return DEVICE
    if there and name in ("numpy", "__array__"):
        raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory")
    if there and name not in MANY and any(v.ndim for v in given if not isinstance(v, Pretended)):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found mps:0 and cpu ({name})")
    if name == "to" and there and torch.float64 in tree_flatten((args, kwargs))[0]:
        raise TypeError(NO_FLOAT64)  # it would be made there, on its way to the processor
    goes = bool(there) and name not in ("cpu",)
    if name == "copy_":
        goes = isinstance(args[0], Pretended)
    elif name == "to" and len(args) > 1 and isinstance(args[1], Tensor):
        goes = isinstance(args[1], Pretended)
    named = [v for v in tree_flatten((args[1:] if given else args, kwargs))[0] if _names_device(v)]
    if named:
        goes = torch.device(named[0]).type == DEVICE.type
    args, kwargs = tree_map(lambda v: torch.device("cpu") if _names_device(v) else v, (args, kwargs))
    with torch._C.DisableTorchFunctionSubclass():
        return tree_map(lambda v: _placed(v, goes) if isinstance(v, Tensor) else v, func(*args, **kwargs))


def _placed(value: Tensor, goes: bool) -> Tensor:
    if not goes:
        return value.as_subclass(Tensor)  # type: ignore[arg-type]
    if value.dtype == torch.float64:
        raise TypeError(NO_FLOAT64)
    return value if isinstance(value, Pretended) else value.as_subclass(Pretended)  # type: ignore[arg-type]


def _names_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in ("mps", "cpu"))


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within it there is the device."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module that moves has new tensors
    try:
        with pytest.MonkeyPatch.context() as patch, _Mode():
            patch.setattr(torch.backends.mps, "is_available", lambda: True)
            patch.setattr("latentedit.taggers.prefetch.one_ahead", iter)  # the mode is this thread's alone
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
