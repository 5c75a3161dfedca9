"""What torch's own safe loader takes is taken, with the same numbers; torch.load of the same file is the oracle."""

from __future__ import annotations

import argparse
import datetime
import decimal
import pathlib
import pickle
import types
import typing
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from assembler import call, name, storage, tensor, text, zipped
from torch import Tensor

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.checkpoints.unpickling import Inert
from latentedit.errors import DamagedFileError, UnsafeFileError

OLD = typing.Dict[str, int]  # noqa: UP006
LAYOUTS = {"zip": True, "legacy": False}


class Calls:
    """Pickled as a call of one of torch's functions."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def rows() -> Tensor:
    return torch.arange(12.0).reshape(3, 4) - 5


def quantised(whole: torch.dtype) -> Tensor:
    return torch.quantize_per_tensor(rows(), 0.5, 3, whole)


def per_channel() -> Tensor:
    return torch.quantize_per_channel(
        rows(), torch.tensor([0.1, 0.5, 2.0, 1.0]), torch.tensor([0, 1, 2, 3]), 1, torch.qint8
    )


utils: Any = torch._utils
from_array, from_tensor = utils._rebuild_device_tensor_from_numpy, utils._rebuild_device_tensor_from_cpu_tensor
KINDS: dict[str, Callable[[], Any]] = {
    "a TPU, as an array": lambda: Calls(from_array, rows().numpy(), torch.float32, "xla:0", False),
    "a Mac, in another type": lambda: Calls(utils._rebuild_xla_tensor, rows().numpy(), torch.bfloat16, "mps", False),
    "an accelerator": lambda: Calls(from_tensor, rows(), torch.float32, "hpu", True),
    "sparse": lambda: rows().to_sparse(),
    "sparse, older": lambda: Calls(utils._rebuild_sparse_tensor, torch.sparse_coo, (*coo(), rows().shape)),
    "sparse rows": lambda: rows().to_sparse_csr(),
    "sparse columns": lambda: rows().to_sparse_csc(),
    "8 bits": lambda: quantised(torch.qint8),
    "8 bits from 0": lambda: quantised(torch.quint8),
    "32 bits": lambda: quantised(torch.qint32),
    "8 bits a channel": per_channel,
    "complex": lambda: torch.complex(rows(), 2 * rows()),
    "conjugate": lambda: torch.complex(rows(), 2 * rows()).conj(),
    "negative": lambda: torch.complex(rows(), 2 * rows()).conj().imag,
    "8-bit floats": lambda: rows().to(torch.float8_e4m3fn),
    "16 bits": lambda: torch.arange(4).to(torch.uint16),
    "a parameter": lambda: torch.nn.Parameter(rows()),
    "a parameter with attributes": lambda: with_attributes(torch.nn.Parameter(rows())),
    "with attributes": lambda: with_attributes(rows()),
}  # fmt: skip
UNTYPED = ("8-bit floats", "16 bits")  # which torch itself cannot write in its old layout


def coo() -> tuple[Tensor, Tensor]:
    sparse = rows().to_sparse().coalesce()
    return sparse.indices(), sparse.values()


def with_attributes(thing: Any) -> Any:
    thing.note = {"learning_rate": 0.1}
    return thing


def as_numbers(value: Tensor) -> Tensor:
    value = value.detach()
    value = value.dequantize() if value.is_quantized else value
    value = value.to_dense() if value.layout != torch.strided else value
    return value.resolve_conj().resolve_neg()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore")  # torch's, of what is new or will go
def test_what_torch_takes(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    kinds = {what: make() for what, make in KINDS.items() if LAYOUTS[layout] or what not in UNTYPED}
    torch.save(kinds, path, _use_new_zipfile_serialization=LAYOUTS[layout])
    with pytest.MonkeyPatch.context() as patch:  # the devices are not here, and no numbers depend on them
        patch.setattr(utils, "_get_restore_location", lambda device: "cpu")
        expected = torch.load(path, weights_only=False)  # numpy's are taken when allowed by name
    got = read_checkpoint(path).state()
    assert list(got) == list(kinds)
    for what, value in expected.items():
        wanted = as_numbers(value)
        assert (got[what].dtype, got[what].layout, got[what].device.type) == (wanted.dtype, torch.strided, "cpu"), what
        one, other = (as_numbers(x) if x.is_complex() else x.double() for x in (got[what], wanted))
        assert torch.allclose(one, other, rtol=1e-6, atol=0), what


def test_the_comparison_sees_a_difference() -> None:
    assert not torch.equal(as_numbers(quantised(torch.qint8)), quantised(torch.qint8).int_repr().float())
    assert not torch.equal(as_numbers(KINDS["conjugate"]()), as_numbers(KINDS["complex"]()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_else_training_files_hold(layout: str, tmp_path: Path) -> None:
    held = {
        "when": datetime.datetime(2024, 5, 6, tzinfo=datetime.UTC), "for": datetime.timedelta(3),
        "who": uuid.UUID(int=7), "nested": torch.nested.nested_tensor([torch.ones(1)]),
        "price": decimal.Decimal("0.5"), "plain": types.SimpleNamespace(a=1), "any": typing.Any, "z": 1 + 2j,
        "kind": list[int], "map": OLD, "args": argparse.Namespace(size=4), "random": np.random.RandomState(0),
        "generator": np.random.default_rng(0), "names": np.array(["a", "bc"]), "day": np.array(["2024-05-06"], "M8[D]"),
        "count": np.float32(2.5), "text": np.str_("abc"), "dtype": np.dtype("float32"), "type": np.float64,
        "size": torch.Size([2, 3]), "device": torch.device("cpu"), "path": pathlib.PurePosixPath("a/b"),
        "scheme": torch.per_tensor_affine, "layout": torch.strided,
        "w": rows(),
    }  # fmt: skip
    path = tmp_path / "x.pt"
    torch.save(held, path, _use_new_zipfile_serialization=LAYOUTS[layout])
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint.state()["w"], rows())
    assert {name for name in checkpoint.state() if not name.startswith(("random", "generator"))} == {"w"}
    got = checkpoint.tree
    assert (got["z"], got["count"], got["text"], got["path"], got["size"]) == (1 + 2j, 2.5, "abc", "a/b", (2, 3))
    assert (got["names"].tolist(), got["plain"].state) == (["a", "bc"], {"a": 1})
    inert = {"map", "when", "for", "price", "plain", "who", "kind", "args", "random", "generator", "nested"}
    assert {what for what, thing in got.items() if isinstance(thing, Inert)} == inert


@pytest.mark.parametrize("protocol", [0, 1])
def test_objects_of_old_protocols(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    thing = argparse.Namespace(size=4)
    torch.save({"args": thing}, path, pickle_protocol=protocol)
    (got,) = read_checkpoint(path).tree.values()
    assert (got.class_name, got.state) == ("argparse.Namespace", {"size": 4})
    with open(path, "wb") as file:
        pickle.dump(Sub(a=[thing]), file, protocol)
    assert read_checkpoint(path).tree.fields()["a"][0].state == {"size": 4}


class Sub(dict[str, Any]):
    """Of a dictionary."""


def test_a_class_of_its_own_keeps_what_it_wraps(tmp_path: Path) -> None:
    """Such as a tensor that lies on several machines: the file's class is not imported, its tensors are there."""
    path = tmp_path / "x.pt"
    inner = b"}" + text("local") + tensor(storage(4), b"(K\4t", b"(K\1t") + b"s"
    args = b"(" + name("other", "Class") + name("torch", "float32") + b"(K\4t(K\1tK\0"
    args += text("torch.strided") + text("cpu") + b"\x89t"
    function = name("torch._utils", "_rebuild_wrapper_subclass")
    made = call(name("torch._tensor", "_rebuild_from_type_v2"), function, name("other", "Class"), args, inner)
    path.write_bytes(zipped(b"}" + text("w") + made + b"s", {"data/0": np.arange(4, dtype="f4").tobytes()}))
    checkpoint = read_checkpoint(path)
    assert checkpoint.tree["w"].class_name == "other.Class"
    assert checkpoint.state()["w.local"].tolist() == [0, 1, 2, 3]


def test_tensors_without_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.empty(3, device="meta")}, path)
    with pytest.raises(DamagedFileError, match="no numbers.*'meta'"):
        read_checkpoint(path)


def bad_sparse(index: int, size: tuple[int, ...]) -> Any:
    return Calls(utils._rebuild_sparse_tensor, torch.sparse_coo, (torch.tensor([[index]]), torch.ones(1), size))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_tensors_stay_inside(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": bad_sparse(10, (4,))}, path, _use_new_zipfile_serialization=LAYOUTS[layout])
    with pytest.raises(DamagedFileError):
        read_checkpoint(path)
    torch.save({"w": bad_sparse(3, (2**40,))}, path, _use_new_zipfile_serialization=LAYOUTS[layout])
    assert isinstance(read_checkpoint(path).tree["w"], Inert)  # 4 TB


def test_scales_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    q = per_channel()
    for scales, axis in ((torch.ones(3), 1), (torch.ones(4), 2), (torch.ones(4), -1)):
        scheme = (torch.per_channel_affine, scales, scales, axis)
        whole = torch.storage.TypedStorage(wrap_storage=q.untyped_storage(), dtype=q.dtype, _internal=True)
        torch.save({"w": Calls(utils._rebuild_qtensor, whole, 0, (3, 4), (4, 1), scheme, False, {})}, path)
        with pytest.raises(DamagedFileError, match="do not fit|impossible shape"):
            read_checkpoint(path)


def test_a_way_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    typed = name("torch._tensor", "_rebuild_from_type_v2")
    for function in (name("collections", "OrderedDict"), name("torch.serialization", "_get_layout")):
        path.write_bytes(zipped(call(typed, function, b"N", b")", b"N")))
        with pytest.raises(UnsafeFileError, match="a way of its own"):
            read_checkpoint(path)


def test_weights_of_a_type_that_does_not_become_a_number(tmp_path: Path) -> None:
    from latentedit import load_generator

    weights = {"main.0.weight": torch.randn(8, 4, 4, 4), "main.1.weight": torch.randn(4, 3, 4, 4)}
    path = tmp_path / "x.pt"
    four = torch.zeros(8, 4, 4, 4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)  # two numbers a byte
    for odd in (weights["main.0.weight"].to(torch.complex64), four):
        torch.save({**weights, "main.0.weight": odd}, path)
        with pytest.raises(DamagedFileError, match="main.0.weight are (complex64|float4)"):
            load_generator(f"dcgan:{path}")
