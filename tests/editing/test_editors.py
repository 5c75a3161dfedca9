"""Editors in files: which kind a file holds, and which of several files is meant."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import ToyGenerator
from toy_prior import generator, prior, saved

import latentedit as le
from latentedit.editing import editors as module
from latentedit.editing.editor import moves_of
from latentedit.editing.editors import (
    editor_format,
    kind_of,
    load_default,
    newest_editor,
    open_both,
    open_editor,
    taggers_of,
)
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.tensorfile import write_safetensors


def directions(path: Path, generator_id: str = generator.id) -> Path:
    v = torch.randn(16, generator=torch.Generator().manual_seed(0))
    one = le.Direction("smile", v / v.norm(), 1.0, generator_id, layers=("a", "b"), tagger_id="toytags:1")
    le.DirectionBank([one]).save(path)
    return path


def a_prior(path: Path) -> Path:
    shutil.copy(saved(), path)
    return path


def aged(path: Path, seconds: int) -> Path:
    os.utime(path, (1_700_000_000 - seconds,) * 2)
    return path


def test_what_is_in_a_file_decides(tmp_path: Path) -> None:
    lines, flow = directions(tmp_path / "prior.safetensors"), a_prior(tmp_path / "lasso.safetensors")
    assert isinstance(open_editor(lines), le.DirectionBank) and isinstance(open_editor(flow), le.Prior)
    assert [editor_format(path) for path in (lines, flow)] == ["latentedit.directions", "latentedit.prior"]
    write_safetensors(tmp_path / "x.safetensors", {"a": np.zeros(3)}, {"format": "another"})
    assert editor_format(tmp_path / "x.safetensors") is None and editor_format(tmp_path) is None
    for wrong in ("x.safetensors", "nothing.safetensors"):
        with pytest.raises(DamagedFileError, match=wrong):
            open_editor(tmp_path / wrong)


def test_two_files_are_settled_whichever_is_which(tmp_path: Path) -> None:
    lines, flow = directions(tmp_path / "a.safetensors"), a_prior(tmp_path / "b.safetensors")
    for pair in ((lines, flow), (flow, lines)):
        settled = open_both(*pair)
        assert isinstance(settled, le.Settled) and settled.tags == ("smile",)
    for path, kind in ((lines, "directions"), (flow, "priors")):
        with pytest.raises(LatentEditError, match=f"both hold {kind}"):
            open_both(path, path)
    with pytest.raises(MismatchError, match="do not belong together"):
        open_both(directions(tmp_path / "c.safetensors", "another"), flow)


def test_the_newest_file_is_meant(tmp_path: Path) -> None:
    assert newest_editor(tmp_path / "nowhere") is None and newest_editor(tmp_path) is None
    old = aged(directions(tmp_path / "a.safetensors"), 50)
    aged(directions(tmp_path / ".hidden.safetensors"), 0)
    aged(directions(tmp_path / "z.txt"), 0)
    assert newest_editor(tmp_path)[1] == old  # type: ignore[index]
    new = aged(a_prior(tmp_path / "b.safetensors"), 10)
    found = newest_editor(tmp_path)
    assert found is not None and isinstance(found[0], le.Prior) and found[1] == new
    other = aged(directions(tmp_path / "c.safetensors", "another"), 5)
    assert newest_editor(tmp_path)[1] == other  # type: ignore[index]
    assert newest_editor(tmp_path, generator)[1] == new  # type: ignore[index,arg-type]
    assert newest_editor(tmp_path, ToyGenerator(seed=9)) is None  # type: ignore[arg-type]
    aged(old, 10)
    assert newest_editor(tmp_path, generator)[1] == old  # type: ignore[index,arg-type]  # of one date: by name


def test_damaged_files_are_passed_over_aloud(tmp_path: Path) -> None:
    good = aged(directions(tmp_path / "good.safetensors"), 20)
    for name, seconds in (("newer", 10), ("older", 30)):
        (tmp_path / f"{name}.safetensors").write_bytes(saved().read_bytes()[:500])
        aged(tmp_path / f"{name}.safetensors", seconds)
    said: list[str] = []
    assert newest_editor(tmp_path, say=said.append)[1] == good  # type: ignore[index]
    assert len(said) == 1 and "newer.safetensors" in said[0] and "passed over" in said[0] and "\n" not in said[0]


def test_what_ships_is_not_ones_own_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped", lambda relative: tmp_path)
    directions(tmp_path / "avatar.safetensors")
    a_prior(tmp_path / "avatar.prior.safetensors")
    assert newest_editor(tmp_path) is None
    own = directions(tmp_path / "lasso.safetensors")
    assert newest_editor(tmp_path)[1] == own  # type: ignore[index]


def test_the_best_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in ("latentedit.prior.prior", "latentedit.directions.bank"):
        monkeypatch.setattr(f"{one}.shipped", lambda relative: tmp_path)
    with pytest.raises(LatentEditError, match="come with latentedit"):
        load_default(generator)  # type: ignore[arg-type]
    directions(tmp_path / "toy.safetensors")
    assert isinstance(load_default(generator), le.DirectionBank)  # type: ignore[arg-type]
    a_prior(tmp_path / "toy.prior.safetensors")
    assert isinstance(load_default(generator), le.Prior)  # type: ignore[arg-type]
    assert isinstance(le.DirectionBank.load_default(generator), le.DirectionBank)  # type: ignore[arg-type]
    (tmp_path / "toy.prior.safetensors").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="toy.prior.safetensors"):
        load_default(generator)  # type: ignore[arg-type]


def test_editors_in_words(tmp_path: Path) -> None:
    bank = le.DirectionBank.load(directions(tmp_path / "a.safetensors"))
    settled = le.Settled(bank, prior())
    assert [kind_of(one) for one in (bank, prior(), settled)] == ["lines", "flow", "settled lines"]
    assert taggers_of(bank) == taggers_of(settled) == {"toytags:1"} and taggers_of(prior()) == {prior().tagger_id}
    assert taggers_of(replace(prior(), tagger_id=None)) == frozenset()

    class Nudge:
        tags = ("smile",)

        def edit(self, codes: torch.Tensor, edits: object) -> torch.Tensor:
            return codes

    assert kind_of(Nudge()) == "Nudge" and taggers_of(Nudge()) == frozenset()  # type: ignore[arg-type]


def test_what_moves(tmp_path: Path) -> None:
    bank = le.DirectionBank.load(directions(tmp_path / "a.safetensors"))
    edits = [le.Edit("smile"), le.Edit("smile", 2, unit="latent"), le.Edit("smile", 2, unit="raw")]
    expected = {("smile", "σ"): 3.0, ("smile", "long"): 2.0, ("smile", ""): 2.0}
    assert moves_of(bank, edits) == moves_of(le.Settled(bank, prior()), edits) == expected
    both = [le.Edit("long_hair"), le.Edit("smile", goal=0.3)]
    assert moves_of(prior(), both) == {("long_hair", ""): 3.0, ("short_hair", ""): -3.0}
