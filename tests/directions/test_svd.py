"""The leading singular vector from moments against numpy's SVD of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.directions import SVD
from latentedit.directions.moments import FOLDS, Moments, fold_of

D, TAGS = 18, ("long_hair", "smile", "never")


def rows(n: int = 700) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((n, D)) @ random.standard_normal((D, D)) + 2 * random.standard_normal(D)
    y = np.stack([x[:, 0] > 3, x[:, 1] + random.standard_normal(n) > 0, np.zeros(n, bool)], 1)
    return x, y.astype(float)


def fitted(x: np.ndarray, y: np.ndarray) -> Moments:
    moments = Moments(D, TAGS, generator_id="toy:1")
    for start in range(0, len(x), 100):
        part = slice(start, start + 100)
        moments.update(x[part], y[part], groups=np.arange(len(x))[part])
    return moments


@pytest.mark.parametrize("centred", [False, True])
def test_the_direction_is_numpys_first_right_singular_vector(centred: bool) -> None:
    x, y = rows()
    with pytest.warns(UserWarning, match="no direction for never"):
        found = SVD(centred=centred).fit(fitted(x, y))
    assert [d.tag for d in found] == ["long_hair", "smile"]
    for j, direction in enumerate(found):
        tagged = x[y[:, j] == 1] - (x.mean(0) if centred else 0)
        reference = np.linalg.svd(tagged, full_matrices=False)[2][0]
        v = direction.vector.double().numpy()
        assert abs(v @ reference) / np.linalg.norm(v) > 1 - 1e-8
        projection = x @ v
        assert projection[y[:, j] == 1].mean() > projection[y[:, j] == 0].mean()
        assert direction.sigma == pytest.approx(projection.std(), rel=1e-6)
        assert direction.coefficient_norm == 1 and direction.params["centred"] is centred


def test_centring_matters() -> None:
    moments = fitted(*rows())
    with pytest.warns(UserWarning):
        plain, centred = (SVD(centred=c).fit(moments, tags=["smile", "never"]) for c in (False, True))
    assert abs(float(plain[0].vector @ centred[0].vector)) < 0.99


def test_the_score_is_the_held_out_r2_of_a_line_through_the_projection() -> None:
    x, y = rows()
    (direction,) = SVD().fit(fitted(x, y), tags=["smile"])
    p, t, folds = x @ direction.vector.double().numpy(), y[:, 1], fold_of(np.arange(len(x)))
    rss = tss = 0.0
    for k in range(FOLDS):
        train, test = folds != k, folds == k
        slope, intercept = np.polyfit(p[train], t[train], 1)
        rss += np.square(t[test] - slope * p[test] - intercept).sum()
        tss += np.square(t[test] - t[train].mean()).sum()
    assert direction.score == pytest.approx(1 - rss / tss, rel=1e-6)
