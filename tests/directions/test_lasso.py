"""The Lasso from moments against scikit-learn's on the rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso as Reference
from sklearn.linear_model import LassoCV

from latentedit.directions import Lasso
from latentedit.directions.lasso import SMALLEST, virtual_rows
from latentedit.directions.moments import FOLDS, Moments, fold_of
from latentedit.errors import LatentEditError

D, TAGS = 24, ("long_hair", "smile", "hat")


def rows(n: int = 500, rank: int = D, offset: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((n, rank)) @ random.standard_normal((rank, D)) / 3 + offset
    score = (x - offset)[:, :3] / 2 + random.standard_normal((n, 3))
    return x, (score > 0.8).astype(float)


def fitted(x: np.ndarray, y: np.ndarray) -> Moments:
    moments = Moments(D, TAGS, generator_id="toy:1")
    moments.update(x, y, groups=np.arange(len(x)))
    return moments


def coefficients(direction) -> np.ndarray:  # type: ignore[no-untyped-def]
    return direction.vector.double().numpy() * direction.coefficient_norm


def alpha_max(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / len(x))


@pytest.mark.parametrize("rank", [D, 10])
def test_virtual_rows_have_the_moments_of_the_rows(rank: int) -> None:
    x, y = rows(rank=rank)
    xc, yc = x - x.mean(0), y - y.mean(0)
    a, z = virtual_rows(xc.T @ xc, xc.T @ yc, len(x))
    assert a.shape == (D, D) and z.shape == (D, 3)
    np.testing.assert_allclose(a.T @ a / D, xc.T @ xc / len(x), atol=1e-10)
    np.testing.assert_allclose(a.T @ z / D, xc.T @ yc / len(x), atol=1e-10)


@pytest.mark.parametrize("alpha", [0.1, 0.02, 0.003])
def test_a_fixed_alpha_gives_scikit_learns_coefficients(alpha: float) -> None:
    x, y = rows()
    found = Lasso(alpha=alpha, tol=1e-14, max_iter=100_000).fit(fitted(x, y))
    for j, direction in enumerate(found):
        assert alpha < alpha_max(x, y[:, j])
        reference = Reference(alpha=alpha, tol=1e-14, max_iter=100_000).fit(x, y[:, j]).coef_
        atol = 1e-6 * np.abs(reference).max()
        np.testing.assert_allclose(coefficients(direction), reference, rtol=0, atol=atol)
        assert direction.params["alpha"] == alpha
        assert direction.params["nonzero"] == np.count_nonzero(reference)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_auto_chooses_as_a_grid_search_on_the_rows_and_near_lassocv() -> None:
    x, y = rows()
    folds = fold_of(np.arange(len(x)))
    splits = [(folds != k, folds == k) for k in range(FOLDS)]
    for j, direction in enumerate(Lasso().fit(fitted(x, y))):
        grid = alpha_max(x, y[:, j]) * np.geomspace(1, SMALLEST, 30)
        rss, tss = np.zeros(30), 0.0
        for train, test in splits:
            for i, alpha in enumerate(grid):
                model = Reference(alpha=alpha).fit(x[train], y[train, j])
                rss[i] += np.square(y[test, j] - model.predict(x[test])).sum()
            tss += np.square(y[test, j] - y[train, j].mean()).sum()
        assert direction.params["alpha"] == pytest.approx(grid[rss.argmin()])
        assert direction.score == pytest.approx(1 - rss.min() / tss, abs=1e-3)
        indices = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in splits]
        other = LassoCV(alphas=grid, cv=indices).fit(x, y[:, j]).alpha_
        assert abs(np.log10(other / direction.params["alpha"])) < 0.25  # LassoCV averages over folds of other sizes


def test_an_alpha_that_leaves_nothing_is_divided_by_ten() -> None:
    x, y = rows()
    assert not Reference(alpha=5.0).fit(x, y[:, 0]).coef_.any()
    for j, direction in enumerate(Lasso(alpha=5.0).fit(fitted(x, y))):
        used = direction.params["alpha"]
        assert used < alpha_max(x, y[:, j]) <= 10 * used and direction.params["nonzero"] > 0
        assert np.log10(5 / used) == pytest.approx(round(np.log10(5 / used)))


def test_noise_still_gives_finite_directions_that_score_nothing() -> None:
    x, y = rows()
    for direction in Lasso().fit(fitted(x, np.random.default_rng(1).permutation(y))):
        assert np.isfinite(coefficients(direction)).all() and direction.params["nonzero"] > 0
        assert direction.score < 0.02


def test_one_group_falls_back_to_a_share_of_alpha_max() -> None:
    x, y = rows()
    moments = Moments(D, TAGS, generator_id="toy:1")
    moments.update(x, y, groups=np.zeros(len(x), int))
    for direction in Lasso().fit(moments):
        assert direction.score is None
        assert direction.params["alpha"] == pytest.approx(0.03 * direction.params["alpha_max"])


def test_collinear_codes_and_constant_tags() -> None:
    x, y = rows(rank=6)
    y[:, 1] = 0
    with pytest.warns(UserWarning, match="no direction for smile"):
        found = Lasso().fit(fitted(x, y))
    assert [d.tag for d in found] == ["long_hair", "hat"]


def test_a_solver_that_stops_early_is_one_warning() -> None:
    with pytest.warns(UserWarning, match="stopped early") as caught:
        Lasso(max_iter=1).fit(fitted(*rows()))
    assert len(caught) == 1


@pytest.mark.parametrize(
    "bad", [{"alpha": 0}, {"alpha": -1.0}, {"alpha": "much"}, {"alpha": float("nan")}, {"alphas": 1}]
)
def test_bad_hyperparameters_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(LatentEditError, match="alpha"):
        Lasso(**bad).fit(fitted(*rows(50)))  # type: ignore[arg-type]
