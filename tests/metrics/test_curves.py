"""Curves over strength where the answer is known."""

import json

import numpy as np
import pytest
from linear_world import Linear, Reader, bank

from latentedit.directions.edits import Edit
from latentedit.directions.pairs import TagPair
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.files import jsonable
from latentedit.metrics import Curves, strength_curves
from latentedit.metrics.curves import area_above, at_place, first_reaching

STRENGTHS = [0.0, 1.0, 2.0, 4.0]


@pytest.fixture(scope="module")
def curves():
    return strength_curves(
        Linear(), Reader(), bank, Edit("smile", opposite=None), range(150), STRENGTHS, among="lacking", n_boot=200
    )


def test_shares_area_and_half_are_those_of_the_linear_map(curves):
    """The smile is entry 2 of a uniform code and moves by 0.1 a strength."""
    codes = Linear().sample_codes(range(150)).numpy()[:, 2]
    codes = codes[codes < 0.5]
    share = np.array([(codes + 0.1 * s >= 0.5).mean() for s in STRENGTHS])
    assert np.allclose(curves.share.value[0], share, atol=0.02)  # scores are rounded in float32
    assert np.allclose(curves.target.value[0], [0, 0.1, 0.2, 0.4], atol=1e-5)
    area = np.trapezoid(curves.share.value[0] - curves.share.value[0, 0], STRENGTHS) / 4
    assert curves.area.value[0] == pytest.approx(area, abs=1e-9)
    half = np.interp(0.5, curves.share.value[0], STRENGTHS)
    assert curves.half.value[0] == pytest.approx(half, abs=1e-9)
    assert curves.half.low[0] < half < curves.half.high[0]
    assert (curves.share.low <= curves.share.value + 1e-9).all()
    assert (curves.share.value <= curves.share.high + 1e-9).all()


def test_a_strength_that_is_not_reached_is_nothing():
    short = strength_curves(Linear(), Reader(), bank, ["smile"], range(60), [0.0, 0.5], among="lacking", n_boot=50)
    assert np.isnan(short.half.value[0]) and not np.isnan(short.area.value[0])
    assert np.isnan(short.selectivity_at(0.9).value[0])
    assert short.selectivity_at(0.04).value[0] == pytest.approx(0, abs=1e-6)


def test_curves_of_scores_are_the_same(curves):
    codes = Linear().sample_codes(range(150)).numpy()
    before = codes.clip(0, 1)
    after = np.stack([(codes + np.array([0, 0, 0.1 * s, 0])).clip(0, 1)[None] for s in STRENGTHS])
    again = Curves.of_scores(
        before, after, strengths=STRENGTHS, targets=["smile"], labels=["smile"], tags=Reader.tags,
        thresholds=np.full(4, 0.5), among="lacking", n_boot=200,
    )  # fmt: skip
    assert np.allclose(again.target.value, curves.target.value, atol=1e-5)
    assert again.area.value[0] == pytest.approx(curves.area.value[0], abs=0.02)


def test_bad_strengths_are_refused():
    for strengths in ([1.0, 1.0], [np.nan, 1.0]):
        with pytest.raises(LatentEditError):
            strength_curves(Linear(), Reader(), bank, ["smile"], range(10), strengths)


# ---- of scores, in closed form

TAGS = ("smile", "hat", "short_hair", "long_hair")
RISING = (0.5, 1.0, 1.5, 2.0)


def evenly(n=200, rise=0.4, strengths=RISING):
    """Scores spread evenly over (0, 1) that rise by ``rise`` a strength; the hat's fall by 0.05, the hair's stay.

    So the share that carries the smile is 0.5 + rise * s while that is below 1: a straight line.
    """
    before = np.stack([(np.arange(n) + 0.5) / n, np.full(n, 0.7), np.full(n, 0.9), np.full(n, 0.1)], 1)
    step = np.array([rise, -0.05, 0.0, 0.0])
    return before, np.stack([before + s * step for s in strengths])[:, None]


def of(before, after, *, strengths=RISING, **options):
    return Curves.of_scores(
        before, after, strengths=strengths, targets=["smile"], labels=["smile"], tags=TAGS, thresholds=np.full(4, 0.5),
        **({"n_boot": 100} | options),
    )  # fmt: skip


def test_a_share_that_rises_straight_has_a_triangle_for_area():
    c = of(*evenly(rise=0.2))
    assert c.share.value[0] == pytest.approx([0.6, 0.7, 0.8, 0.9]) and c.unedited.value[0] == pytest.approx(0.5)
    assert c.area.value[0] == pytest.approx(0.2)  # half of the 0.4 that it has risen by at the end
    assert c.half.value[0] == 0  # half carry it unedited: no strength is needed
    assert c.target.value[0] == pytest.approx(np.array(RISING) * 0.2, rel=1e-5)
    assert c.others == (("hat", "short_hair"),)  # nobody's hair is ever long
    assert c.off_target.value[0] == pytest.approx(np.array(RISING) * 0.05 / 2, rel=1e-4)


def test_among_those_that_lack_it_one_is_the_best_possible():
    before, after = evenly(rise=10.0)
    c = of(before, after, among="lacking")
    assert c.pictures.tolist() == [100] and c.unedited.value[0] == 0 and (c.share.value == 1).all()
    assert c.area.value[0] == pytest.approx(
        1 - 0.5 * 0.5 / 2
    )  # but for the first half strength, on the way from 0 to 1
    soon = (1e-9, 2.0)
    after = evenly(rise=0.0, strengths=soon)[1] + [0.6, 0, 0, 0]
    assert of(before, after, strengths=soon, among="lacking").area.value[0] == pytest.approx(1)


def test_negative_strengths_count_for_the_curve_and_not_for_the_area():
    strengths = (-2.0, -1.0, 0.5, 1.0, 1.5, 2.0)
    both, up = of(*evenly(rise=0.2, strengths=strengths), strengths=strengths), of(*evenly(rise=0.2))
    assert both.share.value[0] == pytest.approx([0.1, 0.3, 0.6, 0.7, 0.8, 0.9])
    assert both.area.value[0] == pytest.approx(up.area.value[0]) and both.half.value[0] == pytest.approx(0)
    assert both.selectivity_at(0.3).value == pytest.approx(up.selectivity_at(0.3).value, rel=1e-5)
    down = of(*evenly(strengths=(-2.0, -1.0)), strengths=(-2.0, -1.0))
    assert np.isnan(down.area.value[0]) and np.isnan(down.selectivity_at(0.1).value[0])


def test_half_is_censored_where_the_range_ends():
    """Shares near one half at the last strength: the lower end is known, the upper one lies beyond."""
    strengths = (1.0, 2.0, 2.6)
    c = of(*evenly(n=60, rise=0.1, strengths=strengths), strengths=strengths, among="lacking")
    assert 2 < c.half.value[0] < 2.6 and c.half.low[0] < c.half.value[0] and np.isnan(c.half.high[0])
    assert np.isfinite(of(*evenly(n=60, rise=0.3), among="lacking").half.high[0])  # with room to spare both are


def test_the_same_effect_is_compared_rather_than_the_same_strength():
    """Twice the direction is the same curve at half the strength: no better, which one strength cannot see."""
    one, two = of(*evenly(rise=0.2)), of(evenly()[0], evenly(rise=0.2, strengths=[2 * s for s in RISING])[1])
    assert two.off_target.value[0, 1] == pytest.approx(2 * one.off_target.value[0, 1], rel=1e-4)
    assert two.selectivity_at(0.3).value == pytest.approx(one.selectivity_at(0.3).value, rel=1e-4)
    assert one.selectivity_at(0.3).value[0] == pytest.approx(1.5 * one.off_target.value[0, 1], rel=1e-4)
    for wrong in (0.0, -0.1, 1.5, np.nan):
        with pytest.raises(LatentEditError, match="target change"):
            one.selectivity_at(wrong)


def test_others_may_be_given_and_are_the_same_at_every_strength():
    before, after = evenly()
    assert of(before, after, others=[["hat"]]).off_target.value[0] == pytest.approx(np.array(RISING) * 0.05, rel=1e-4)
    assert np.isnan(of(before, after, others=[[]]).off_target.value).all()
    after[-1, :, :, 3] = 0.9  # long hair appears at the last strength alone, and counts at all of them
    assert "long_hair" in of(before, after).others[0]
    for wrong in (["hat"], "hat", [["hat"], ["hat"]]):
        with pytest.raises(LatentEditError, match="for each of the 1 edits"):
            of(before, after, others=wrong)
    with pytest.raises(UnknownNameError, match="wings"):
        of(before, after, others=[["wings"]])
    with pytest.raises(UnknownNameError, match="kind of pictures"):
        of(before, after, among="having")


def test_shares_of_none_and_all_have_intervals_too():
    c = of(*evenly(rise=10.0), among="lacking")
    assert c.unedited[0].low == 0 and c.unedited[0].high > 0.02
    assert c.share[0, 1].high == 1 and c.share[0, 1].low < 0.98


def test_nobody_lacks_it():
    before, after = evenly()
    before[:, 0] = 0.9
    c = of(before, after, among="lacking")
    assert c.pictures.tolist() == [0] and np.isnan(c.share.value).all() and np.isnan(c.half.low).all()


def test_strengths_in_any_order_and_json():
    before, after = evenly()
    a, b = of(before, after), of(before, after[::-1], strengths=RISING[::-1])
    assert np.array_equal(a.share.value, b.share.value) and b.strengths.tolist() == list(RISING)
    never = of(*evenly(rise=0.01), among="lacking")
    document = json.loads(json.dumps(jsonable(never.numbers()), allow_nan=False))
    assert document["half"] == {"value": [None], "low": [None], "high": [None]} and "tables" not in document


def test_pairs_and_explicit_strengths_grow_with_the_strength():
    pair = TagPair("smile", "short_hair", -0.5)
    edits = [pair, {"smile": 1.0, "short_hair": -0.5}, {"smile": 2.0}]
    c = strength_curves(Linear(), Reader(), bank, edits, range(80), [1.0, 2.0], n_boot=10)
    assert c.targets == ("smile", "", "smile")
    assert c.labels == ("smile -short_hair/2", "smile=1 -, short_hair=-0.5 -", "smile=2 -")
    assert np.isnan(c.target.value[1]).all()
    assert c.target.value[2, 0] == pytest.approx(c.target.value[0, 1], abs=1e-6)
    assert c.off_target.value[1, 0] > 0


# ---- crossings, one by one


def brute(x, y, level):
    """The first crossing found by walking along a million points."""
    fine = np.linspace(x[0], x[-1], 1_000_001)
    hit = np.flatnonzero(np.interp(fine, x, y) >= level - 1e-12)
    return fine[hit[0]] if len(hit) else np.inf


def test_crossings_and_areas_agree_with_a_walk_along_the_curve():
    random = np.random.default_rng(0)
    x = np.array([0.0, 0.5, 1.5, 2.0, 4.0])
    y = random.normal(size=(40, 5)).cumsum(1)  # up and down
    place = first_reaching(y, 0.7)
    found = np.where(np.isinf(place), np.inf, at_place(np.broadcast_to(x, y.shape), place))
    wanted = [brute(x, one, 0.7) for one in y]
    assert np.isinf(wanted).any() and np.isfinite(wanted).sum() > 10
    assert np.allclose(found, wanted, atol=1e-5)
    reached = np.isfinite(place)
    assert np.allclose(at_place(y, place)[reached & (y[:, 0] < 0.7)], 0.7)
    fine = np.linspace(0, 4, 400_001)
    areas = [np.interp(fine, x, one).mean() - one[0] for one in y]
    assert np.allclose(area_above(y, x), areas, atol=1e-4)
    level = np.array([[0.2, 0.5, 0.5, 0.4, 0.9]])
    assert at_place(x[None], first_reaching(level, 0.5))[0] == 0.5  # reached, not passed; the first of two
