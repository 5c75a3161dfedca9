"""How well what was fitted does on rows that it was not fitted on, and whether that is more than chance.

For each fold a finder's prediction is fitted on the other folds and judged on it. Two numbers come of that::

    R2 = 1 - sum_k RSS_k / sum_k TSS_k        TSS_k about the mean of the other folds, so "no better than the mean" is 0
    r  = mean_k r_k                           r_k: correlation of prediction and target on fold k

R2 is the score of a direction; a regression of many numbers on few rows has one below 0 though its direction is right.
r is what says whether the direction moves the tag at all: predicted and true targets of fresh rows rise together. It is
above chance where its 95 % interval over the folds is above 0; the folds' fits share rows, so the variance of their
mean is ``(1 / K + 1 / (K - 1)) s^2`` (Nadeau & Bengio, "Inference for the Generalization Error", 2003, eq. 7), and the
interval is Student's of K - 1 degrees.

All of it comes from :class:`~latentedit.directions.statistics.Statistics`; no row is read twice. For the regressions
the coefficients are fitted again for each fold. For SVD and SeFa the direction comes from all rows and only the
line through its projection is held out, so their score is slightly optimistic with few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from latentedit.directions.moments import Moments
from latentedit.directions.statistics import Array, Statistics

CONFIDENCE = 0.95


class HeldOut(NamedTuple):
    """What folds that were held out say of each tag; NaN where they say nothing."""

    r2: Array
    """(t,) held-out R2."""
    correlation: Array
    """(t,) mean correlation of prediction and target."""
    low: Array
    """(t,) lower end of its 95 % interval."""

    @classmethod
    def of(cls, r2: Array, correlations: Array) -> HeldOut:
        """From R2 (t,) and the correlations of each fold (folds, t), NaN where a fold says nothing."""
        from scipy.stats import t as student

        there = ~np.isnan(correlations)
        k = there.sum(0)  # (t,)
        with np.errstate(divide="ignore", invalid="ignore"):  # one fold has no interval, none has no mean
            mean = np.where(there, correlations, 0).sum(0) / k
            variance = np.where(there, np.square(correlations - mean), 0).sum(0) / (k - 1)
            error = np.sqrt((1 / k + 1 / (k - 1)) * variance)  # (t,)
            return cls(r2, mean, mean - student.ppf((1 + CONFIDENCE) / 2, k - 1) * error)


def held_out(moments: Moments, fit: Callable[[Statistics], Array]) -> HeldOut | None:
    """What ``fit(train statistics) -> coefficients (d, t)`` does on held-out folds; None with fewer than two.

    A tag whose target never changes, or whose labels are all in one fold, scores NaN.
    """
    if not moments.usable_folds:
        return None
    rss, tss = np.zeros(len(moments.tags)), np.zeros(len(moments.tags))
    correlations = []
    for k in moments.usable_folds:
        train, test = moments.train_without(k), moments.fold(k)
        coefficients = fit(train)
        judged = (train.count_y > 0) & (test.count_y > 0)  # (t,)
        rss += judged * residuals(coefficients, train, test)
        tss += judged * residuals(np.zeros_like(train.c_xy), train, test)
        correlations.append(np.where(judged, correlation(coefficients, test), np.nan))
    return HeldOut.of(1 - rss / np.where(tss > 0, tss, np.nan), np.stack(correlations))


def residuals(coefficients: Array, train: Statistics, test: Statistics) -> Array:
    """Squared error (t,) on the test rows of ``y = mean_y + (x - mean_x) @ coefficients``, means of the train rows.

    Both are the rows whose target is known; where some are not, ``test.c_xx`` counts by the share that is.
    """
    b = coefficients  # (d, t)
    offset = (b * (test.offset_x - train.offset_x)).sum(0)  # (t,)
    shift = test.mean_y - train.mean_y - ((test.mean_x - train.mean_x) @ b + offset)  # (t,)
    scatter = test.c_yy - 2 * (b * test.c_xy).sum(0) + test.known * (b * (test.c_xx @ b)).sum(0)  # (t,)
    return np.maximum(scatter, 0) + test.count_y * shift**2


def correlation(coefficients: Array, s: Statistics) -> Array:
    """Correlation (t,) of ``x @ coefficients`` and y over some rows; 0 where one of them never changes."""
    b = coefficients  # (d, t)
    squares = s.known * (b * (s.c_xx @ b)).sum(0) * s.c_yy  # (t,)
    return (b * s.c_xy).sum(0) / np.sqrt(np.where(squares > 0, squares, np.inf))


def line_fit(v: Array, s: Statistics) -> Array:
    """Coefficients (d, t) of the best line through the projections on directions v (d, t)."""
    variance = (v * (s.c_xx @ v)).sum(0)  # (t,)
    slope = (v * s.full_xy).sum(0) / np.where(variance > 0, variance, np.inf)
    return v * slope


def projection_std(v: Array, s: Statistics) -> Array:
    """Standard deviation (t,) of the codes' projections on directions v (d, t): sqrt(v^T C v / n)."""
    return np.sqrt(np.maximum((v * (s.c_xx @ v)).sum(0), 0) / max(s.count, 1))
