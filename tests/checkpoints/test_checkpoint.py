"""Containers told apart by content, and tensors under the names that a state dict would give them."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import conformance
import pytest
import torch
from assembler import call, name, pickled, text
from safetensors.torch import save_file
from torch import Tensor, nn

from latentedit.checkpoints.builders import Call
from latentedit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from latentedit.checkpoints.trees import module_fields
from latentedit.checkpoints.unpickling import Inert
from latentedit.errors import DamagedFileError, UnsafeFileError
from latentedit.generators.base import weights_id

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


def write(path: Path, container: str, tensors: dict[str, Tensor]) -> Path:
    if container == "safetensors":
        save_file(tensors, path)
    elif container == "pickle":
        path.write_bytes(pickle.dumps({key: value.numpy() for key, value in tensors.items()}))
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=container == "torch zip")
    return path


@pytest.mark.parametrize("container", ["safetensors", "torch zip", "torch legacy", "pickle"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "pkl", ""])
def test_the_container_is_told_by_content_and_not_by_name(container: str, suffix: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write(tmp_path / f"f.{suffix}", container, WEIGHTS))
    assert checkpoint.container == container
    assert tuple(checkpoint.tree) == tuple(WEIGHTS)
    got = checkpoint.state()
    assert all(torch.equal(got[key], WEIGHTS[key]) for key in WEIGHTS)
    assert weights_id("x", got) == weights_id("x", WEIGHTS)


def test_the_id_sees_another_weight() -> None:
    assert weights_id("x", {**WEIGHTS, "b": torch.zeros(4)}) != weights_id("x", WEIGHTS)


def test_safetensors_whose_header_starts_like_a_pickle(tmp_path: Path) -> None:
    """Headers are padded to eight bytes, so that their length is often 0x80 and more."""
    found = False
    for length in range(200):
        path = tmp_path / f"{length}.safetensors"
        save_file({"a" * (length + 1): torch.ones(1)}, path, {"format": "pt"})
        found |= path.read_bytes()[:1] == b"\x80"
        assert read_checkpoint(path).container == "safetensors"
    assert found


def test_metadata(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "f.safetensors", {"kind": "x"})
    assert read_checkpoint(tmp_path / "f.safetensors").metadata == {"kind": "x"}


def test_state_takes_the_first_key_there_is(tmp_path: Path) -> None:
    tree = {"g": {"w": torch.zeros(1)}, "g_ema": {"w": torch.ones(1)}, "step": 3}
    torch.save(tree, tmp_path / "f.pt")
    checkpoint = read_checkpoint(tmp_path / "f.pt")
    assert checkpoint.state("generator_smooth", "g_ema", "g")["w"] == 1
    assert checkpoint.state("g", "g_ema")["w"] == 0
    assert checkpoint.state("other") == {}
    assert set(checkpoint.state()) == {"g.w", "g_ema.w"}


def test_names_of_lists_numbers_and_objects(tmp_path: Path) -> None:
    tree = {"a": [torch.ones(1), {3: torch.ones(1)}], "b": (torch.ones(1),), "none": None, "text": "x"}
    torch.save(tree, tmp_path / "f.pt")
    assert list(read_checkpoint(tmp_path / "f.pt").state()) == ["a.0", "a.1.3", "b.0"]
    inert = Inert("some.Class")
    inert.state, inert.entries = {"x": torch.ones(1)}, {"y": torch.ones(1)}
    assert set(Checkpoint(Path("f"), "pickle", inert).state()) == {"x", "y"}
    inert.state = {"_parameters": {"w": torch.ones(1), "none": None}, "_buffers": {}, "training": torch.ones(1)}
    assert set(Checkpoint(Path("f"), "pickle", {"net": inert}).state()) == {"net.w"}


def test_pickles_of_nvidia_have_the_names_and_values_of_their_state_dict() -> None:
    for fixture in ("stylegan2_ada_pkl", "stylegan3_pkl"):
        checkpoint = read_checkpoint(conformance.FIXTURES / fixture / "network.nosrc.pkl")
        got = checkpoint.state("G_ema")
        expected = {entry["name"]: tuple(entry["shape"]) for entry in conformance.manifest(fixture)["tensors"]}
        assert {key: tuple(value.shape) for key, value in got.items()} == expected
        assert isinstance(checkpoint.tree["G_ema"], Call)
        fields = module_fields(checkpoint.tree["G_ema"])
        assert fields is not None
        assert "_init_kwargs" in fields


def test_a_call_or_object_of_another_kind_is_no_module() -> None:
    things: list[Any] = [Call("x", ()), Call("x", (1,)), Call("x", ({"state": 1},)), Inert("x"), {}, None]
    for thing in things:
        assert module_fields(thing) is None


def endless() -> dict[str, Any]:
    itself: list[Any] = [torch.ones(1)]
    itself.append(itself)
    shared: Any = [torch.ones(1)]
    for _ in range(60):
        shared = [shared, shared]
    deep: Any = [torch.ones(1)]
    for _ in range(1000):
        deep = [deep]
    module = Inert("net")
    module.state = {"_parameters": {}, "_modules": {"again": module}}
    names: Any = {}
    for _ in range(100):
        names = {"n" * 100_000: names}
    return {"itself": itself, "shared": shared, "deep": deep, "module": module, "names": names}


@pytest.mark.parametrize("kind", list(endless()))
def test_trees_without_end_are_refused(kind: str) -> None:
    with pytest.raises(UnsafeFileError, match="^f.pkl: refused: .*over and over") as caught:
        Checkpoint(Path("f.pkl"), "pickle", endless()[kind]).state()
    assert "\n" not in str(caught.value)


def test_large_trees_that_are_honest_are_read() -> None:
    tree = {"losses": [0.5] * 1_000_000, "w": {str(i): torch.ones(1) for i in range(20_000)}}
    assert len(Checkpoint(Path("f.pkl"), "pickle", tree).state()) == 20_000


def test_errors_name_the_file_and_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    path.write_bytes(pickled(call(name("os", "system"), text("true"))))
    with pytest.raises(UnsafeFileError, match=f"^{path}: refused: it asks for os.system"):
        read_checkpoint(path)
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(DamagedFileError, match=f"^{path}: its pickle is truncated") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DamagedFileError, match="no such file"):
        read_checkpoint(tmp_path / "other.pt")


def test_bytes_that_are_nothing_are_refused(tmp_path: Path) -> None:
    for start in (b"\xee", b"\0", b"\x10"):
        path = tmp_path / "f.pt"
        path.write_bytes(start + bytes(range(1, 256)) * 20)
        with pytest.raises(DamagedFileError, match="safetensors"):
            read_checkpoint(path)


def test_a_safetensors_file_of_many_tensors(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.full((1,), float(i)) for i in range(3000)}
    save_file(tensors, tmp_path / "f.safetensors")
    got = read_checkpoint(tmp_path / "f.safetensors").state()
    assert [int(got[f"layer.{i}"]) for i in (0, 1500, 2999)] == [0, 1500, 2999]
    header = int.from_bytes((tmp_path / "f.safetensors").read_bytes()[:8], "little")
    assert json.loads((tmp_path / "f.safetensors").read_bytes()[8 : 8 + header])


def test_parameters_need_no_gradient(tmp_path: Path) -> None:
    torch.save({"w": nn.Parameter(torch.ones(2))}, tmp_path / "f.pt")
    assert not read_checkpoint(tmp_path / "f.pt").state()["w"].requires_grad


def test_attributes_that_could_not_be_printed_are_refused(tmp_path: Path) -> None:
    """Tensors are found without a look at them, yet whoever names a setting in a message prints it."""
    shared: Any = [1]
    for _ in range(60):
        shared = [shared, {"a": shared}]
    for tree in ({"g": {"w": 1}, "setting": shared}, argparse.Namespace(a=[argparse.Namespace(setting=shared)])):
        (tmp_path / "f.pkl").write_bytes(pickle.dumps(tree))
        with pytest.raises(UnsafeFileError, match="over and over"):
            read_checkpoint(tmp_path / "f.pkl")


def test_parts_that_are_shared_a_little_are_read(tmp_path: Path) -> None:
    shared = list(range(1000))
    itself = argparse.Namespace(parts=[shared] * 500)
    itself.parent = itself
    (tmp_path / "f.pkl").write_bytes(pickle.dumps({"a": [shared, shared], "b": itself}))
    assert read_checkpoint(tmp_path / "f.pkl").tree["a"][1][999] == 999
