"""Intervals: against scipy, against closed forms, and how often they cover a truth that is known."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.errors import LatentEditError
from latentedit.metrics import rescore
from latentedit.metrics.curves import Curves
from latentedit.metrics.intervals import (
    Estimate,
    difference_of_means,
    estimate,
    estimates,
    few_pictures_note,
    in_turn,
    mean_interval,
    ratio_of_means,
    resampling,
    share_interval,
    share_of,
    worst_mean,
)
from latentedit.metrics.rescoring import Rescoring, selectivity_of

N, REPEATS = 150, 1000
TAGS = ("smile", "hat", "glasses")
CODES = np.random.default_rng(2022).normal(size=(N * REPEATS, 4)).astype(np.float32)
MAP = np.array([[1.0, 0.4, 0.2, 0.0], [0.5, 0.8, 0.0, 0.3], [-0.3, 0.2, 0.9, 0.4]])  # (tags, 4)
OFFSET = np.array([-0.2, 0.3, -0.4])
STEP = np.array([0.9, 0.25, -0.35, 0.3])  # what the edit adds to a code


# ---- against others


def same_level(n, level=0.95):
    """The level at which plain BCa takes the quantiles that ours takes for n pictures."""
    return 2 * special.ndtr(np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)) - 1


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_ends_are_those_of_scipys_bca(kind):
    """Tolerance 2 % of the width: two random resamplings of 20,000 differ by about 1 %."""
    random = np.random.default_rng(3)
    x, y = random.exponential(size=60), 1 + random.exponential(size=60)
    options = {"n_resamples": 20_000, "confidence_level": same_level(60), "method": "BCa", "rng": 5}
    if kind == "mean":
        ours = estimate(x, n_boot=20_000)
        theirs = stats.bootstrap((x,), np.mean, **options).confidence_interval
    else:
        ours = estimate(np.stack([x, y], 1), lambda m: m[..., 0] / m[..., 1], n_boot=20_000)
        theirs = stats.bootstrap(
            (x, y), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, **options
        ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.02 * width and abs(ours.high - theirs.high) < 0.02 * width
    plain = np.quantile(resampling(60, 20_000) @ x, [0.025, 0.975])
    if kind == "mean":  # the same check tells plain percentiles of a skewed number from these
        assert abs(plain[1] - theirs.high) > 0.02 * width


def test_the_interval_of_a_normal_mean_is_students():
    x = stats.norm.ppf((np.arange(400) + 0.5) / 400)  # symmetric: no bias, no acceleration
    ours = estimate(x, n_boot=20_000)
    half = stats.t.ppf(0.975, 399) * x.std(ddof=1) / 20
    assert ours.high == pytest.approx(half, rel=0.03) and ours.low == pytest.approx(-half, rel=0.03)


def test_shares_have_wilsons_interval():
    for carrying, n in ((0, 30), (7, 30), (30, 30), (1, 1)):
        ours = share_interval(np.array([carrying]), n)[0]
        theirs = stats.binomtest(carrying, n).proportion_ci(method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert np.isnan(share_interval(np.zeros(2), 0).value).all()


# ---- laws


def test_an_estimate_a_mean_and_its_column_are_one():
    values = np.random.default_rng(1).exponential(size=(40, 3, 50))
    value, low, high = mean_interval(values, n_boot=300)
    for i, j in ((0, 0), (2, 49), (1, 17)):
        one = estimate(values[:, i, j], n_boot=300)
        assert (one.value, one.low, one.high) == pytest.approx((value[i, j], low[i, j], high[i, j]), abs=1e-12)
    assert (low <= value).all() and (value <= high).all()


def test_blocks_and_single_precision_do_not_matter(monkeypatch):
    values = np.random.default_rng(1).normal(size=(30, 700))
    whole = mean_interval(values, n_boot=100)
    monkeypatch.setattr("latentedit.metrics.intervals._BYTES", 8 * 100 * 64)
    assert np.allclose(whole, mean_interval(values, n_boot=100), atol=1e-12)
    assert np.allclose(whole, mean_interval(values.astype(np.float32), n_boot=100), atol=1e-6)


def test_scaling_and_shifting_the_numbers_scales_and_shifts_the_interval():
    x = np.random.default_rng(2).exponential(size=80)
    a, b = estimate(x), estimate(3 * x - 7)
    assert (b.low, b.high) == pytest.approx((3 * a.low - 7, 3 * a.high - 7), abs=1e-9)
    c = estimate(-x)  # and turning them turns it
    assert (c.low, c.high) == pytest.approx((-a.high, -a.low), rel=0.01)


def test_the_same_seed_is_the_same_interval_and_another_is_not():
    x = np.random.default_rng(2).normal(size=50)
    assert estimate(x, seed=4) == estimate(x, seed=4) != estimate(x, seed=5)
    with pytest.raises(ValueError, match="read-only"):
        resampling(50)[0, 0] = 1.0  # it is shared


def test_a_difference_is_shown_when_zero_is_left_out():
    assert Estimate(1, 0.1, 2).shows_difference and Estimate(-1, -2, -0.1).shows_difference
    assert not Estimate(1, -0.1, 2).shows_difference and not Estimate(1, np.nan, np.nan).shows_difference
    assert f"{Estimate(1, 0.5, 2):.1f}" == "1.0 [0.5, 2.0]"


# ---- what has no interval


def test_one_picture_and_what_is_not_a_number_have_none():
    one = estimate(np.array([0.3]))
    assert one.value == 0.3 and np.isnan(one.low) and np.isnan(one.high)
    value, low, high = mean_interval(np.array([[1.0, np.nan], [2.0, 1.0], [4.0, 1.0]]))
    assert np.isnan([value[1], low[1], high[1]]).all() and np.isfinite([value[0], low[0], high[0]]).all()
    same = estimate(np.full(30, 0.1))
    assert same.low == pytest.approx(0.1) and same.high == pytest.approx(0.1)


def test_a_statistic_that_is_often_undefined_has_no_ends():
    x = np.random.default_rng(0).normal(0.02, 1, size=(50, 1))
    rarely = estimates(x, lambda m: np.where(m > -0.5, m, np.nan))[0]
    often = estimates(x, lambda m: np.where(m > x.mean() - 0.1, m, np.nan))[0]  # in about a quarter of the resamples
    assert np.isfinite([rarely.low, rarely.high]).all()
    assert np.isfinite(often.value) and np.isnan(often.low) and np.isnan(often.high)


def test_an_end_beyond_the_range_is_unknown_and_the_other_is_not():
    x = np.random.default_rng(0).normal(0.0, 1, size=(100, 1))
    found = estimates(x, lambda m: np.where(m < 0.1, m, np.inf))[0]
    assert np.isfinite(found.low) and np.isnan(found.high)


def test_few_pictures_are_told():
    assert (
        few_pictures_note(20) == "" and "19 pictures" in few_pictures_note(19) and "1 picture " in few_pictures_note(1)
    )
    for n, n_boot in ((0, 10), (10, 0)):
        with pytest.raises(LatentEditError, match="one or more"):
            resampling(n, n_boot)


# ---- coverage, where the truth is a closed form


class Paints:
    """A linear map of normal codes: a picture's three channels are MAP @ w + OFFSET, over 10. Seeds are rows."""

    id, z_dim, dim, layers, resolution = "linear:2", 4, 4, ("w",), 2

    def sample_codes(self, seeds, *, label=None, truncation=1.0):
        return torch.from_numpy(CODES[np.asarray(seeds)])

    def decode(self, codes, *, content=None, noise="stored"):
        flat = (codes.double() @ torch.from_numpy(MAP).T + torch.from_numpy(OFFSET)) / 10
        return flat.float()[:, :, None, None].expand(-1, -1, 2, 2)


class Probit:
    """Scores a channel by the normal distribution function, whose expectation over normal codes is known."""

    id, tags, threshold = "probit:1", TAGS, 0.5

    def score(self, images):
        return torch.special.ndtr(images[:, :, 0, 0].double() * 10)


def expected(shift, j, *, lacking):
    """E of tag j's score after a shift of its channel, over all pictures or those that lack the smile."""
    channel, smile = MAP[j], MAP[0]
    spread = 1 + channel @ channel
    if not lacking:
        return stats.norm.cdf((OFFSET[j] + shift) / np.sqrt(spread))
    # Z - channel·w <= OFFSET + shift and smile·w < -OFFSET are two normals: their joint distribution function.
    covariance = [[spread, -channel @ smile], [-channel @ smile, smile @ smile]]
    both = stats.multivariate_normal(cov=covariance).cdf([OFFSET[j] + shift, -OFFSET[0]])
    return both / stats.norm.cdf(-OFFSET[0] / np.linalg.norm(smile))


SHIFT = MAP @ STEP


def change(j, *, lacking):
    return expected(SHIFT[j], j, lacking=lacking) - expected(0.0, j, lacking=lacking)


@pytest.fixture(scope="module")
def scored():
    """Scores of all pictures before and after the edit, by rescore itself: (150,000, 3) twice."""
    size = float(np.linalg.norm(STEP))
    step = torch.from_numpy(STEP / size).float()
    d = Direction(tag="smile", vector=step, sigma=size, generator_id="linear:2", layers=("w",))
    r = rescore(
        Paints(), Probit(), DirectionBank([d]), [{"smile": 1.0}], range(N * REPEATS), batch_size=10_000, n_boot=1
    )  # fmt: skip
    return r.before, r.after[0]


@pytest.fixture(scope="module")
def repetitions(scored):
    before, after = (part.reshape(REPEATS, N, 3) for part in scored)
    return [
        Rescoring.of_scores(
            b, a[None], targets=["smile"], labels=["smile"], tags=TAGS, thresholds=np.full(3, 0.5), n_boot=1000
        )
        for b, a in zip(before, after, strict=True)
    ]


def covered(ends, truth):
    return float(np.mean([low <= truth <= high for low, high in ends]))


def test_the_closed_form_is_the_mean_of_all_pictures(scored):
    """150,000 pictures: four standard errors are about 0.003."""
    before, after = scored
    without = before[:, 0] < 0.5
    for j in range(3):
        assert (after - before)[:, j].mean() == pytest.approx(change(j, lacking=False), abs=0.003)
        assert (after - before)[without, j].mean() == pytest.approx(change(j, lacking=True), abs=0.003)


@pytest.mark.parametrize("j", range(3))
def test_the_matrix_covers_the_mean_change(repetitions, j):
    assert 0.93 <= covered([(r.low[0, j], r.high[0, j]) for r in repetitions], change(j, lacking=False)) <= 0.97


@pytest.mark.parametrize("among", ["all", pytest.param("lacking", marks=pytest.mark.slow)])
def test_the_summary_covers_target_off_target_and_selectivity(repetitions, among):
    lacking = among == "lacking"
    off = np.mean([abs(change(j, lacking=lacking)) for j in (1, 2)])  # a shift moves all pictures the same way
    target = change(0, lacking=lacking)
    rows = [r.summary(0, among=among, others=("hat", "glasses")) for r in repetitions]
    for name, truth in (("target", target), ("off_target", off), ("selectivity", target / off)):
        ends = [(getattr(row, name).low, getattr(row, name).high) for row in rows]
        assert 0.93 <= covered(ends, truth) <= 0.97, name


def test_wrong_intervals_fail_the_same_check(repetitions):
    """Resampled apart, before and after lose what they share; half as wide, an interval covers two times in three."""
    truth, unpaired, narrow = change(0, lacking=False), [], []
    for r in repetitions:
        before, after = r.before[:, 0].astype(float), r.after[0, :, 0].astype(float)
        apart = resampling(N, seed=1) @ after - resampling(N, seed=2) @ before
        unpaired.append(np.quantile(apart, [0.025, 0.975]))
        middle, half = r.mean[0, 0], (r.high[0, 0] - r.low[0, 0]) / 4
        narrow.append((middle - half, middle + half))
    assert covered(unpaired, truth) > 0.97
    assert covered(narrow, truth) < 0.8


def test_few_and_skewed_pictures_are_what_the_corrections_are_for():
    """Ratios of 15 pictures with long tails: plain percentiles miss the truth twice as often as they may."""
    random = np.random.default_rng(7)
    ours, plain = [], []
    for _ in range(REPEATS):
        both = np.stack([random.exponential(size=15), 0.5 + random.exponential(size=15)], 1)
        e = estimate(both, selectivity_of)
        ours.append((e.low, e.high))
        plain.append(np.quantile(selectivity_of(resampling(15) @ both), [0.025, 0.975]))
    truth = 1 / 1.5
    assert covered(ours, truth) > covered(plain, truth) + 0.02 and covered(ours, truth) >= 0.91
    assert covered(plain, truth) < 0.92


def test_area_half_and_matched_effect_are_covered(scored):
    """The channel of the smile moves by 0.5 a strength; the true curve's trapezoid and crossing are numpy's."""
    strengths = np.array([0.5, 1.0, 2.0, 3.0])
    channels = CODES.astype(float) @ MAP.T + OFFSET  # (all, 3)
    moves = np.array([0.5, 0.1, -0.15])
    spread = np.linalg.norm(MAP, axis=1)
    x = np.append(0.0, strengths)
    share = stats.norm.cdf((OFFSET[0] + moves[0] * x) / spread[0])
    mean = [[expected(moves[j] * s, j, lacking=False) for s in x] for j in range(3)]
    off = (np.abs(np.array(mean[1]) - mean[1][0]) + np.abs(np.array(mean[2]) - mean[2][0])) / 2
    truths = {
        "area": np.trapezoid(share - share[0], x) / 3,
        "half": np.interp(0.5, share, x),
        "matched": np.interp(0.2, np.array(mean[0]) - mean[0][0], off),
    }
    found = {name: [] for name in truths}
    for rows in np.split(channels[: 400 * N], 400):
        c = Curves.of_scores(
            special.ndtr(rows), special.ndtr(rows + moves * strengths[:, None, None])[:, None],
            strengths=strengths, targets=["smile"], labels=["smile"], tags=TAGS, thresholds=np.full(3, 0.5),
            others=[["hat", "glasses"]], n_boot=500,
        )  # fmt: skip
        for name, e in (("area", c.area[0]), ("half", c.half[0]), ("matched", c.selectivity_at(0.2)[0])):
            found[name].append((e.low, e.high))
    for name, truth in truths.items():
        ends = [(a, b if np.isfinite(b) else np.inf) for a, b in found[name]]
        assert 0.92 <= covered(ends, truth) <= 0.98, (name, covered(ends, truth))  # 400 repetitions: ± 0.022


# ---- pictures that share a content


def of_groups(seed, groups=15, each=8):
    """Numbers (n,) that have most of their spread in common with their group's."""
    random = np.random.default_rng(seed)
    place = np.arange(groups * each) % groups
    return random.normal(size=groups)[place] + 0.3 * random.normal(size=len(place)), place


def test_grouped_intervals_cover_and_others_are_far_too_narrow():
    found = [of_groups(seed) for seed in range(300)]
    grouped = [estimate(x, groups=place, n_boot=300) for x, place in found]
    alone = [estimate(x, n_boot=300) for x, _ in found]
    covered = [np.mean([one.low <= 0 <= one.high for one in ones]) for ones in (grouped, alone)]
    assert 0.92 <= covered[0] <= 0.98 and covered[1] < 0.6
    assert [one.value for one in grouped] == [one.value for one in alone]


def test_groups_of_one_are_none_and_names_do_not_matter():
    x = np.random.default_rng(5).exponential(size=40)
    assert estimate(x, groups=np.arange(40)) == estimate(x)
    y, place = of_groups(1)
    named = estimate(y, groups=np.char.add("content ", place.astype(str)))
    assert named.value == estimate(y, groups=place).value and named.low == pytest.approx(
        estimate(y, groups=place).low, abs=0.1
    )
    value, low, high = mean_interval(np.stack([y, -y], 1), groups=place)
    one = estimate(y, groups=place)
    assert (value[0], low[0], high[0]) == pytest.approx((one.value, one.low, one.high), abs=1e-9)
    single = estimate(y, groups=np.zeros(len(y)))
    assert np.isnan([single.low, single.high]).all()  # one content alone tells nothing of others


def test_few_contents_are_noted_as_few_pictures_are():
    assert "over 5 contents alone" in few_pictures_note(120, 5) and few_pictures_note(120, 20) == ""
    assert "over 1 picture alone" in few_pictures_note(1)


def test_a_ratio_of_independent_means_is_scipys():
    random = np.random.default_rng(6)
    x, y = random.exponential(size=50), 2 + random.exponential(size=80)
    ours = ratio_of_means(x, y, n_boot=20_000)
    theirs = stats.bootstrap(
        (x, y), lambda a, b, axis: a.mean(axis) / b.mean(axis), n_resamples=20_000, method="BCa", rng=5,
        confidence_level=same_level(50),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.03 * width and abs(ours.high - theirs.high) < 0.03 * width
    assert np.isnan(ratio_of_means(x, np.zeros(5)).value) and np.isnan(ratio_of_means(x[:0], y).value)
    assert ratio_of_means(np.zeros(30), y).value == 0


def test_a_difference_of_means_is_welchs():
    random = np.random.default_rng(7)
    values, first = np.concatenate([random.normal(1, 1, 400), random.normal(0, 2, 300)]), np.arange(700) < 400
    ours = difference_of_means(values, first)
    theirs = stats.ttest_ind(values[first], values[~first], equal_var=False).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert np.isnan(difference_of_means(values, np.ones(700, bool)).value)


def test_the_worst_tenth_is_a_mean_over_the_largest():
    x = np.random.default_rng(8).exponential(size=200)
    found = worst_mean(x)
    assert found.value == pytest.approx(np.sort(x)[-20:].mean()) and found.low < found.value < found.high
    part = worst_mean(np.arange(15.0))  # one face and a half
    assert part.value == pytest.approx((14 + 13 / 2) / 1.5)
    truth = 1 + np.log(10)  # of an exponential
    draws = [worst_mean(np.random.default_rng(i).exponential(size=200), n_boot=300) for i in range(150)]
    assert 0.87 <= np.mean([one.low <= truth <= one.high for one in draws]) <= 0.99


def test_shares_of_groups_are_worth_less():
    hits, place = np.arange(120) < 30, np.arange(120) // 10  # whole groups hit
    alone, together = share_of(hits), share_of(hits, groups=place)
    theirs = stats.binomtest(30, 120).proportion_ci(method="wilson")
    assert (alone.low, alone.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    twelve = stats.binomtest(3, 12).proportion_ci(method="wilson")
    assert together.value == 0.25 and together.high == pytest.approx(twelve.high, abs=0.02)
    nobody = share_of(np.zeros(120, bool), groups=place)
    assert nobody.high == pytest.approx(stats.binomtest(0, 12).proportion_ci(method="wilson").high)


def test_one_picture_has_no_interval_and_says_so():
    assert format(estimate(np.array([0.5])), ".2f") == "0.50 [no interval]"
    assert "too few for any interval" in few_pictures_note(1)


def test_contents_are_taken_in_turn():
    assert in_turn(5, 2).tolist() == [0, 1, 0, 1, 0] and in_turn(5, 1) is None and in_turn(5, 5) is None
