"""A stopped fit goes on; what was asked for decides what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_prior import TINY, codes, generator, samples

import latentedit as le
from latentedit.errors import LatentEditError, MismatchError
from latentedit.prior import fitting
from latentedit.prior.conditions import Condition, regions_of
from latentedit.prior.fitting import PriorRecipe
from latentedit.prior.networks import Velocity
from latentedit.prior.plan import plan_of
from latentedit.prior.space import CodeSpace
from latentedit.prior.start import Start


def stopping(stage: str, at: int, seen: list[str]) -> Callable[[str, int, int], None]:
    """A progress that is interrupted there."""

    def progress(what: str, done: int, total: int) -> None:
        seen.append(what)
        if (what, done) == (stage, at):
            raise KeyboardInterrupt

    return progress


def fit(state: Path | None, *, recipe: PriorRecipe = TINY, stage: str = "", at: int = 0) -> tuple[le.Prior, list[str]]:
    seen: list[str] = []
    found = le.Prior.fit(samples(), generator=generator, recipe=recipe, state=state, progress=stopping(stage, at, seen))
    return found, seen


@pytest.fixture(scope="module", autouse=True)
def one_type() -> Iterator[None]:
    """Which type is the faster one is tried, and may come out another way in the next fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "faster_type", lambda device: None)
        yield


@pytest.fixture(scope="module")
def unbroken(one_type: None) -> le.Prior:
    return fit(None)[0]


def same(a: le.Prior, b: le.Prior) -> bool:
    pairs = zip(a.velocity.state_dict().values(), b.velocity.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs) and torch.equal(
        a.edit(codes(4), "smile"), b.edit(codes(4), "smile")
    )


@pytest.mark.parametrize(("stage", "at"), [("learn", 17), ("learn", 30), ("read", 5)])
def test_a_stopped_fit_goes_on_to_the_same_numbers(
    unbroken: le.Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, at: int
) -> None:
    monkeypatch.setattr(fitting, "KEEP_EVERY", 0.0)
    state = tmp_path / "p.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(state, stage=stage, at=at)
    kept = {path.suffix for path in tmp_path.iterdir()}
    assert kept == {".looked", ".drawn"} | (set() if stage == "read" else {".prepared", ".flow"})
    found, seen = fit(state)
    assert same(found, unbroken) and found.about["loss"] == pytest.approx(unbroken.about["loss"], rel=1e-6)
    assert not {"look", "draw"} & set(seen) and ("read" in seen) is (stage == "read")
    assert seen.count("learn") == (30 if stage == "read" else 31 - at)
    fitting.forget(state)
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_or_damaged_state_begins_anew(
    unbroken: le.Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "KEEP_EVERY", 0.0)
    state = tmp_path / "p.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(state, stage="learn", at=9, recipe=replace(TINY, seed=5))
    found, seen = fit(state)
    assert same(found, unbroken) and "look" in seen
    fitting.forget(state)
    with pytest.raises(KeyboardInterrupt):
        fit(state, stage="learn", at=9)
    for kept in tmp_path.iterdir():
        kept.write_bytes(kept.read_bytes()[:-50])
    found, seen = fit(state)
    assert same(found, unbroken) and "look" in seen


def test_the_seed_decides(unbroken: le.Prior) -> None:
    assert same(fit(None)[0], unbroken)
    assert not same(fit(None, recipe=replace(TINY, seed=1))[0], unbroken)


def test_a_recipe_that_is_none() -> None:
    for wrong in ({"steps": 0}, {"codes": -1}, {"hidden": 1}, {"learning_rate": 0.0}):
        with pytest.raises(LatentEditError, match=f"{next(iter(wrong))} is "):
            PriorRecipe(**wrong)  # type: ignore[arg-type]


def test_the_plan_says_what_is_done_and_how_long_it_takes() -> None:
    plan = plan_of(samples(), generator, tags=None, tagger=None, recipe=TINY)
    assert {name: stage.count for name, stage in plan.items()} == {"look": 50, "draw": 200, "read": 20, "learn": 30}
    assert all(0 < stage.seconds < 20 for stage in plan.values())
    alone = plan_of(None, generator, tags=None, tagger=None, recipe=TINY)
    assert {name: stage.count for name, stage in alone.items()} == {"look": 0, "draw": 200, "read": 0, "learn": 30}
    bare = plan_of(samples(), None, tags=["smile"], tagger=None, recipe=TINY)
    assert {name: stage.count for name, stage in bare.items()} == {"look": 0, "draw": 0, "read": 20, "learn": 30}


def test_labels_that_are_there_for_some_tags_say_what_each_tag_is_about() -> None:
    random = torch.Generator().manual_seed(0)
    scores = (torch.rand(4000, 2, generator=random) > 0.6).float()
    cells = 0.05 * torch.randn(4000, 3 * 64, generator=random)
    cells[:, :5] += 0.3 * scores[:, :1]  # the first tag colours five cells red, the second one three others
    cells[:, 60:63] -= 0.3 * scores[:, 1:]
    alone = torch.eye(2, dtype=torch.bool)
    whole = regions_of(scores, cells, alone)
    assert whole[0].nonzero().flatten().tolist() == list(range(5))
    assert whole[1].nonzero().flatten().tolist() == list(range(60, 63))
    scores[torch.arange(4000), torch.arange(4000) % 2] = float("nan")  # no row has labels of both
    assert torch.equal(regions_of(scores, cells, alone), whole)


def test_a_fit_learns_on_from_another_prior(unbroken: le.Prior) -> None:
    again = le.Prior.fit(samples(), generator=generator, recipe=replace(TINY, steps=1, seed=9), start=unbroken)
    anew = le.Prior.fit(samples(), generator=generator, recipe=replace(TINY, steps=1, seed=9))

    def far(found: le.Prior) -> float:
        pairs = zip(found.velocity.state_dict().values(), unbroken.velocity.state_dict().values(), strict=True)
        return float(sum((x - y).square().sum() for x, y in pairs))

    assert "from" not in anew.about and len(again.about["from"]) == 12
    assert 0 < far(again) < 0.01 * far(anew)  # one step away from where that one ended
    assert torch.equal(again.space.axes, unbroken.space.axes) and not torch.equal(anew.space.axes, unbroken.space.axes)


def test_a_start_without_some_tags_is_as_if_they_were_never_named(unbroken: le.Prior) -> None:
    start = Start(unbroken.tags, unbroken.space, unbroken.velocity)
    fewer = start.of_tags(["smile", unbroken.tags[0]])
    k, cells = len(unbroken.tags), unbroken.regions.shape[1]
    j = [unbroken.tags.index(tag) for tag in fewer.tags]
    scores, named, look = torch.rand(5, 2), torch.ones(5, 2), torch.randn(5, 3 * cells)
    everything = Condition(torch.zeros(5, k), torch.zeros(5, k), look, torch.ones(5, cells))
    everything.scores[:, j], everything.named[:, j] = scores, named
    x, t = torch.randn(5, start.space.width), torch.rand(5, 1)

    def at(velocity: Velocity, condition: Condition) -> torch.Tensor:
        return velocity(x, t, velocity.condition(condition.vector()))

    short = Condition(scores, named, look, torch.ones(5, cells))
    assert torch.allclose(at(fewer.velocity, short), at(start.velocity, everything), atol=1e-5)
    assert fewer.tags == ("smile", unbroken.tags[0]) and start.of_tags(start.tags).fingerprint() == start.fingerprint()


def test_a_start_that_does_not_fit(unbroken: le.Prior) -> None:
    def refused(words: str, recipe: PriorRecipe = TINY, **given: Any) -> None:
        seen: list[str] = []
        with pytest.raises(MismatchError, match=words):
            le.Prior.fit(
                samples(), generator=generator, recipe=recipe, **{"start": unbroken} | given,
                progress=lambda what, done, total: seen.append(what),
            )  # fmt: skip
        assert not seen  # before anything long

    few = Start(unbroken.tags, unbroken.space, unbroken.velocity).of_tags(["smile"])
    refused("knows 1 tags and not", start=replace(unbroken, tags=few.tags, velocity=few.velocity))
    refused("network of other layers", replace(TINY, pictures=0))
    other = replace(unbroken.space, mean=unbroken.space.mean + 2 * unbroken.space.axes[0] * unbroken.space.deviation[0])
    refused("codes lie elsewhere .* by up to 2", start=replace(unbroken, space=other))
    wider = replace(unbroken.space, deviation=unbroken.space.deviation / 2)
    refused(r"to 2\.?\d* times as wide", start=replace(unbroken, space=wider))
    refused("is of codes of 2 numbers", start=replace(unbroken, space=CodeSpace.of(torch.randn(9, 2))))
