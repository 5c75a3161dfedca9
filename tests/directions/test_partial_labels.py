"""Labels that some rows lack: finders against scikit-learn and numpy on the rows that have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso as SklearnLasso
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from latentedit.directions import SVD, Lasso, Linear, match_by_correlation
from latentedit.directions.direction import Direction
from latentedit.directions.moments import FOLDS, Moments, fold_of

D, N = 12, 20_000
TAGS = ("whole", "half", "tenth")


def rows(n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes off the origin, what is true of them, and labels of which one tag lacks half and another nine in ten."""
    random = np.random.default_rng(0)
    x = random.standard_normal((n, D)) @ (random.standard_normal((D, D)) / 8 + np.eye(D)) + 2
    noise = random.standard_normal((n, 3))
    truth = ((x - 2) @ random.standard_normal((D, 3)) + 2 * noise > 1).astype(float)
    labels = truth.copy()
    labels[random.random(n) < 0.5, 1] = np.nan
    labels[random.random(n) < 0.9, 2] = np.nan
    return x, truth, labels


def moments_of(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Moments:
    moments = Moments(x.shape[1], TAGS[: y.shape[1]], generator_id="toy:1")
    moments.update(x, y, groups=np.arange(len(x)) if groups is None else groups)
    return moments


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def by_regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return LinearRegression().fit(x, y).coef_


def by_lasso(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return SklearnLasso(alpha=0.01, tol=1e-8, max_iter=10_000).fit(x, y).coef_


def by_svd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    carrying = x[y == 1]
    v = np.linalg.svd(carrying, full_matrices=False)[2][0]
    return v * np.sign(v @ (carrying.mean(0) - x.mean(0)))


@pytest.mark.parametrize(
    ("finder", "reference", "least"),
    [(Linear(), by_regression, 0.99), (Lasso(alpha=0.01), by_lasso, 0.99), (SVD(), by_svd, 0.9999)],
)
def test_directions_are_scikit_learns_on_the_rows_that_have_the_label(
    finder: Linear | Lasso | SVD, reference: Callable[[np.ndarray, np.ndarray], np.ndarray], least: float
) -> None:
    x, truth, labels = rows()
    found = finder.fit(moments_of(x, labels))
    assert [d.tag for d in found] == list(TAGS)
    assert [d.params.get("labelled_rows") for d in found] == [None, *(~np.isnan(labels[:, 1:])).sum(0).tolist()]
    for j, direction in enumerate(found):
        known = ~np.isnan(labels[:, j])
        v = direction.vector.double().numpy()
        assert cosine(v, reference(x[known], labels[known, j])) > (1 - 1e-9 if known.all() else least), direction.tag
        assert direction.sigma == pytest.approx(float((x @ v).std()), rel=1e-6)  # of all codes
        assert direction.support == int((labels[:, j] == 1).sum())
    if not isinstance(finder, SVD):  # the negative control: a missing label is not "no"
        wrong = reference(x, np.nan_to_num(labels[:, 2]))
        v = found[2].vector.double().numpy() * found[2].coefficient_norm
        right = reference(x, truth[:, 2])
        assert np.linalg.norm(v - right) < 0.25 * np.linalg.norm(wrong - right)


def test_a_tag_that_all_rows_have_is_found_as_if_it_were_alone() -> None:
    x, truth, labels = rows(2000)
    alone, among = moments_of(x, truth[:, :1]), moments_of(x, labels)
    for finder in (Linear(), Lasso(), SVD(), SVD(centred=True)):
        a, b = finder.fit(alone)[0], finder.fit(among, tags=["whole"])[0]
        np.testing.assert_allclose(a.vector.numpy(), b.vector.numpy(), atol=1e-6)
        assert a.score == pytest.approx(b.score, abs=1e-9) and a.params == pytest.approx(b.params)


@pytest.mark.parametrize("finder", [Linear(), Lasso()])
def test_held_out_scores_are_those_of_the_labelled_rows(finder: Linear | Lasso) -> None:
    x, _, labels = rows()
    found = finder.fit(moments_of(x, labels))
    folds = fold_of(np.arange(N))
    for j, direction in enumerate(found):
        known = ~np.isnan(labels[:, j])
        truth, guess = [], []
        for k in range(FOLDS):
            train, test = known & (folds != k), known & (folds == k)
            truth.append(labels[test, j])
            guess.append(LinearRegression().fit(x[train], labels[train, j]).predict(x[test]))
        expected = r2_score(np.concatenate(truth), np.concatenate(guess))
        assert direction.score == pytest.approx(expected, abs=0.01 if known.mean() > 0.3 else 0.03)


def test_components_are_matched_by_the_rows_that_have_the_label() -> None:
    x, _, labels = rows()
    components = [
        Direction(f"c{i}", torch.eye(D)[i], 1.0, "toy:1", finder="sefa", params={"eigenvalue": 1.0}) for i in range(D)
    ]
    for direction, j in zip(match_by_correlation(components, moments_of(x, labels)), range(3), strict=True):
        known = ~np.isnan(labels[:, j])
        expected = np.array([np.corrcoef(x[known, i], labels[known, j])[0, 1] for i in range(D)])
        assert direction.params["component"] == f"c{np.abs(expected).argmax()}"
        best = expected[np.abs(expected).argmax()]
        assert direction.params["correlation"] == pytest.approx(best, abs=1e-9 if known.all() else 0.02)
        assert direction.params.get("labelled_rows") == (None if known.all() else int(known.sum()))


@pytest.mark.parametrize("finder", [Linear(), Lasso(), SVD()])
def test_labels_in_one_fold_alone_have_no_score_and_a_direction_still(finder: Linear | Lasso | SVD) -> None:
    x, truth, _ = rows(3000)
    labels = truth[:, :2].copy()
    labels[fold_of(np.arange(3000)) != 2, 1] = np.nan
    whole, one = finder.fit(moments_of(x, labels))
    assert whole.score is not None and one.score is None
    assert np.isfinite(one.vector.numpy()).all() and one.params["labelled_rows"] == int((~np.isnan(labels[:, 1])).sum())


def test_a_tag_without_any_label_is_named_and_the_others_are_found() -> None:
    x, truth, _ = rows(500)
    labels = truth[:, :2].copy()
    labels[:, 1] = np.nan
    for finder in (Linear(), Lasso(), SVD()):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            with pytest.warns(UserWarning, match="no direction for half"):
                found = finder.fit(moments_of(x, labels))
        assert [d.tag for d in found] == ["whole"]
