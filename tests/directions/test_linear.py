"""Least squares from moments against numpy and scikit-learn on the rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from latentedit.directions import Linear
from latentedit.directions.moments import FOLDS, Moments, fold_of
from latentedit.errors import LatentEditError, UnknownNameError

D, TAGS = 20, ("long_hair", "smile", "hat")


def rows(n: int = 800, rank: int = D, offset: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((n, rank)) @ random.standard_normal((rank, D)) + offset
    score = (x - offset)[:, :3] / 3 + random.standard_normal((n, 3))
    return x, (score > 0.8).astype(float)


def fitted(x: np.ndarray, y: np.ndarray) -> Moments:
    moments = Moments(D, TAGS, generator_id="toy:1", tagger_id="t:1", layers=("a",), truncation=0.7)
    for start in range(0, len(x), 128):
        part = slice(start, start + 128)
        moments.update(x[part], y[part], groups=np.arange(len(x))[part])
    return moments


def test_coefficients_are_scikit_learns() -> None:
    x, y = rows()
    reference = LinearRegression().fit(x, y).coef_  # (t, d)
    for j, direction in enumerate(Linear().fit(fitted(x, y))):
        found = direction.vector.double().numpy() * direction.coefficient_norm
        np.testing.assert_allclose(found, reference[j], rtol=0, atol=1e-6 * np.abs(reference[j]).max())
        assert direction.sigma == pytest.approx((x @ direction.vector.double().numpy()).std(), rel=1e-6)
        assert direction.coefficient_norm == pytest.approx(np.linalg.norm(reference[j]), rel=1e-6)
        assert direction.tag == TAGS[j] and direction.support == y[:, j].sum() and direction.finder == "linear"
        assert (direction.generator_id, direction.tagger_id, direction.truncation) == ("toy:1", "t:1", 0.7)


@pytest.mark.parametrize("cutoff", [1e-6, 1e-2])
def test_collinear_codes_give_the_minimum_norm_answer_of_lstsq(cutoff: float) -> None:
    x, y = rows(rank=6)
    xc, yc = x - x.mean(0), y - y.mean(0)
    reference = np.linalg.lstsq(xc, yc, rcond=cutoff**0.5)[0]  # eigenvalues are squares of singular values
    for j, direction in enumerate(Linear(cutoff=cutoff).fit(fitted(x, y))):
        found = direction.vector.double().numpy() * direction.coefficient_norm
        np.testing.assert_allclose(found, reference[:, j], rtol=0, atol=1e-6 * np.abs(reference[:, j]).max())


def test_the_score_is_the_held_out_r2_of_the_rows() -> None:
    x, y = rows()
    folds = fold_of(np.arange(len(x)))
    rss, tss = np.zeros(3), np.zeros(3)
    for k in range(FOLDS):
        train, test = folds != k, folds == k
        rss += np.square(y[test] - LinearRegression().fit(x[train], y[train]).predict(x[test])).sum(0)
        tss += np.square(y[test] - y[train].mean(0)).sum(0)
    np.testing.assert_allclose([d.score for d in Linear().fit(fitted(x, y))], 1 - rss / tss, rtol=1e-8)


def test_noise_scores_nothing() -> None:
    x, y = rows()
    shuffled = np.random.default_rng(1).permutation(y)  # the negative control of the score
    assert max(d.score or 0 for d in Linear().fit(fitted(x, shuffled))) < 0.02 < Linear().fit(fitted(x, y))[0].score


def test_positive_means_towards_the_tag() -> None:
    x, y = rows()
    for j, direction in enumerate(Linear().fit(fitted(x, y))):
        projection = x @ direction.vector.double().numpy()
        assert projection[y[:, j] == 1].mean() > projection[y[:, j] == 0].mean()


def test_tags_without_variation_are_left_out_with_a_warning() -> None:
    x, y = rows()
    y[:, 1] = 1
    with pytest.warns(UserWarning, match="no direction for smile"):
        found = Linear().fit(fitted(x, y))
    assert [d.tag for d in found] == ["long_hair", "hat"]


def test_some_tags_in_the_asked_order() -> None:
    moments = fitted(*rows())
    assert [d.tag for d in Linear().fit(moments, tags=["hat", "long_hair"])] == ["hat", "long_hair"]
    with pytest.raises(UnknownNameError):
        Linear().fit(moments, tags=["hats"])
    with pytest.raises(LatentEditError, match="cutoff"):
        Linear(cutoff=2).fit(moments)
    with pytest.raises(LatentEditError, match="no rows"):
        Linear().fit(Moments(D, TAGS, generator_id="toy:1"))


def test_one_group_has_no_score() -> None:
    x, y = rows()
    moments = Moments(D, TAGS, generator_id="toy:1")
    moments.update(x, y, groups=np.zeros(len(x), int))
    assert [d.score for d in Linear().fit(moments)] == [None] * 3
