"""Naturalness and the gap: against scikit-learn, on Gaussians whose answer is known, and where nothing can be said."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

from latentedit.errors import LatentEditError
from latentedit.metrics.carriers import OwnPictures
from latentedit.metrics.intervals import ratio_of_means
from latentedit.metrics.naturalness import (
    Seen,
    clipped_density,
    densities,
    gap,
    matched_density,
    measure_naturalness,
    mmd,
    radii,
)
from latentedit.metrics.naturalness import squared_distances as squared

D = 6
random = np.random.default_rng


def own(carriers, scores=None, groups=None):
    """Carriers (n, D) of the tag "a"; by default their two other tags are all alike."""
    given = np.full((len(carriers), 3), 0.9) if scores is None else scores
    return OwnPictures(
        ("a",), ("a", "b", "c"), np.full(3, 0.5), np.float32(given), np.arange(len(carriers)),
        {"x": np.float32(carriers)}, groups,
    )  # fmt: skip


def seen(edited, unedited=None, scores=None, groups=None):
    given = np.full((len(edited), 3), 0.9) if scores is None else scores
    return Seen({"x": edited}, {"x": edited if unedited is None else unedited}, given, groups)


def ratio(edited, carriers, n_boot=300):
    """Naturalness alone, which is quicker."""
    return ratio_of_means(*densities((squared(edited, carriers), squared(carriers, carriers))), n_boot=n_boot)


def measured(edited, carriers, **rest):
    return measure_naturalness(seen(edited, **rest), own(carriers), "a", n_boot=500)["x"]


CARRIERS = random(0).normal(size=(600, D))


# ---- density


def test_density_is_what_scikit_learn_counts():
    reference, pictures = random(1).normal(size=(90, D)), random(2).normal(size=(40, D))
    reach = NearestNeighbors(n_neighbors=6).fit(reference).kneighbors(reference)[0][:, -1]
    reach = np.minimum(reach, np.median(reach))
    apart = np.linalg.norm(pictures[:, None] - reference, axis=2)
    expected = np.minimum((apart <= reach).sum(1) / 5, 1)
    assert np.allclose(clipped_density(pictures, reference), expected) and 0 < expected.mean() < 1
    unclipped = np.minimum(
        (apart <= NearestNeighbors(n_neighbors=6).fit(reference).kneighbors()[0][:, 4]).sum(1) / 5, 1
    )
    assert not np.allclose(unclipped, expected)
    far = reference + 1e6
    assert np.allclose(clipped_density(pictures + 1e6, far), expected)  # digits are not lost far from the origin


def test_the_same_distribution_is_natural_and_a_moved_one_is_not():
    same = measured(random(3).normal(size=(300, D)), CARRIERS)
    assert same.natural.low < 1 < same.natural.high and same.natural.high - same.natural.low < 0.3
    assert same.natural_matched.low < 1 < same.natural_matched.high
    assert (same.reference, len(same.fresh)) == (400, 600)
    moved = [ratio(random(3).normal(size=(300, D)) + by, CARRIERS).value for by in (0, 0.5, 1, 2)]
    assert moved == sorted(moved, reverse=True) and moved[2] < 0.5 and moved[3] < 0.05


def test_outliers_of_the_reference_welcome_nothing():
    wild = np.concatenate([CARRIERS[:570], random(4).normal(size=(30, D)) * 40])[random(4).permutation(600)]
    edited = random(5).normal(size=(200, D)) + 6
    assert ratio(edited, wild).value < 0.01


def test_the_figure_does_not_depend_on_how_many_pictures_there_are():
    pictures = random(6).normal(size=(40 + 300, D)) + 0.4
    few, many = (ratio(some, CARRIERS) for some in (pictures[:40], pictures[40:]))
    assert few.low < many.value < few.high and many.high < 1
    assert many.high - many.low < (few.high - few.low) * 0.8
    blocks = [ratio(some, CARRIERS, 2).value for some in pictures[40:].reshape(15, 20, D)]
    assert np.mean(blocks) == pytest.approx(many.value, abs=1e-9)  # nor is it biased with few


def test_each_third_of_the_carriers_is_fresh_once():
    carriers, pictures = random(7).normal(size=(90, D)), random(8).normal(size=(20, D))
    edited, fresh = densities((squared(pictures, carriers), squared(carriers, carriers)))
    thirds = [np.arange(30 * i, 30 * i + 30) for i in range(3)]
    rest = [np.delete(carriers, third, 0) for third in thirds]
    assert np.allclose(edited, np.mean([clipped_density(pictures, reference) for reference in rest], 0))
    assert np.allclose(fresh[thirds[1]], clipped_density(carriers[thirds[1]], rest[1]))


def test_the_interval_covers_the_answer():
    """Each time with other edited pictures and other carriers; the truth is that of very many of both."""
    found = [ratio(random(i).normal(size=(60, D)) + 0.3, random(9000 + i).normal(size=(150, D))) for i in range(120)]
    truth = np.mean([one.value for one in found])
    assert 0.89 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_the_worst_picture_is_named():
    edited = random(10).normal(size=(50, D)) * 0.2
    edited[17] += 30
    found = measured(edited, CARRIERS)
    assert found.worst(1).tolist() == [17] and found.density[17] == 0 and np.delete(found.density, 17).min() > 0


# ---- matched


def test_matched_does_not_charge_for_what_the_edit_rightly_keeps():
    """One carrier in ten is of a kind that lies elsewhere; the edit keeps all its faces of that kind."""
    rare = np.arange(600) % 10 == 0
    carriers = random(11).normal(size=(600, D)) + 8 * rare[:, None]
    scores = np.where(rare[:, None], [0.9, 0.95, 0.1], [0.9, 0.05, 0.1])
    kept = random(12).normal(size=(200, D)) + 8
    one = measure_naturalness(seen(kept, scores=np.tile([0.9, 0.95, 0.1], (200, 1))), own(carriers, scores), "a")["x"]
    assert one.natural.high < 0.5 and one.natural_matched.value > 2 * one.natural.value
    wrong = random(12).normal(size=(200, D))  # pictures of the common kind whose tags say the rare one
    apart = squared(wrong, carriers[:400]), squared(np.tile([0.95], (200, 1)), scores[:400, 1:2])
    density = matched_density(apart[0], squared(carriers[:400], carriers[:400]), apart[1], count=40)
    assert density.max() == 0  # nothing of their kind is where they are


def test_matched_among_all_is_unmatched():
    reference, pictures = random(13).normal(size=(80, D)), random(14).normal(size=(30, D))
    to, among = squared(pictures, reference), squared(reference, reference)
    whole = matched_density(to, among, random(0).random((30, 80)), count=80)
    assert np.allclose(whole, clipped_density(pictures, reference))
    assert (radii(among) <= np.median(np.sort(among, 1)[:, 5]) + 1e-12).all()


# ---- gap


def test_mmd_is_the_unbiased_statistic():
    x, y, width = random(15).normal(size=(12, 3)), random(16).normal(size=(15, 3)) + 0.3, 1.7
    kernel = rbf_kernel(np.concatenate([x, y]), gamma=1 / (2 * width**2))
    n, m = 12, 15
    pairs = sum(kernel[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    pairs += sum(kernel[n + i, n + j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    found = mmd(x, y, bandwidth=width)
    assert found.value == pytest.approx(pairs - 2 * kernel[:n, n:].mean(), abs=1e-12)
    groups = np.arange(12) // 3
    left = mmd(x, y, bandwidth=width, x_groups=groups)
    for g in range(4):
        assert left.without_x[g] == pytest.approx(mmd(x[groups != g], y, bandwidth=width).value, abs=1e-12)
    assert found.without_y[4] == pytest.approx(mmd(x, np.delete(y, 4, 0), bandwidth=width).value, abs=1e-12)


def test_of_one_distribution_it_is_zero_on_average_and_its_error_is_right():
    same = [
        mmd(random(i).normal(size=(25, 2)), random(10_000 + i).normal(size=(35, 2)), bandwidth=2) for i in range(300)
    ]
    values = np.array([one.value for one in same])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(300) and (values < 0).mean() > 0.3
    apart = [
        mmd(random(i).normal(size=(25, 2)) + 1, random(10_000 + i).normal(size=(35, 2)), bandwidth=2)
        for i in range(300)
    ]
    spread = np.std([one.value for one in apart])
    assert np.mean([one.error for one in apart]) == pytest.approx(spread, rel=0.15)


def test_the_gap_is_0_as_its_own_and_1_unedited():
    faces = random(17).normal(size=(150, D)) - 1.5 * (np.arange(D) == 0)
    few, step, moves = CARRIERS[:200], np.arange(D) == 0, {0: 1.5, 1: 0, 2: -1.5}
    found = {kind: measured(faces + by * step, few, unedited=faces).gap for kind, by in moves.items()}
    assert abs(found[0].value) < 0.1 and found[0].low < 0 < found[0].high
    assert found[1].value == pytest.approx(1) and found[1].low == pytest.approx(1)  # paired: no interval is left
    assert found[2].low > 2
    nearly = measured(faces, few, unedited=random(18).normal(size=(150, D))).gap
    assert np.isnan([nearly.value, nearly.low, nearly.high]).all()  # unedited is not surely apart


def test_the_gaps_interval_covers():
    hits, truth = [], None
    step = np.arange(D) == 0
    big = random(19).normal(size=(700, D))
    bandwidth = np.sqrt(2 * stats.chi2.median(D))
    a, b = (mmd(big - by * step, random(20).normal(size=(700, D)), bandwidth=bandwidth) for by in (0.7, 1.5))
    truth = a.value / b.value
    for i in range(60):
        x, y = random(500 + i).normal(size=(50, D)), random(5000 + i).normal(size=(90, D))
        one = gap(*(mmd(x - by * step, y, bandwidth=bandwidth) for by in (0.7, 1.5)))
        hits.append(one.low <= truth <= one.high)
    assert np.mean(hits) >= 0.9


# ---- little or nothing


def test_with_few_carriers_less_is_said_and_below_60_nothing():
    two_thirds = measured(random(21).normal(size=(50, D)), CARRIERS[:150])
    assert (two_thirds.reference, len(two_thirds.fresh)) == (100, 150) and not len(two_thirds.matched)
    assert np.isfinite(two_thirds.natural.value) and np.isnan(two_thirds.natural_matched.value)
    least = measured(random(21).normal(size=(50, D)), CARRIERS[:60])
    assert (least.reference, len(least.fresh)) == (40, 60)
    nothing = measured(random(21).normal(size=(50, D)), CARRIERS[:59])
    assert nothing.reference == 0 and np.isnan([nothing.natural.value, nothing.gap.value]).all()
    assert "59 of 59 own pictures carry it, and naturalness needs 60" in own(CARRIERS[:59]).note("a")
    assert "over 60 carriers among 60 own pictures, of 600 wanted" in own(CARRIERS[:60]).note("a")
    assert own(CARRIERS).note("a") == ""
    nobody = measured(np.zeros((0, D)), CARRIERS)
    assert np.isnan(nobody.natural.value) and nobody.reference == 0
    with pytest.raises(LatentEditError, match="drawn of a, not of 'b'"):
        measure_naturalness(seen(CARRIERS[:5]), own(CARRIERS), "b")


def test_pictures_that_share_contents_tell_less():
    groups = np.arange(120) % 12
    edited = random(22).normal(size=(120, D)) + 1.2 * random(23).normal(size=(12, D))[groups]
    alone, together = (measured(edited, CARRIERS[:200], groups=one) for one in (None, groups))
    width = [one.natural.high - one.natural.low for one in (alone, together)]
    assert together.natural.value == alone.natural.value and width[1] > 1.2 * width[0]
    assert alone.numbers()["natural"] == alone.natural and alone.numbers()["carriers"] == 200
