"""Lasso: a sparse regression of the tag's target on the code.

Minimises scikit-learn's objective on centred rows (Tibshirani, "Regression Shrinkage and Selection via the
Lasso", 1996)::

    1/(2n) |y - X b|^2 + alpha |b|_1

Only ``X^T X`` and ``X^T y`` matter to b, so scikit-learn's own coordinate descent runs on d *virtual rows*
that have these same sums, whatever n is: with ``X^T X = U diag(l) U^T``,

    A = sqrt(d/n) U diag(sqrt(l)) U^T       z = sqrt(d/n) U diag(1/sqrt(l)) U^T X^T y

give ``A^T A / d = X^T X / n`` and ``A^T z / d = X^T y / n``; the objective differs by a constant, alpha is
the same.

**alpha="auto"**: of ``alphas`` values, log-spaced from alpha_max (the smallest one that leaves no coefficient)
down to 1e-3 of it, the one with the highest held-out R2 over the folds, per tag. The path stops early once R2 has
fallen for ``PATIENCE`` values. alpha_max itself is never chosen. Without two folds alpha is 0.03 alpha_max.

**A fixed alpha** that leaves no coefficient of a tag is divided by 10 until it is below that tag's alpha_max;
``params["alpha"]`` of a direction is the value that was used.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from latentedit.directions.direction import Direction
from latentedit.directions.finder import make_directions, varies
from latentedit.directions.held_out import HeldOut, correlation, residuals
from latentedit.directions.moments import Moments
from latentedit.directions.statistics import Array, Statistics
from latentedit.errors import LatentEditError

SMALLEST = 1e-3
"""Smallest alpha tried, as a share of alpha_max."""
FALLBACK = 0.03
"""Alpha as a share of alpha_max where nothing can be held out."""
PATIENCE = 5
CHUNK = 5
PATH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Lasso:
    """Directions by Lasso.

    Attributes:
        alpha: weight of the penalty, in scikit-learn's scaling; "auto" chooses it per tag by held-out folds.
        alphas: number of values that "auto" tries.
        tol: of scikit-learn's solver, for the final coefficients.
        max_iter: of scikit-learn's solver.
    """

    alpha: float | Literal["auto"] = "auto"
    alphas: int = 30
    tol: float = 1e-6
    max_iter: int = 10_000

    name: ClassVar[str] = "lasso"
    needs: ClassVar[str] = "moments"

    def fit(self, source: Moments, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """One direction per tag of the moments, or of ``tags``.

        Raises:
            UnknownNameError: not a tag of the moments.
            LatentEditError: a bad hyperparameter, or no rows.
        """
        if self.alpha != "auto" and not (isinstance(self.alpha, (int, float)) and 0 < self.alpha < np.inf):
            raise LatentEditError(f"alpha is {self.alpha!r}; give a number above 0, or 'auto'")
        if self.alphas < 2:
            raise LatentEditError(f"alphas is {self.alphas}; give at least 2")
        columns = source.columns(tags)
        if not source.count:
            raise LatentEditError("these moments hold no rows; add some with update()")
        whole = Virtual(source.whole)
        folds = [(Virtual(source.train_without(k)), source.fold(k)) for k in source.usable_folds]
        coefficients, changes = np.zeros((source.dim, len(source.tags))), varies(source.whole)
        r2, correlations = np.full(len(source.tags), np.nan), np.zeros((max(len(folds), 2), len(source.tags)))
        params: list[dict[str, object]] = [{}] * len(source.tags)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for j in columns:
                largest = float(np.abs(whole.c_xy[:, j]).max() / whole.count)
                if not (largest > 0 and changes[j]):
                    continue
                usable = [k for k, (train, test) in enumerate(folds) if train.labels(j) and test.count_y[j]]
                correlations[:, j] = np.nan
                alpha, r2[j], correlations[usable, j] = self._choose(j, largest, [folds[k] for k in usable])
                path = alpha * np.geomspace(max(largest / alpha, 1), 1, 6)
                coefficients[:, j] = whole.path(j, np.unique(path)[::-1], tol=self.tol, max_iter=self.max_iter)[:, -1]
                nonzero = int(np.count_nonzero(coefficients[:, j]))
                params[j] = {"alpha": alpha, "alpha_was": self.alpha, "alpha_max": largest, "nonzero": nonzero}
        _pass_on(caught)
        scores = HeldOut.of(r2, correlations)
        return make_directions(source, coefficients, finder=self.name, params=params, scores=scores, tags=tags)

    def _choose(
        self, j: int, largest: float, folds: list[tuple[Virtual, Statistics]]
    ) -> tuple[float, float, Array | float]:
        """Alpha of tag j, its held-out R2 and its correlation on each fold; NaN without folds."""
        if self.alpha != "auto":
            alpha = float(self.alpha)
            while alpha >= largest:
                alpha /= 10
            grid = np.array([largest, alpha])
        elif folds:
            grid = largest * np.geomspace(1, SMALLEST, self.alphas)
        else:
            return FALLBACK * largest, float("nan"), float("nan")
        if not folds:
            return float(grid[-1]), float("nan"), float("nan")
        r2, correlations = held_out_path(folds, j, grid, max_iter=self.max_iter)  # (tried,), (folds, tried)
        best = int(r2[1:].argmax()) + 1 if self.alpha == "auto" else len(grid) - 1
        return float(grid[best]), float(r2[best]), correlations[:, best]


class Virtual:
    """d rows with the Gram matrix and X^T y of many; see the module's docstring.

    Args:
        s: statistics of the real rows.
    """

    def __init__(self, s: Statistics) -> None:
        self.count, self.c_xy, self.statistics = s.count, s.full_xy, s
        self.rows, self.targets = virtual_rows(s.c_xx, self.c_xy, s.count)
        self.gram = np.ascontiguousarray(s.c_xx * (len(s.c_xx) / s.count))

    def labels(self, j: int) -> int:
        """Rows whose target j is known."""
        return int(self.statistics.count_y[j])

    def path(self, j: int, alphas: Array, *, tol: float, max_iter: int, start: Array | None = None) -> Array:
        """Coefficients (d, alphas) of target j by scikit-learn; alphas fall, each solution starts the next."""
        from sklearn.linear_model import lasso_path

        scale = len(self.gram) / self.count
        found = lasso_path(
            self.rows, self.targets[:, j], alphas=alphas, precompute=self.gram, Xy=self.c_xy[:, j] * scale,
            coef_init=start, tol=tol, max_iter=max_iter,
        )  # fmt: skip
        return found[1]


def virtual_rows(c_xx: Array, c_xy: Array, n: int) -> tuple[Array, Array]:
    """Rows A (d, d) and targets z (d, t) with A^T A = (d/n) c_xx and A^T z = (d/n) c_xy, O(d^3)."""
    d = len(c_xx)
    values, u = np.linalg.eigh(c_xx)  # (d,) rising, (d, d)
    keep = values > d * np.finfo(np.float64).eps * max(values[-1], np.finfo(np.float64).tiny)
    u, root = u[:, keep], np.sqrt(values[keep])  # (d, r), (r,)
    a = np.sqrt(d / n) * (u * root) @ u.T
    z = np.sqrt(d / n) * u @ ((u.T @ c_xy) / root[:, None])
    return np.asfortranarray(a), np.asfortranarray(z)


def held_out_path(
    folds: Sequence[tuple[Virtual, Statistics]], j: int, alphas: Array, *, max_iter: int
) -> tuple[Array, Array]:
    """Held-out R2 (tried,) of target j for each falling alpha, and the correlations (folds, tried).

    Fewer are tried than ``alphas`` when R2 stops rising.
    """
    start: list[Array | None] = [None] * len(folds)
    r2, correlations = np.zeros(0), np.zeros((len(folds), 0))
    for first in range(0, len(alphas), CHUNK):
        chunk = alphas[first : first + CHUNK]
        rss, tss, r = np.zeros(len(chunk)), 0.0, np.zeros((len(folds), len(chunk)))
        for k, (train, test) in enumerate(folds):
            b = train.path(j, chunk, tol=PATH_TOLERANCE, max_iter=max_iter, start=start[k])  # (d, chunk)
            start[k] = b[:, -1]
            seen = _column(test, j, len(chunk))
            rss += residuals(b, _column(train.statistics, j, len(chunk)), seen)
            r[k] = correlation(b, seen)
            tss += float(residuals(np.zeros((len(b), 1)), _column(train.statistics, j, 1), _column(test, j, 1))[0])
        r2, correlations = np.concatenate([r2, 1 - rss / (tss or np.nan)]), np.hstack([correlations, r])
        if len(r2) - 1 - int(r2.argmax()) >= PATIENCE:
            break
    return r2, correlations


def _column(s: Statistics, j: int, times: int) -> Statistics:
    """Statistics of target j alone, repeated."""
    mean_y, c_yy, count_y = (np.repeat(values[j], times) for values in (s.mean_y, s.c_yy, s.count_y))
    c_xy, offset_x = (np.repeat(values[:, j : j + 1], times, 1) for values in (s.c_xy, s.offset_x))
    return Statistics(s.count, s.mean_x, s.c_xx, mean_y, c_xy, c_yy, count_y, offset_x)


def _pass_on(caught: Sequence[warnings.WarningMessage]) -> None:
    """One warning instead of one per alpha and fold."""
    unfinished = [w for w in caught if w.category.__name__ == "ConvergenceWarning"]
    for other in caught:
        if other not in unfinished:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if unfinished:
        warnings.warn(
            f"lasso: scikit-learn's solver stopped early {len(unfinished)} times; raise max_iter or alpha",
            stacklevel=3,
        )
