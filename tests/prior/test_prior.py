"""Editing by a prior, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import TAGS, ToyGenerator, ToyTagger
from toy_prior import TINY, Thin, codes, generator, prior, samples, saved, scores, tagger

import latentedit as le
from latentedit import Edit
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.generators.probe import look_at
from latentedit.prior import prior as module
from latentedit.prior.flow import WayBack, carry, guided
from latentedit.prior.prior_file import FORMAT, SCHEMA
from latentedit.tensorfile import read_safetensors, write_safetensors


def test_an_edit_moves_its_tag_both_ways_and_further_with_strength() -> None:
    x, p = codes(), prior()
    for tag in ("long_hair", "open_mouth", "smile"):
        before = scores(x, tag).mean()
        rises = [float(scores(p.edit(x, Edit(tag, s)), tag).mean() - before) for s in (-3, -1, 1, 3)]
        assert rises == sorted(rises) and rises[0] < -0.15 and rises[-1] > 0.4, (tag, rises)
    opposed = p.edit(x, "long_hair")
    assert scores(opposed, "short_hair").mean() < scores(x, "short_hair").mean() - 0.2


def test_no_strength_is_the_code_bit_for_bit_and_the_input_is_left_alone() -> None:
    x, p = codes(), prior()
    before = x.clone()
    for nothing in (Edit("smile", 0), {"smile": 0.0}, [Edit("smile", 0), Edit("long_hair", -0.0)]):
        same = p.edit(x, nothing)
        assert torch.equal(same, x) and same.data_ptr() != x.data_ptr()
    p.edit(x, "smile")
    assert torch.equal(x, before)
    a_little = p.edit(x, Edit("smile", 0.001))
    assert 0 < (a_little - x).abs().max() < 0.02


def test_a_code_is_edited_alike_alone_and_among_others_and_in_its_own_type() -> None:
    x, p = codes(), prior()
    whole, alone = p.edit(x, "smile"), torch.cat([p.edit(one[None], "smile") for one in x])
    assert torch.allclose(whole, alone, atol=1e-4)
    assert p.edit(x.double(), "smile").dtype == torch.float64 and p.edit(x.half(), "smile").dtype == torch.float16


def test_slots() -> None:
    x, p = codes(6), prior()
    step = p.edit(x, "smile") - x
    one = p.edit(x, Edit("smile", layers="b"))
    assert one.shape == (6, 2, 16) and torch.equal(one[:, 0], x)
    assert torch.allclose(one[:, 1] - x, step, atol=1e-5)
    slots = torch.stack([x, x], 1)
    assert torch.allclose(p.edit(slots, "smile"), slots + step[:, None], atol=1e-5)
    apart = torch.stack([x, x.flip(0)], 1)  # slots of two codes are read by their mean
    moved = p.edit(apart, Edit("smile", layers="1")) - apart
    assert torch.equal(moved[:, 0], torch.zeros(6, 16))
    assert torch.allclose(moved[:, 1], p.edit(apart.mean(1), "smile") - apart.mean(1), atol=1e-5)


@pytest.mark.parametrize("order", [1, -1])
def test_edits_of_chosen_slots_and_of_all_go_together(order: int) -> None:
    x, p = codes(6), prior()
    both = p.edit(x, [Edit("smile", layers="0"), Edit("long_hair")][::order])
    assert both.shape == (6, 2, 16)
    long, smile = (p.edit(x, tag) - x for tag in ("long_hair", "smile"))
    assert torch.allclose(both, torch.stack([x + smile + long, x + long], 1), atol=1e-4)


def test_several_edits_are_asked_for_together_in_any_order() -> None:
    x, p = codes(), prior()
    both = p.edit(x, ["long_hair", "open_mouth"])
    assert torch.allclose(both, p.edit(x, ["open_mouth", "long_hair"]), atol=1e-4)
    for tag in ("long_hair", "open_mouth"):
        assert scores(both, tag).mean() > scores(x, tag).mean() + 0.3
    uneven = p.edit(x, [Edit("long_hair", 3), Edit("smile", 1)])
    assert torch.allclose(uneven, p.edit(x, [Edit("smile", 1), Edit("long_hair", 3)]), atol=1e-4)
    assert 0.02 < scores(uneven, "smile").mean() - scores(x, "smile").mean()


def test_goals_and_percentiles_are_what_is_asked_for() -> None:
    x, p = codes(), prior()
    low, middle, high = (scores(p.edit(x, Edit("smile", goal=g)), "smile").mean() for g in (0.05, 0.5, 0.95))
    assert low + 0.1 < middle < high - 0.1
    rare, common = (scores(p.edit(x, Edit("smile", goal=g)), "smile").mean() for g in ("p10", "p90"))
    assert rare < common - 0.2
    column = samples_of("smile")
    assert p.edit(x, Edit("smile", goal="p90")).allclose(
        p.edit(x, Edit("smile", goal=float(np.quantile(column, 0.9)))), atol=1e-3
    )


def samples_of(tag: str) -> np.ndarray:
    rows = [batch.scores for batch in samples().iter_batches(None, scores=True)]
    return np.concatenate([one for one in rows if one is not None])[:, TAGS.index(tag)]


def test_what_is_kept_is_named_and_what_may_change_is_not() -> None:
    x, p, said, calls = codes(), prior(), [], []
    handle = p.velocity.condition.register_forward_pre_hook(lambda module, given: calls.append(given[0]))
    for keep in ((), "smile"):
        calls.clear()
        p.edit(x, Edit("open_mouth", keep=keep))
        said += calls[1:3]  # after the way back, of the first way forth that is tried
    handle.remove()
    named = [one[:, 6:12].bool() for one in said]  # own and new condition, without and with something to keep
    assert named[0].all() and named[2].all()
    open_mouth, closed_mouth, smile = (TAGS.index(tag) for tag in ("open_mouth", "closed_mouth", "smile"))
    assert not named[1][:, smile].any() and named[3].all()  # a smile may come with an open mouth, unless it must not
    assert (named[1].sum(1) == 5).all()
    assert torch.equal(said[3][:, smile], said[2][:, smile])
    assert (said[3][:, open_mouth] > 0.95).all() and (said[3][:, closed_mouth] < -0.95).all()


def test_what_it_says_that_it_moves() -> None:
    p = prior()
    assert p.moves("long_hair") == {"long_hair": 3.0, "short_hair": -3.0}
    assert p.moves([Edit("long_hair", -2, opposite="smile", ratio=-0.1), "smile"]) == {"long_hair": -2.0, "smile": 5.0}
    assert p.moves(Edit("long_hair", goal=0.7)) == {}


def test_bad_edits_are_told_in_a_line() -> None:
    x, p = codes(2), prior()
    with pytest.raises(UnknownNameError, match="did you mean smile"):
        p.edit(x, "smlie")
    with pytest.raises(LatentEditError, match="no coefficients"):
        p.edit(x, Edit("smile", 2, unit="raw"))
    with pytest.raises(LatentEditError, match="no coefficients and no lengths"):
        p.edit(x, Edit("smile", 2, unit="latent"))
    with pytest.raises(LatentEditError, match="cannot keep 'wings'"):
        p.edit(x, Edit("smile", keep="wings"))
    for keep in ("smile", "long_hair"):
        with pytest.raises(LatentEditError, match="cannot be kept"):
            Edit("smile", opposite="long_hair", keep=keep)
    for wrong, words in (
        (x[:, :5], "shape"),
        (x.int(), "floating"),
        (x * torch.nan, "NaN"),
        (x[:, None, None], "shape"),
    ):
        with pytest.raises(LatentEditError, match=words):
            p.edit(wrong, "smile")
    with pytest.raises(LatentEditError, match="3 slots"):
        p.edit(x[:, None].expand(-1, 3, -1), "smile")
    with pytest.raises(LatentEditError, match="no layers"):
        p.edit(x, Edit("smile", layers="7"))
    with pytest.raises(MismatchError, match=p.generator_id):
        p.check_generator(ToyGenerator(seed=50))


# ---- files


def test_a_file_holds_the_same_editor_to_half_precision(tmp_path: Path) -> None:
    x, p = codes(), prior()
    again = le.Prior.load(saved())
    facts = ("tags", "generator_id", "generator_name", "tagger_id", "dim", "layers")
    assert [getattr(again, f) for f in facts] == [getattr(p, f) for f in facts]
    assert json.dumps(dict(again.about)) == json.dumps(dict(p.about))
    for edit in ("smile", Edit("long_hair", -2), Edit("smile", goal="p80")):
        a, b = p.edit(x, edit), again.edit(x, edit)
        assert (a - b).norm() < 0.02 * (a - x).norm()
    again.save(tmp_path / "b.safetensors")
    assert torch.equal(le.Prior.load(tmp_path / "b.safetensors").edit(x, "smile"), again.edit(x, "smile"))


def test_damaged_files_are_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = saved().read_bytes()
    _, metadata = read_safetensors(saved(), format=FORMAT, schema=SCHEMA, names=())
    arrays, _ = read_safetensors(saved(), format=FORMAT, schema=SCHEMA, names=json.loads(metadata["names"]))

    def refused(words: str) -> None:
        with pytest.raises(DamagedFileError, match=words) as caught:
            le.Prior.load(path)
        assert "x.safetensors" in str(caught.value) and "\n" not in str(caught.value)

    for share in (0, 0.01, 0.5, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        refused("damaged")
    for name in ("velocity.leave.weight", "mean", "percentiles"):
        write_safetensors(path, arrays | {name: arrays[name] * np.float16(np.nan)}, metadata)
        refused("not finite")
    for name in ("velocity.leave.weight", "axes", "regions", "known", "reader.tags.bias", "percentiles"):
        write_safetensors(path, arrays | {name: arrays[name][:-1]}, metadata)
        refused("damaged")
        write_safetensors(path, {k: v for k, v in arrays.items() if k != name}, metadata)
        refused("damaged")
    for change in ({"tags": "["}, {"tags": '["a"]'}, {"about": "no"}, {"names": "{"}, {"layers": "3"}):
        write_safetensors(path, arrays, metadata | change)
        refused("damaged")
    write_safetensors(path, arrays, metadata | {"schema": "99"})
    refused("newer")
    write_safetensors(path, arrays, metadata | {"format": "another"})
    refused("not a latentedit.prior file")
    path.unlink()
    refused("no such file")


def test_the_shipped_prior_is_found_by_generator_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped", lambda relative: tmp_path)
    with pytest.raises(LatentEditError, match="fit-prior"):
        le.Prior.load_default(generator)
    replace(prior(), generator_id="another").save(tmp_path / "a.prior.safetensors")
    with pytest.raises(LatentEditError, match="fit-prior"):
        le.Prior.load_default(generator)
    prior().save(tmp_path / "b.prior.safetensors")
    assert le.Prior.load_default(generator).tags == TAGS


# ---- what it is fitted to


def test_codes_on_a_thin_surface_stay_on_it(tmp_path: Path) -> None:
    thin = Thin()
    run = le.sample(thin, tmp_path / "thin", tagger=tagger, n=300, seed=0)  # type: ignore[arg-type]
    p = le.Prior.fit(run, generator=thin, recipe=replace(TINY, steps=120, learning_rate=5e-3))  # type: ignore[arg-type]
    assert p.space.width == 8 and p.dim == 64
    x = thin.sample_codes(range(400, 420))
    moved = p.edit(x, "long_hair")
    assert (moved - x).abs().max() > 0.05 and thin.off(moved) < 1e-4
    off = x + torch.randn(64, generator=torch.Generator().manual_seed(1))  # what lies off it stays as far off
    step = p.edit(off, "long_hair") - off
    assert thin.off(thin.mean + step) < 1e-4
    random = torch.randn(64, generator=torch.Generator().manual_seed(2))
    line = le.Direction("wings", random / random.norm(), 3.0, thin.id, layers=("w",))
    bank = le.DirectionBank([line])
    assert thin.off(bank.edit(x, "wings")) > 0.5 > 1e-4 > thin.off(le.Settled(bank, p).edit(x, "wings"))


def test_what_cannot_be_fitted_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean smile"):
        le.Prior.fit(samples(), recipe=TINY, tags=["smlie"])
    with pytest.raises(LatentEditError, match="another"):
        le.Prior.fit(samples(), recipe=TINY, tagger="another")
    with pytest.raises(MismatchError, match="load the generator"):
        le.Prior.fit(samples(), generator=ToyGenerator(seed=50), recipe=TINY)
    with pytest.raises(LatentEditError, match="a generator alone has no tags"):
        le.Prior.fit(generator, tags=["smile"], recipe=TINY)
    few = le.sample(generator, tmp_path / "few", tagger=tagger, n=40, seed=0)
    with pytest.raises(LatentEditError, match="a prior needs 100 or more"):
        le.Prior.fit(few, recipe=TINY)
    bare = le.sample(generator, tmp_path / "bare", tagger=None, n=120, seed=0)
    with pytest.raises(LatentEditError, match="latentedit tag"):
        le.Prior.fit(bare, recipe=TINY, tags=["smile"])
    never = le.sample(generator, tmp_path / "never", tagger=ToyTagger(threshold=0.9999), n=120, seed=0)
    with pytest.raises(LatentEditError, match="no sample of .* has red_hair"):
        le.Prior.fit(never, recipe=TINY, tags=["red_hair"])


def test_without_tags_it_edits_nothing_and_settles_what_others_moved(tmp_path: Path) -> None:
    p = le.Prior.fit(generator, recipe=TINY)
    assert p.tags == () and p.tagger_id is None and p.generator_id == generator.id
    p.save(tmp_path / "p.safetensors")
    again = le.Prior.load(tmp_path / "p.safetensors")
    with pytest.raises(UnknownNameError):
        again.edit(codes(2), "smile")
    with pytest.raises(LatentEditError, match="no tags"):
        again.directions(codes(2))
    x = codes(4)
    assert torch.isfinite(again.settle(x, x + 1, time=0.5)).all()


def test_its_mean_steps_as_lines() -> None:
    x, p = codes(), prior()
    bank = p.directions(x)
    assert bank.tags == p.tags and bank.generator_id == p.generator_id
    assert torch.allclose(bank.edit(x, {"smile": 3.0}).mean(0), p.edit(x, {"smile": 3.0}).mean(0), atol=1e-4)
    assert scores(bank.edit(x, {"smile": 3.0}), "smile").mean() > scores(x, "smile").mean() + 0.2


def test_strengths_of_one_tag_and_of_a_tag_and_its_opposite_are_added_up() -> None:
    x, p = codes(4), prior()
    once = p.edit(x, Edit("smile", 2))
    assert torch.allclose(p.edit(x, [Edit("smile", 3), Edit("smile", -1)]), once, atol=1e-5)
    assert torch.equal(p.edit(x, [Edit("smile", 3), Edit("smile", -3)]), x)
    assert torch.equal(p.edit(x, ["long_hair", "short_hair"]), x)
    assert p.moves(["long_hair", "short_hair"]) == {"long_hair": 0.0, "short_hair": 0.0}
    less = p.edit(x, [Edit("long_hair", 3), Edit("short_hair", 1)])
    assert torch.allclose(less, p.edit(x, Edit("long_hair", 2)), atol=1e-5)


def test_a_fit_without_the_generator_knows_its_slots_from_the_samples() -> None:
    found = le.Prior.fit(samples(), recipe=TINY)
    assert found.layers == generator.layers and found.about["pictures"] == 0


def test_a_face_that_has_what_is_asked_for_stays_and_others_go_the_least_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACHED", 0.8)  # the toy's scores hardly go further
    x, p = codes(64), prior()
    own = p.reader(p.space.enter(x)).scores[:, p.tags.index("smile")]
    edited = p.edit(x, "smile")
    stays = (edited == x).all(1)
    assert torch.equal(stays, own >= module.REACHED) and 0 < stays.sum() < 64
    asked = [Edit("smile").paired(p.tags).parts[0]]
    at = p.space.enter(x)
    said = p.reader(at)
    back = WayBack.of(at, guided(p.velocity, [p.velocity.condition(said.vector())], ()))
    ways, apart = p._least(back, said, asked)
    reached = p._missing(at + apart, asked) == 0
    assert torch.equal(ways < 0, stays) and reached[ways < 0].all() and reached[~stays].any()
    for number in range(len(module.LADDER)):
        rows = (ways > number).nonzero().flatten()  # each of these did not reach it by a lesser way
        if len(rows):
            lesser = p._apart(back[rows], said[rows], [(1.0, asked[0])], torch.full_like(rows, number))
            assert not (p._missing(at[rows] + lesser, asked) == 0)[reached[rows]].any()


def test_the_way_beside_is_there_and_back_and_forth() -> None:
    p, x = prior(), prior().space.enter(codes(8))
    said = p.reader(x)
    own, new = said, replace(said, scores=1 - said.scores)
    fields = [guided(p.velocity, [p.velocity.condition(c.vector())], ()) for c in (own, new)]
    noise = carry(x, 1.0, 0.0, fields[0], steps=64)
    exact = carry(noise, 0.0, 1.0, fields[1], steps=64) - carry(noise, 0.0, 1.0, fields[0], steps=64)
    beside = WayBack.of(x, fields[0], steps=64).difference(fields[1])
    assert torch.allclose(beside, exact, atol=2e-3 * float(exact.abs().max())) and exact.norm(dim=1).min() > 0.1
    assert WayBack.of(x, fields[0]).difference(fields[0]).abs().max() < 1e-5


class Probed(ToyGenerator):
    """The toy generator as one whose code may change while its tensors stay."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.probe = look_at(self).probe

    def decode(self, codes, *, content=None, noise="stored"):  # type: ignore[no-untyped-def]
        return self.gain * super().decode(codes, content=content, noise=noise)


def test_it_knows_the_generator_s_code_from_samples_and_from_a_generator(tmp_path: Path) -> None:
    own, mended = Probed(), Probed(gain=0.9)
    stored = le.sample(own, tmp_path / "samples", tagger=tagger, n=200)
    for i, fitted in enumerate((le.Prior.fit(own, recipe=TINY), le.Prior.fit(stored, recipe=TINY))):
        fitted.save(tmp_path / f"{i}.safetensors")
        loaded = le.Prior.load(tmp_path / f"{i}.safetensors")
        loaded.check_generator(own)
        with pytest.raises(MismatchError, match="than this prior came from: its code has changed.*fit it again"):
            loaded.check_generator(mended)
        if loaded.tags:
            lines = le.Settled(loaded.directions(own.sample_codes(range(8))), loaded)
            lines.check_generator(own)
            with pytest.raises(MismatchError, match="its code has changed"):
                lines.check_generator(mended)
    with pytest.raises(MismatchError, match="sample into another folder"):
        le.Prior.fit(stored, generator=mended, recipe=TINY)
    with pytest.warns(UserWarning, match="no probe of toy:.* is kept with this prior"):
        replace(prior(), generator_probe=None).check_generator(own)
