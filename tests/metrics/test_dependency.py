"""Attribute dependency on a judge whose logits move by known amounts."""

import json

import numpy as np
import pytest
from linear_world import Linear, Reader, bank

from latentedit.directions.edits import Edit
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.files import jsonable
from latentedit.metrics import AttributeDependency, attribute_dependency
from latentedit.metrics.dependency import EPSILON, constant_tags, logits

TAGS = ("smile", "hat", "glasses", "long_hair", "never")
STRENGTHS = (0.5, 1.0, 2.0, 4.0)
STEP = np.array([0.8, 0.1, -0.3, 0.2, 0.0])  # of the logits, a strength


def moved(n=400, step=STEP, strengths=STRENGTHS, seed=0):
    """Scores (n, k) and (s, 1, n, k) of logits that are normal with deviations 1, 0.5, 2, 1, 0 and shift alike."""
    random = np.random.default_rng(seed)
    old = random.normal(size=(n, 5)) * [1, 0.5, 2, 1, 0] + [0, 0, 0, 0, -4.0]
    old[:, :4] = (old[:, :4] - old[:, :4].mean(0)) / old[:, :4].std(0) * [1, 0.5, 2, 1]  # these deviations to the digit
    new = old + np.asarray(step) * np.array(strengths)[:, None, None]
    return 1 / (1 + np.exp(-old)), 1 / (1 + np.exp(-new))[:, None]


def of(before, after, *, strengths=STRENGTHS, target="smile", **options):
    return AttributeDependency.of_scores(
        before, after, strengths=strengths, targets=[target], labels=[target], tags=TAGS, thresholds=np.full(5, 0.5),
        **({"n_boot": 100} | options),
    )  # fmt: skip


def test_logits_that_shift_alike_have_a_closed_form():
    """Δl / σ is 0.8, 0.2, 0.15, 0.2 a strength; so mean-AD is 0.55 / 3 and max-AD 0.2 a strength. float32: 1e-4."""
    found, s = of(*moved()), np.array(STRENGTHS)
    assert found.attributes == (("hat", "glasses", "long_hair"),) and found.constant == ("never",)
    assert found.change.value[0] == pytest.approx(0.8 * s, rel=1e-4)
    assert found.mean_ad.value[0] == pytest.approx(0.55 / 3 * s, rel=1e-4)
    assert found.max_ad.value[0] == pytest.approx(0.2 * s, rel=1e-4)
    assert found.mean_ad_at[0].value == pytest.approx(0.55 / 3 / 0.8, rel=1e-4)  # where Δl_t / σ is 1
    assert found.max_ad_at[0].value == pytest.approx(0.25, rel=1e-4)
    assert found.mean_ad_at[0].low == pytest.approx(found.mean_ad_at[0].high, rel=1e-3)  # every picture the same
    before = moved()[0]
    assert found.pictures.tolist() == [(before[:, 0] < 0.5).sum()]


def test_the_value_is_read_off_between_strengths_and_from_the_origin():
    early, late = of(*moved(), at=0.1), of(*moved(), at=3.0)
    assert early.mean_ad_at[0].value == pytest.approx(0.1 * 0.55 / 3 / 0.8, rel=1e-4)
    assert late.mean_ad_at[0].value == pytest.approx(3 * 0.55 / 3 / 0.8, rel=1e-4)
    far = of(*moved(), at=3.3)  # 3.2 is the farthest
    assert np.isnan([far.mean_ad_at[0].value, far.mean_ad_at[0].low, far.max_ad_at[0].high]).all()


def test_a_cleaner_edit_depends_less_at_the_same_effect_though_it_is_weaker():
    strong, weak = of(*moved()), of(*moved(step=STEP * [0.5, 0.1, 0.1, 0.1, 0]))
    assert weak.mean_ad_at[0].value < 0.25 * strong.mean_ad_at[0].value
    backwards = of(*moved(step=-STEP))
    assert np.isnan(backwards.mean_ad_at[0].value) and (backwards.change.value < 0).all()


def test_a_scale_of_the_judges_logits_does_not_matter():
    """Dividing by σ is what makes judges comparable; without it the same edit would depend twice as much."""
    random = np.random.default_rng(1)
    old = random.normal(size=(300, 5))
    new = old + random.normal(0.3, 0.2, size=(2, 300, 5))

    def scored(factor):
        before, after = (1 / (1 + np.exp(-factor * x)) for x in (old, new))
        return of(before, after[:, None], strengths=(1.0, 2.0))

    one, two = scored(1.0), scored(2.0)
    assert np.allclose(one.mean_ad.value, two.mean_ad.value, rtol=2e-3)
    assert np.allclose(one.max_ad.value, two.max_ad.value, rtol=2e-3)


def test_intervals_hold_the_value_and_shrink_with_pictures():
    random = np.random.default_rng(2)

    def width(n):
        old = random.normal(size=(n, 5))
        new = old + random.normal(0.5, 0.5, size=(1, n, 5))
        e = of(*(1 / (1 + np.exp(-x)) for x in (old, new[:, None])), strengths=(1.0,), at=0.2).mean_ad_at[0]
        assert e.low < e.value < e.high
        return e.high - e.low

    assert width(1600) < 0.7 * width(200)


def test_scores_of_0_and_1_stay_finite_and_symmetric():
    found = logits(np.array([0.0, EPSILON, 0.5, 1 - EPSILON, 1.0]))
    assert found[:2] == pytest.approx(found[0]) and found[3:] == pytest.approx(-found[0]) and found[2] == 0
    assert found[4] == pytest.approx(9.21, abs=0.01)
    assert constant_tags(np.array([[0.0, 0.2], [1e-9, 0.4]]), ["a", "b"]) == ("a",)


def test_rare_attributes_and_the_targets_group_are_left_out():
    before, after = moved()
    before[:, 1] *= 0.01  # varies, but nobody wears a hat
    assert of(before, after).attributes == (("glasses", "long_hair"),)
    assert of(before, after, share=0.0).attributes == (("hat", "glasses", "long_hair"),)
    short = AttributeDependency.of_scores(
        before, after, strengths=STRENGTHS, targets=["short_hair"], labels=["short_hair"],
        tags=("short_hair", "hat", "glasses", "long_hair", "never"), thresholds=np.full(5, 0.5), n_boot=10,
    )  # fmt: skip
    assert short.attributes == (("glasses",),)  # long hair excludes short hair


def test_among_all_and_a_target_that_never_varies():
    before, after = moved()
    assert of(before, after, among="all").pictures.tolist() == [400]
    still = of(before, after, target="never")
    assert np.isnan(still.change.value).all() and np.isnan(still.mean_ad_at.value).all()
    with pytest.raises(UnknownNameError, match="kind of pictures"):
        of(before, after, among="having")


def test_strengths_in_any_order_and_json():
    before, after = moved()
    a, b = of(before, after), of(before, after[::-1], strengths=STRENGTHS[::-1])
    assert np.array_equal(a.mean_ad.value, b.mean_ad.value) and b.strengths.tolist() == list(STRENGTHS)
    document = json.loads(json.dumps(jsonable(of(before, after, at=9.0).numbers()), allow_nan=False))
    assert document["mean_ad_at"] == {"value": [None], "low": [None], "high": [None]} and "tables" not in document


def test_measuring_pictures_is_the_same_as_of_their_scores():
    options = dict(strengths=[1.0, 2.0], at=0.2, n_boot=30)
    edits = [Edit("smile", opposite=None), Edit("long_hair", opposite=None)]
    found = attribute_dependency(Linear(), Reader(), bank, edits, range(120), **options)
    codes = Linear().sample_codes(range(120)).numpy()
    step = {"smile": np.array([0, 0, 0.1, 0]), "long_hair": np.array([0.1, 0, 0, 0.05])}
    after = np.stack([[(codes + s * step[tag]).clip(0, 1) for tag in step] for s in (1, 2)])
    again = AttributeDependency.of_scores(
        codes, after, targets=list(step), labels=list(step), tags=Reader.tags, thresholds=np.full(4, 0.5), **options
    )
    assert np.allclose(found.mean_ad.value, again.mean_ad.value, rtol=1e-3)
    assert np.allclose(found.max_ad_at.value, again.max_ad_at.value, rtol=1e-3)


def test_mistakes_are_told():
    before, after = moved()
    for options, words in (
        (dict(strengths=(0.5, 1.0)), "give \\(n, tags\\)"), (dict(strengths=(0.0, 1, 2, 4)), "above 0"),
        (dict(strengths=(1, 1, 2, 4)), "each once"), (dict(at=0.0), "at is 0"),
    ):  # fmt: skip
        with pytest.raises(LatentEditError, match=words):
            of(before, after, **options)


def test_dependency_is_the_normalised_change_of_the_other_logits():
    """long_hair moves entry 0 by 1 / sqrt(1.25) a unit and the hat, entry 3, by half of that."""
    found = attribute_dependency(
        Linear(), Reader(), bank, Edit("long_hair", opposite=None), range(200), strengths=[0.5, 1.0, 2.0], n_boot=50,
        at=0.1,
    )  # fmt: skip
    codes = Linear().sample_codes(range(200)).numpy().clip(0, 1)
    lacking = codes[:, 0] < 0.5
    old = logits(codes)
    new = logits(codes + np.array([0.1, 0, 0, 0.05]) * 1.0)
    apart = np.abs(new - old)[lacking] / old.std(0)
    assert found.change.value[0, 1] == pytest.approx((new - old)[lacking, 0].mean() / old[:, 0].std(), rel=1e-3)
    assert set(found.attributes[0]) == {"smile", "hat"}
    assert found.mean_ad.value[0, 1] == pytest.approx(apart[:, [2, 3]].mean(), rel=1e-3)
    assert found.max_ad.value[0, 1] == pytest.approx(apart[:, [2, 3]].max(1).mean(), rel=1e-3)
    wanted = np.interp(0.1, [0, *found.change.value[0]], [0, *found.mean_ad.value[0]])  # unedited: no change
    assert found.mean_ad_at.value[0] == pytest.approx(wanted, rel=1e-6)
    far = attribute_dependency(Linear(), Reader(), bank, ["smile"], range(60), strengths=[0.1], at=5.0, n_boot=20)
    assert np.isnan(far.mean_ad_at.value[0])
    with pytest.raises(LatentEditError, match="above 0"):
        attribute_dependency(Linear(), Reader(), bank, ["smile"], range(10), strengths=[-1.0])


def test_pictures_that_share_a_content_are_resampled_together():
    """Every picture five times: the interval is that of the pictures alone, not of five times as many."""
    before, after = moved(n=60)
    after = after + np.random.default_rng(1).normal(size=after.shape) * 0.01
    fivefold = np.repeat(before, 5, 0), np.repeat(after, 5, 2)
    alone, together = of(before, after, n_boot=400), of(*fivefold, n_boot=400, groups=np.repeat(np.arange(60), 5))
    apart = of(*fivefold, n_boot=400)
    widths = [(one.change.high - one.change.low)[0, -1] for one in (alone, together, apart)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15) and widths[2] < 0.6 * widths[0]
    with pytest.raises(LatentEditError, match="groups have shape"):
        of(before, after, groups=np.zeros(3))
