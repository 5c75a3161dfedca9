"""Files of torch.save, read by hand, against torch.load; zip archives read in place."""

from __future__ import annotations

import argparse
import collections
import copyreg
import io
import pathlib
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from assembler import array, call, name, pickled, storage, tensor, text, zipped
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.checkpoints.torch_files import read_legacy_file, read_pickle, read_zip
from latentedit.checkpoints.unpickling import Inert
from latentedit.checkpoints.zip_files import members
from latentedit.errors import DamagedFileError, UnsafeFileError

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip
LAYOUTS = {"zip": (True, read_zip), "legacy": (False, read_legacy_file)}
SAVED = [(layout, protocol) for layout in LAYOUTS for protocol in (2, 4, 5)]


def save(value: Any, path: Path, layout: str, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=LAYOUTS[layout][0], pickle_protocol=protocol)
    return path


def same(got: Any, expected: Any) -> bool:
    """Equal, tensors and arrays to the bit and in dtype, shape and stride."""
    if isinstance(expected, Tensor):
        alike = isinstance(got, Tensor) and got.dtype == expected.dtype and got.stride() == expected.stride()
        return alike and torch.equal(got.detach(), expected.detach())
    if isinstance(expected, np.ndarray):
        return isinstance(got, np.ndarray) and got.dtype == expected.dtype and np.array_equal(got, expected)
    if isinstance(expected, Mapping):
        return isinstance(got, Mapping) and list(got) == list(expected) and all(same(got[k], expected[k]) for k in got)
    if isinstance(expected, (list, tuple)):
        kind = tuple if isinstance(expected, tuple) else list  # torch.Size becomes a tuple
        return isinstance(got, kind) and len(got) == len(expected) and all(map(same, got, expected))
    return bool(got == expected)


def state() -> dict[str, Any]:
    """One of everything that a state dict or a training file has."""
    base = torch.arange(24.0).reshape(4, 6)
    return {
        **{str(dtype): torch.arange(5).to(dtype) for dtype in DTYPES},
        "whole": base, "row": base[1], "column": base[:, 2], "transposed": base.T, "strided": base[::2, 1::2],
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "parameter": nn.Parameter(torch.ones(2, 2)),
        "ordered": collections.OrderedDict(b=torch.ones(1), a=torch.zeros(2)), "size": torch.Size([1, 2]),
        "numbers": [1, 2.5, True, None, "text", b"bytes", (1, (2,))], "set": {1, 2}, "device": "cpu",
        "nested": {"optimizer": {0: {"exp_avg": torch.ones(3)}}},
    }  # fmt: skip


@pytest.mark.parametrize(("layout", "protocol"), SAVED)
def test_equal_to_torch_load(layout: str, protocol: int, tmp_path: Path) -> None:
    path = save(state(), tmp_path / "f.pt", layout, protocol)
    assert same(LAYOUTS[layout][1](path), torch.load(path, weights_only=False))


def test_the_comparison_sees_a_difference() -> None:
    other = state()
    other["column"] = other["column"].contiguous()
    assert same(state(), state())
    assert not same(other, state())
    assert not same({**state(), "scalar": torch.tensor(2.6)}, state())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shared_numbers_stay_shared(layout: str, tmp_path: Path) -> None:
    base = torch.zeros(10)
    got = LAYOUTS[layout][1](save({"a": base, "b": base[5:]}, tmp_path / "f.pt", layout))
    got["a"][7] = 3
    assert got["b"].tolist() == [0, 0, 3, 0, 0]


def test_writing_to_a_tensor_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = save({"a": torch.zeros(1000)}, tmp_path / "f.pt", "zip")
    before = path.read_bytes()
    read_zip(path)["a"].fill_(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_files_with_other_classes(layout: str, tmp_path: Path) -> None:
    tree = {
        "g_ema": {"w": torch.ones(2)}, "args": argparse.Namespace(size=256, path=pathlib.PurePosixPath("a/b")),
        "milestones": collections.Counter([3, 3, 5]), "queue": collections.deque([1, 2]),
        "default": collections.defaultdict(list, a=[1]), "device": torch.device("cuda", 0), "dtype": torch.float16,
    }  # fmt: skip
    got = LAYOUTS[layout][1](save(tree, tmp_path / "f.pt", layout))
    assert isinstance(got["args"], Inert)
    assert got["args"].state == {"size": 256, "path": "a/b"}
    assert (dict(got["milestones"]), got["queue"], got["default"]) == ({3: 2, 5: 1}, [1, 2], {"a": [1]})
    assert (got["device"], got["dtype"], got["g_ema"]["w"].tolist()) == ("cuda", torch.float16, [1, 1])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ConvTranspose2d(4, 2, 3)))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.tied = self.body[0]
        self.register_buffer("kernel", torch.arange(4.0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("inside", ["", "G_ema"])
def test_modules_saved_whole(layout: str, inside: str, tmp_path: Path) -> None:
    net = Net()
    path = save({inside: net} if inside else net, tmp_path / "f.pt", layout)
    got = read_checkpoint(path).state(*([inside] if inside else []))
    expected = net.state_dict()
    assert set(got) == set(expected)
    assert same(dict(sorted(got.items())), dict(sorted(expected.items())))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1", "|b1", "<u2"])
def test_arrays(protocol: int, dtype: str, tmp_path: Path) -> None:
    value = (np.arange(12).reshape(3, 4) % 3).astype(dtype)
    tree = {"c": value, "f": np.asfortranarray(value), "big": np.ones(1000, dtype), "empty": np.zeros((0, 2), dtype),
            "number": value[1, 2], "scalar": np.array(1, dtype)}  # fmt: skip
    path = tmp_path / "f.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    got = read_pickle(path)
    native = {key: np.asarray(item).astype(np.dtype(dtype).newbyteorder("=")) for key, item in tree.items()}
    assert same({key: np.asarray(got[key], native[key].dtype) for key in got}, native)
    assert {key for key in got if isinstance(got[key], np.ndarray)} == {"c", "f", "big", "empty", "scalar"}
    tensors = read_checkpoint(path).state()
    assert torch.equal(tensors["c"].double(), torch.from_numpy(native["c"].astype(np.float64)))
    tensors["big"].fill_(0)  # writable, with no warning about that


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_both_names_of_the_core_of_numpy(core: str, tmp_path: Path) -> None:
    tree = {"a": np.arange(3.0), "x": np.float32(1.5)}
    for protocol in (2, 5):
        written = pickle.dumps(tree, protocol)
        data = written.replace(b"numpy._core.", f"{core}.".encode())
        if protocol == 5:  # names carry their length there
            short = len(f"{core}.") - len("numpy._core.")
            data = written
            for module in ("multiarray", "numeric"):
                old = f"numpy._core.{module}".encode()
                new = f"{core}.{module}".encode()
                data = data.replace(bytes([len(old)]) + old, bytes([len(old) + short]) + new)
            frame = int.from_bytes(data[3:11], "little") - (len(written) - len(data))
            data = data[:3] + frame.to_bytes(8, "little") + data[11:]
        path = tmp_path / "f.pkl"
        path.write_bytes(data)
        assert core.encode() in data
        got = read_pickle(path)
        assert (got["a"].tolist(), got["x"]) == ([0, 1, 2], 1.5)


def test_arrays_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "f.pkl"
    path.write_bytes(pickled(array(b"U\x02f4", b"(K\2t", b"U\x08" + np.array([1.5, -2], np.float32).tobytes()), 2))
    assert read_pickle(path).tolist() == [1.5, -2]


def test_tensors_in_plain_pickles(tmp_path: Path) -> None:
    tree = {"a": torch.arange(6.0).reshape(2, 3).T, "p": nn.Parameter(torch.ones(3, dtype=torch.float16)), "s": {1}}
    path = tmp_path / "f.pkl"
    path.write_bytes(pickle.dumps(tree, 4))
    assert same(read_pickle(path), tree)


def test_old_protocols(tmp_path: Path) -> None:
    for protocol in (0, 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps({"tag": [1.0, 2.0], "a": np.arange(3.0)}, protocol))
        checkpoint = read_checkpoint(path)
        assert checkpoint.container == "pickle"
        assert checkpoint.tree["tag"] == [1, 2]
        assert checkpoint.state()["a"].tolist() == [0, 1, 2]


def test_numbers_that_do_not_start_at_their_place(tmp_path: Path) -> None:
    """Old torch and repacked archives do not align storages."""
    for pad in range(4):
        path = tmp_path / f"{pad}.pt"
        data = np.array([1, 2, 3, 4], np.float32).tobytes()
        key = text("k" * (pad + 1))
        path.write_bytes(zipped(tensor(storage(4, key), b"(K\4t", b"(K\1t"), {f"data/{'k' * (pad + 1)}": data}))
        assert read_zip(path).tolist() == [1, 2, 3, 4]


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    path.write_bytes(zipped(b"}", {"byteorder": b"big"}))
    with pytest.raises(DamagedFileError, match="big-endian"):
        read_zip(path)


def test_a_call_that_is_no_builder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    path.write_bytes(zipped(call(name("torch", "zeros"), b"K\5")))
    with pytest.raises(UnsafeFileError, match="torch.zeros"):
        read_zip(path)


def test_the_table_of_an_archive_equals_that_of_zipfile(tmp_path: Path) -> None:
    path = save(state(), tmp_path / "f.pt", "zip")
    with zipfile.ZipFile(path) as archive:
        expected = [(info.filename, info.header_offset, info.file_size) for info in archive.infolist()]
    got = members(path.read_bytes())
    assert [(m.name, m.offset, m.size) for m in got.values()] == expected
    assert all(m.stored for m in got.values())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 1000)
        archive.comment = b"a comment"
    assert not members(out.getvalue())["a"].stored


def test_members_above_4_gb_are_found() -> None:
    """The 64-bit fields, in an archive whose content is left out."""
    entry = b"PK\1\2" + bytes(16) + b"\xff" * 8 + b"\1\0" + b"\x1c\0" + bytes(10) + b"\xff" * 4 + b"a"
    extra = b"\1\0\x18\0" + b"".join(n.to_bytes(8, "little") for n in (5 * 10**9, 5 * 10**9, 7))
    table = entry + extra
    end = b"PK\5\6" + bytes(4) + b"\1\0\1\0" + len(table).to_bytes(4, "little") + bytes(6)
    member = members(table + end)["a"]
    assert (member.size, member.offset, member.stored) == (5 * 10**9, 7, True)


def test_builders_do_not_leave_anything(tmp_path: Path) -> None:
    before = dict(copyreg._extension_registry), set(sys.modules)  # type: ignore[attr-defined]
    path = save(state(), tmp_path / "f.pt", "zip")
    read_zip(path)
    assert (dict(copyreg._extension_registry), set(sys.modules)) == before  # type: ignore[attr-defined]
