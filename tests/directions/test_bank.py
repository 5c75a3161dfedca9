"""Banks of directions: their edits and their files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from explicit import explicit
from hypothesis import given, settings
from hypothesis import strategies as st
from made_directions import SLOTS, D, bank, codes, direction
from places import ROOT
from toy import ToyGenerator

import latentedit as le
import latentedit.directions.bank as module
from latentedit.directions.bank import DirectionBank, parse_layers
from latentedit.directions.edits import Edit
from latentedit.editing.editor import moves_of
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.tensorfile import read_safetensors, write_safetensors


def test_a_bank_is_a_collection() -> None:
    it = bank()
    assert it.tags == ("long_hair", "short_hair", "smile") and len(it) == 3 and "smile" in it and "bald" not in it
    assert [d.tag for d in it] == list(it.tags) and it["smile"] == direction("smile", 2, 0.1)
    with pytest.raises(UnknownNameError, match="did you mean long_hair"):
        it["long_hairs"]
    v = np.stack([d.vector.numpy() for d in it])
    np.testing.assert_allclose(it.cosines().numpy(), v @ v.T, atol=1e-6)
    with pytest.raises(LatentEditError, match="two directions are called long_hair"):
        DirectionBank([direction(), direction(seed=4)])
    with pytest.raises(LatentEditError, match="at least one"):
        DirectionBank([])


def test_edit_adds_s_sigma_v() -> None:
    it, w = bank(), codes()
    a, b = it["long_hair"], it["short_hair"]
    for unit, size_a, size_b in (("sigma", 0.7, 1.3), ("latent", 1.0, 1.0), ("raw", 2.0, 2.0)):
        moved = it.edit(w, explicit({"long_hair": 3.0, "short_hair": -1.0}, unit=unit))
        torch.testing.assert_close(moved, w + 3 * size_a * a.vector - size_b * b.vector, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(it.edit(w, {"smile": 0.0}), w, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(s=st.floats(-20, 20), slots=st.booleans(), layers=st.sampled_from([None, "0", "a,b"]))
def test_edit_and_back_is_the_identity(s: float, slots: bool, layers: str | None) -> None:
    it, w = bank(), codes(slots=slots)
    before = w.clone()
    there = it.edit(w, explicit({"smile": s, "long_hair": -s}, layers=layers))
    back = it.edit(there, explicit({"smile": -s, "long_hair": s}, layers=layers))
    wanted = w if slots or layers is None else w[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(back, wanted, rtol=0, atol=1e-5)
    assert torch.equal(w, before)
    if abs(s) > 1:
        assert not torch.allclose(there, wanted, atol=1e-3)  # the negative control: it did move


def test_edit_of_some_slots_leaves_the_others_alone() -> None:
    it, w = bank(), codes()
    moved = it.edit(w, explicit({"smile": 5.0}, layers="b"))
    assert moved.shape == (5, 2, D)
    assert torch.equal(moved[:, 0], w)
    torch.testing.assert_close(moved[:, 1], it.edit(w, {"smile": 5.0}))
    again = it.edit(codes(slots=True), explicit({"smile": 5.0}, layers=[1]))
    torch.testing.assert_close(again[:, 0], codes(slots=True)[:, 0])
    both = it.edit(w, [Edit("smile", 5, opposite=None, layers="b"), Edit("long_hair", 2, opposite=None, layers="0")])
    torch.testing.assert_close(both[:, 0], it.edit(w, {"long_hair": 2.0}))
    torch.testing.assert_close(both[:, 1], it.edit(w, {"smile": 5.0}))


def test_directions_per_slot() -> None:
    one = direction("hair", shape=(2, D))
    it, w = DirectionBank([one]), codes()
    torch.testing.assert_close(it.edit(w, {"hair": 2.0}), w[:, None] + 2 * 0.7 * one.vector)
    moved = it.edit(codes(slots=True), explicit({"hair": 2.0}, layers=[0]))
    assert torch.equal(moved[:, 1], codes(slots=True)[:, 1])
    with pytest.raises(LatentEditError, match="slots"):
        it.edit(torch.zeros(2, 3, D), {"hair": 1.0})


def test_edit_keeps_dtype() -> None:
    assert bank().edit(codes().double(), {"smile": 1.0}).dtype == torch.float64
    assert bank().edit(codes().half(), explicit({"smile": 1.0}, layers="a")).dtype == torch.float16


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ((torch.zeros(2, 3), {"smile": 1.0}), "shape"),
        ((torch.zeros(D), {"smile": 1.0}), "shape"),
        ((torch.zeros(2, D, dtype=torch.int64), {"smile": 1.0}), "floating-point"),
        ((torch.full((2, D), torch.nan), {"smile": 1.0}), "code 0"),
        ((torch.zeros(2, D), {"smile": float("inf")}), "strength of 'smile'"),
        ((torch.zeros(2, D), {"smile": "much"}), "strength of 'smile'"),
        ((torch.zeros(2, D), {}), "name a tag"),
        ((torch.zeros(2, D), 3), "tag: strength"),
        ((torch.zeros(2, D), {"smiles": 1.0}), "did you mean smile"),
    ],
)
def test_bad_edits_are_refused(arguments: tuple, pattern: str) -> None:
    with pytest.raises(LatentEditError, match=pattern):
        bank().edit(*arguments)


def test_bad_units_and_unknown_slots_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unit"):
        bank().edit(codes(), explicit({"smile": 1.0}, unit="px"))
    nameless = DirectionBank([direction(layers=())])
    with pytest.raises(LatentEditError, match="slots"):
        nameless.edit(codes(), explicit({"long_hair": 1.0}, layers="0"))
    assert nameless.edit(codes(slots=True), explicit({"long_hair": 1.0}, layers="1")).shape == (5, 2, D)


def test_layers_by_index_range_and_name() -> None:
    slots = ["conv0", "conv1", "up-1", "conv3", "conv4", "to_rgb"]
    assert parse_layers("0-3,5", slots) == [0, 1, 2, 3, 5]
    assert parse_layers("to_rgb, up-1 ,0", slots) == [0, 2, 5]
    assert parse_layers([5, "conv1", 1], slots) == [1, 5]
    for bad in ("6", "-1", "3-1", "conv", "0-", "", [6], [-1], [True], ["x"]):
        with pytest.raises(LatentEditError, match="0 conv0, 1 conv1, 2 up-1"):
            parse_layers(bad, slots)
    with pytest.raises(LatentEditError, match="empty"):
        parse_layers([], slots)


# ---- files


def test_save_and_load_to_the_bit(tmp_path: Path) -> None:
    full = direction(
        params={"alpha": 0.1}, tagger_id="t:1", truncation=0.7, score=0.25, support=12, coefficient_norm=0.3
    )
    mixed = direction("a", 3) - direction("b", 4)
    first = DirectionBank([full, replace(mixed, tag="mix")])
    first.save(tmp_path / "x.safetensors")
    back = DirectionBank.load(tmp_path / "x.safetensors")
    for one, two in zip(first, back, strict=True):
        assert one == two
        for name in ("coefficient_norm", "finder", "params", "tagger_id", "truncation", "score", "support"):
            assert getattr(one, name) == getattr(two, name), name
    assert back.layers == SLOTS and back.generator_id == "toy:1"
    per_slot = DirectionBank([direction(shape=(2, D))])
    per_slot.save(tmp_path / "y.safetensors")
    assert list(DirectionBank.load(tmp_path / "y.safetensors")) == list(per_slot)


def test_damaged_foreign_and_newer_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    bank().save(path)
    whole = path.read_bytes()
    names = ("direction", "sigma", "coefficient_norm")
    arrays, metadata = read_safetensors(path, format="latentedit.directions", schema=1, names=names)
    assert arrays["direction"].dtype == np.float32 and arrays["direction"].shape == (3, D)

    def refused(pattern: str) -> None:
        with pytest.raises(DamagedFileError, match=pattern) as caught:
            DirectionBank.load(path)
        assert "\n" not in str(caught.value)

    path.write_bytes(whole[:-100])
    refused("damaged")
    path.write_bytes(b"PK\x03\x04 something else")
    refused("damaged")
    write_safetensors(path, arrays, {})
    refused("not a latentedit.directions file")
    write_safetensors(path, arrays, metadata | {"schema": "9"})
    refused("newer")
    write_safetensors(path, arrays | {"direction": arrays["direction"] * np.nan}, metadata)
    refused("norm")
    write_safetensors(path, arrays | {"sigma": arrays["sigma"] * [1, 0, 1]}, metadata)
    refused("direction 'short_hair': sigma is 0.0; codes do not vary along it")
    write_safetensors(path, arrays, metadata | {"directions": json.dumps([])})
    refused("damaged")
    write_safetensors(path, {"direction": arrays["direction"]}, metadata)
    refused("damaged")
    path.unlink()
    refused("no such file")


def test_the_shipped_directions_are_found_by_generator_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = ToyGenerator()
    monkeypatch.setattr(module, "shipped", lambda relative: tmp_path)
    with pytest.raises(LatentEditError, match="latentedit fit-directions"):
        DirectionBank.load_default(g)
    bank().save(tmp_path / "avatar.safetensors")
    with pytest.raises(LatentEditError, match=g.id):
        DirectionBank.load_default(g)
    DirectionBank([direction(generator_id=g.id)]).save(tmp_path / "other.safetensors")
    found = DirectionBank.load_default(g)
    assert found.tags == ("long_hair",)
    found.check_generator(g)
    with pytest.raises(MismatchError, match=g.id):
        bank().check_generator(g)


def test_importing_directions_does_not_import_scikit_learn() -> None:
    code = "import sys, latentedit.directions.direction, latentedit.directions; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---- looks


def test_a_look_is_used_as_it_was_built(tmp_path: Path) -> None:
    it, w = bank(), codes()
    look = (2 * it["smile"] - 1 * it["long_hair"]).named("happy")
    it.generator_name = "avatar"
    it.added(look, -it["smile"]).save(tmp_path / "looks.safetensors")
    back = DirectionBank.load(tmp_path / "looks.safetensors")
    assert back.generator_name == "avatar"  # what is known of the generator stays
    with pytest.raises(LatentEditError, match="two directions are called smile"):
        it.added(it["smile"])
    built = w + (2 * it["smile"].step - it["long_hair"].step).float()
    torch.testing.assert_close(le.edit(w, back, "happy"), built, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(le.edit(w, back, Edit("happy", 2)), 2 * built - w, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(le.edit(w, back, "- smile"), w - it["smile"].step.float(), rtol=1e-5, atol=1e-6)
    usual = w + 3 * it["smile"].step.float()  # what was found goes the usual way
    torch.testing.assert_close(le.edit(w, back, le.Edit("smile", opposite=None)), usual, rtol=1e-5, atol=1e-6)
    assert back.usual_strengths == {"happy": 1.0, "- smile": 1.0} and back["smile"].strength is None
    assert moves_of(back, ["happy", Edit("smile", opposite=None)]) == {("happy", "σ"): 1.0, ("smile", "σ"): 3.0}


def test_a_named_look_is_a_value_like_others() -> None:
    it = bank()
    look = (2 * it["smile"] - it["long_hair"]).named("happy")
    assert look.params["made_of"] == {"smile": 2.0, "long_hair": -1.0} and look.strength == 1
    assert (look + it["short_hair"]).tag == "happy + short_hair" and (2 * look).tag == "2*happy"
    assert (-look).strength == (2 * look).strength == 1 and look != -look
    assert it["smile"].named("grin").strength is None  # found, not built
