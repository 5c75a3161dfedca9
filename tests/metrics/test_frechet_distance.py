"""Fréchet distances against scipy, closed forms and laws; intervals against simulation."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.special import stdtrit

from latentedit.errors import LatentEditError
from latentedit.metrics.frechet_distance import (
    FrechetStatistics,
    _influences,
    fid,
    fid_difference,
    fid_interval,
    frechet,
    small_sample_note,
)


def by_scipy(a, b):
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb)
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca + cb) - 2 * np.trace(root).real


def drawn(seed, n, d, scale=1.0, shift=0.0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) @ (np.eye(d) + 0.3 * random.normal(size=(d, d)) / d**0.5) * scale + shift


def statistics_of(*parts):
    found = FrechetStatistics()
    for part in parts:
        found.update(part)
    return found


@pytest.mark.parametrize(
    ("n", "m", "d", "tolerance"), [(200, 150, 60, 1e-6), (400, 300, 20, 1e-6), (40, 70, 60, 1e-3), (30, 20, 90, 1e-3)]
)
def test_scipy_agrees(n, m, d, tolerance):
    a, b = drawn(1, n, d), drawn(2, m, d, 1.4, 0.3)
    wanted = by_scipy(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fid(a, b) == pytest.approx(wanted, rel=tolerance)
        assert fid(a * 1.01, b) != pytest.approx(wanted, rel=tolerance)
    assert frechet(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)) == pytest.approx(wanted, rel=tolerance)
    assert statistics_of(a).distance(statistics_of(b)) == pytest.approx(wanted, rel=tolerance)
    assert fid_interval(a, b).value == pytest.approx(wanted, rel=tolerance)


@pytest.mark.filterwarnings("ignore:.*does not compare")
@pytest.mark.parametrize(("n", "m", "d"), [(100, 200, 1280), (2, 2, 5), (2, 300, 40), (50, 300, 100), (101, 100, 100)])
def test_every_way_gives_the_same(n, m, d):
    """Singular values of the sets, of triangular factors, and eigenvalues of covariances."""
    a, b = drawn(1, n, d), drawn(2, m, d, 1.2, 0.1)
    wanted = fid(a, b)
    assert fid_interval(a, b).value == pytest.approx(wanted, rel=1e-9)
    assert frechet(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)) == pytest.approx(wanted, rel=1e-6)


def test_torchmetrics_agrees():
    """The same pixels as features; torchmetrics takes pictures and a module."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pixels(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).double() / 255

    random = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, high, (90, 3, 2, 2), generator=random, dtype=torch.uint8) for high in (256, 200))
    other = FrechetInceptionDistance(feature=Pixels(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    other.update(a, real=True)
    other.update(b, real=False)
    assert fid(Pixels()(a), Pixels()(b)) == pytest.approx(float(other.compute()), rel=1e-6)


def test_closed_forms():
    zero, eye = np.zeros(5), np.eye(5)
    assert frechet(zero, eye, zero, eye) == pytest.approx(0, abs=1e-12)
    assert frechet(zero, eye, zero + 2, eye) == pytest.approx(20)
    assert frechet(zero, 4 * eye, zero, 9 * eye) == pytest.approx(5 * (2 - 3) ** 2)
    singular = np.diag([1.0, 1, 0, 0, 0])
    assert frechet(zero, singular, zero, eye) == pytest.approx(3)
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(5, 5)))[0]
    p, q = random.random(5), random.random(5)
    commuting = (turn * p) @ turn.T, (turn * q) @ turn.T
    wanted = np.square(np.sqrt(p) - np.sqrt(q)).sum()
    assert frechet(zero, commuting[0], zero, commuting[1]) == pytest.approx(wanted, rel=1e-9)


def test_laws():
    a, b = drawn(1, 90, 12), drawn(2, 80, 12, 1.3, 1)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-9)
    assert fid(a @ turn + 5, b @ turn + 5) == pytest.approx(fid(a, b), rel=1e-8)
    assert fid(3 * a, 3 * b) == pytest.approx(9 * fid(a, b), rel=1e-9)
    assert fid(torch.from_numpy(a), torch.from_numpy(b)) == fid(a, b)


def test_statistics_come_in_any_order():
    x = drawn(4, 101, 7, shift=50)
    whole, parts, merged = FrechetStatistics(), FrechetStatistics(), FrechetStatistics()
    whole.update(x)
    for part in np.array_split(x, 9):
        parts.update(part)
        one = FrechetStatistics()
        one.update(part)
        merged.merge(one)
    for other in (parts, merged):
        assert other.count == 101
        assert np.allclose(other.mean, x.mean(0), rtol=1e-12)
        assert np.allclose(other.covariance, np.cov(x.T), rtol=1e-10, atol=1e-12)
    mean, covariance = whole.mean, whole.covariance
    whole.update(x + 1)
    assert np.allclose(mean, x.mean(0)) and not np.allclose(whole.mean, mean)
    assert np.allclose(covariance, np.cov(x.T)) and whole.count == 202
    whole.covariance[:] = whole.mean[:] = 0  # copies
    assert np.allclose(whole.covariance, np.cov(np.concatenate([x, x + 1]).T))


def test_merging_keeps_the_other_as_it_was():
    one, other = statistics_of(drawn(1, 20, 3)), statistics_of(drawn(2, 30, 3))
    before = other.covariance
    one.merge(other)
    one.merge(FrechetStatistics())
    one.update(drawn(3, 5, 3))
    assert np.array_equal(other.covariance, before) and (one.count, other.count) == (55, 30)
    empty = FrechetStatistics()
    empty.merge(other)
    empty.update(drawn(3, 5, 3))
    assert np.array_equal(other.covariance, before) and empty.dim == other.dim == 3


def test_float32_features_far_from_zero_lose_nothing():
    """The sum of squares of such features in float32 would keep no digit of their covariance."""
    x = (drawn(4, 500, 5) + 1e4).astype(np.float32)
    found = statistics_of(*np.array_split(x, 25)).covariance
    assert np.allclose(found, np.cov(x.T.astype(float)), rtol=1e-9)


def test_a_target_that_grew_is_measured_anew():
    """The root that a target keeps is that of what it has seen."""
    a, b, c = drawn(1, 60, 5), drawn(2, 50, 5, 1.2), drawn(3, 40, 5, 2, 1)
    target, one = statistics_of(b), statistics_of(a)
    assert one.distance(target) == one.distance(target) == pytest.approx(by_scipy(a, b), rel=1e-6)
    target.update(c)
    assert one.distance(target) == pytest.approx(by_scipy(a, np.concatenate([b, c])), rel=1e-6)
    target.merge(statistics_of(a))
    assert one.distance(target) == pytest.approx(by_scipy(a, np.concatenate([b, c, a])), rel=1e-6)


def test_few_pictures_are_told_loudly():
    with pytest.warns(UserWarning, match="does not compare with published"):
        fid(drawn(1, 10, 30), drawn(2, 99, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid(drawn(1, 60, 30), drawn(2, 99, 30))
    assert small_sample_note(2049, 2048) == "" and "2048 features" in small_sample_note(2048, 2048)


# intervals


def weighted(rows, weights):
    """Mean and covariance of rows with weights that sum to their number, scaled as the unbiased covariance is."""
    n = len(rows)
    mean = weights @ rows / n
    centred = rows - mean
    return mean, (centred.T * weights) @ centred / (n - 1)


@pytest.mark.parametrize(("n", "m"), [(40, 50), (9, 50), (9, 7)])
def test_influences_are_derivatives(n, m):
    """Against the numerical derivative by each row's weight, whether there are more rows than columns or fewer.

    The derivative along a weight, w_i (1 + e) of weights scaled back to the sum n, is the centred influence over n.
    """
    d, step = 12, 1e-2
    a, b = drawn(1, n, d), drawn(2, m, d, 1.3, 0.4)
    _, of_a, of_b = _influences(a, b)

    def at(weights_a, weights_b):
        return frechet(*weighted(a, weights_a), *weighted(b, weights_b))

    for i in range(0, 7, 2):
        for rows, found in ((n, of_a), (m, of_b)):
            up, down = np.ones(rows), np.ones(rows)
            up[i], down[i] = 1 + step, 1 - step
            up, down = up * rows / up.sum(), down * rows / down.sum()
            ends = (at(w, np.ones(m)) if rows == n else at(np.ones(n), w) for w in (up, down))
            slope = float(np.subtract(*ends)) / (2 * step)
            assert slope == pytest.approx((found[i] - found.mean()) / rows, rel=2e-3, abs=2e-4)


def pairs(n, m, d, decay, repeats, first=0):
    """Repeated draws of two sets whose variances fall as the j-th's ``j ** -decay``, heavy-tailed as features are."""
    spread = np.arange(1, d + 1) ** (-decay / 2)
    for s in range(first, first + repeats):
        random = np.random.default_rng([d, s])
        a, b = (random.standard_t(8, size=(rows, d)) * spread for rows in (n, m))
        yield a, 1.2 * b + 0.05


def measured(sets):
    """Share of intervals that hold the mean distance; root mean square standard error over the true one."""
    found = [fid_interval(a, b) for a, b in sets]
    values = np.array([one.value for one in found])
    reach = np.array([one.high - one.value for one in found])
    quantile = stdtrit(min(len(x) for x in next(iter(sets))) - 1, 0.975)
    covered = np.abs(values - values.mean()) <= reach
    return covered.mean(), np.sqrt(np.mean(np.square(reach / quantile))) / values.std(ddof=1)


@pytest.mark.parametrize(
    ("n", "m", "d", "decay", "repeats"),
    [
        (100, 120, 4, 0.0, 600),  # more pictures than features
        (60, 80, 30, 1.0, 400),
        (24, 30, 60, 0.0, 400),  # fewer, and all features vary alike
        (30, 50, 200, 1.0, 400),  # fewer, as features of networks are
    ],
)
def test_intervals_cover_the_mean_distance_of_such_sets(n, m, d, decay, repeats):
    covered, ratio = measured(list(pairs(n, m, d, decay, repeats)))
    assert 0.93 <= covered <= 0.995
    assert 0.95 <= ratio <= 1.45  # second-order terms make it too wide; most where d is about n


@pytest.mark.slow
def test_intervals_cover_at_the_size_of_a_study():
    """100 edited and 200 real pictures of 1,280 features, 200 times; ten seconds, more on a busy core."""
    covered, ratio = measured(list(pairs(100, 200, 1280, 1.0, 200)))
    assert 0.93 <= covered <= 0.99
    assert 0.95 <= ratio <= 1.3


def test_percentiles_of_a_bootstrap_would_miss():
    """Why the intervals are not those: repeated pictures lower the rank, and every resample is farther apart."""
    hit = 0
    for a, b in pairs(24, 30, 60, 1.0, 20):
        random = np.random.default_rng(0)
        resampled = [
            _influences(a[random.integers(24, size=24)], b[random.integers(30, size=30)])[0] for _ in range(60)
        ]
        value = fid_interval(a, b).value
        hit += np.quantile(resampled, 0.025) <= value
    assert hit <= 2


def test_intervals_depend_on_no_order():
    a, b = drawn(1, 30, 50), drawn(2, 40, 50, 1.2)
    one, other = fid_interval(a, b), fid_interval(a[::-1], b[np.random.default_rng(0).permutation(40)])
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)
    turned = fid_interval(b, a)
    assert (one.low, one.high) == pytest.approx((turned.low, turned.high), rel=1e-9)
    assert fid_interval(a, b, level=0.5).high < one.high
    alone = fid_interval(a[:2], b)
    assert np.isfinite([alone.low, alone.high]).all()


def test_differences_cover_the_mean_difference():
    """An edit that moves all pictures by about the same; negative control: intervals a third as wide do not."""
    found = []
    for a, b in pairs(40, 60, 100, 1.0, 300):
        random = np.random.default_rng([3, len(found)])
        found.append(fid_difference(a + 0.1 + 0.1 * random.normal(size=a.shape[1]) * np.abs(a), a, b))
    values = np.array([one.value for one in found])
    reach = np.array([one.high - one.value for one in found])
    off = np.abs(values - values.mean())
    assert 0.92 <= (off <= reach).mean() <= 0.99
    assert (off <= reach / 3).mean() < 0.8


def test_differences_are_paired():
    target, original = drawn(1, 150, 6), drawn(2, 100, 6, 1.1)
    same = fid_difference(original, original, target)
    assert same.value == same.low == same.high == 0 and not same.shows_difference
    edited = original + 0.3
    found = fid_difference(edited, original, target)
    assert found.value == pytest.approx(fid(edited, target) - fid(original, target), rel=1e-9)
    assert found.shows_difference
    loose = fid_interval(edited, target)
    assert found.high - found.low < loose.high - loose.low
    wide = drawn(3, 40, 90)
    assert fid_difference(wide + 0.1, wide, drawn(4, 30, 90)).value == pytest.approx(
        by_scipy(wide + 0.1, drawn(4, 30, 90)) - by_scipy(wide, drawn(4, 30, 90)), rel=1e-3
    )


def test_mistakes():
    a = drawn(1, 20, 4)
    for wrong, message in (
        ((["a", "b"], a), "list; they must be numbers"),
        ((a[:, :0], a[:, :0]), "one row a picture"),
        ((a, drawn(1, 20, 5)), "two networks"),
        ((a[:1], a), "two pictures"),
        ((a[0], a), "one row a picture"),
        ((a * np.nan, a), "not finite"),
    ):
        for function in (fid, fid_interval):
            with pytest.raises(LatentEditError, match=message) as caught:
                function(*wrong)
            assert "\n" not in str(caught.value)
    with pytest.raises(LatentEditError, match="same pictures"):
        fid_difference(a[:3], a, a)
    with pytest.raises(LatentEditError, match="shapes"):
        frechet(np.zeros(3), np.eye(3), np.zeros(3), np.eye(2))
    with pytest.raises(LatentEditError, match="got 0"):
        _ = FrechetStatistics().mean
    statistics = FrechetStatistics()
    statistics.update(a)
    with pytest.raises(LatentEditError, match="cannot join"):
        statistics.update(drawn(1, 3, 5))
    with pytest.raises(LatentEditError, match="not finite"):
        statistics.update(a * np.inf)
    with pytest.raises(LatentEditError, match="two networks"):
        statistics.distance(statistics_of(drawn(1, 9, 3)))
    with pytest.raises(LatentEditError, match="got 1"):
        statistics.distance(statistics_of(a[:1]))
    assert statistics.count == 20 and np.allclose(statistics.mean, a.mean(0))  # what was refused left no trace
    half = torch.from_numpy(a).bfloat16()
    assert fid(half, a) == fid(half.double(), a)


def test_pictures_that_share_a_content_tell_as_much_as_the_content():
    """Every picture five times: the intervals are those of the pictures alone, not of five times as many."""
    random = np.random.default_rng(2)
    a, b = random.normal(size=(80, 6)), random.normal(size=(2000, 6)) + 0.5
    edited = a + random.normal(size=a.shape) * 0.3 + 0.2
    five, groups = np.repeat(a, 5, 0), np.repeat(np.arange(80), 5)

    def width(one):
        return one.high - one.low

    assert width(fid_interval(five, b, groups=groups)) == pytest.approx(width(fid_interval(a, b)), rel=0.05)
    assert width(fid_interval(five, b)) < 0.6 * width(fid_interval(a, b))
    difference = fid_difference(np.repeat(edited, 5, 0), five, b, groups=groups)
    assert width(difference) == pytest.approx(width(fid_difference(edited, a, b)), rel=0.05)
    assert np.isnan(fid_interval(five, b, groups=np.zeros(400)).low)  # one content says nothing of others
