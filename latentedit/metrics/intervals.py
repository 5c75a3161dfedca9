"""Numbers with 95 % intervals: bootstraps over pictures.

What is compared is measured on the same pictures, so differences are resampled in pairs: the same draw of pictures
for both. All resampling is seeded; the same numbers give the same interval.

**Which interval.** The bias-corrected and accelerated percentiles (BCa) of Efron, "Better Bootstrap Confidence
Intervals" (1987): plain percentiles sit too low for skewed scores and for ratios such as selectivity. Their normal
quantile z is replaced by ``sqrt(n / (n - 1)) * t`` of n - 1 degrees of freedom, the expansion of Hesterberg, "What
Teachers Should Know about the Bootstrap" (2015), because a bootstrap of n pictures is too narrow by just that. Shares
of pictures have Wilson's score interval (1927), which does not shrink to nothing at 0 and 1, as every bootstrap does.

**Groups.** Pictures that share a content resemble each other, so that n of them tell less than n independent ones.
Where ``groups`` (n,) says which belong together, whole groups are resampled (Davison & Hinkley, "Bootstrap Methods and
their Application", 1997, section 3.8), left out by the jackknife, and counted for the quantiles; without it each
picture is a group of its own.

A statistic may be out of reach (NaN: not defined; infinite: beyond the range). An end of the interval is NaN when more
than 5 % of the resamples give NaN, or when it falls among the infinite ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from latentedit.errors import LatentEditError

LEVEL = 0.95
FEW_PICTURES = 20
_BYTES = 1 << 26  # of resampled means held at once
_SAME = 1e-12  # relative: means of the same numbers summed in another order

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def shows_difference(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __format__(self, spec: str) -> str:
        """The value and its interval, or that there is none: of one picture nothing can be said."""
        if np.isnan(self.low) and np.isnan(self.high):
            return f"{self.value:{spec}} [no interval]"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))
"""What is not known."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Numbers of one shape (...), and the ends of their intervals: three float64 arrays.

    ``estimates[i]`` or ``estimates[i, j]`` is one :class:`Estimate`.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __getitem__(self, place: int | tuple[int, ...]) -> Estimate:
        return Estimate(float(self.value[place]), float(self.low[place]), float(self.high[place]))


def few_pictures_note(pictures: int, contents: int | None = None) -> str:
    """What to say of an interval over so few pictures, or so few contents that pictures share; empty from 20 on."""
    count, noun = (pictures, "picture") if contents is None else (contents, "content")
    if count >= FEW_PICTURES:
        return ""
    counted = f"{count} {noun}" + ("" if count == 1 else "s")
    if count < 2:
        return f"over {counted} alone: too few for any interval"
    return f"over {counted} alone: read intervals of fewer than {FEW_PICTURES} as a rough guide"


def resampling(n: int, n_boot: int = 1000, *, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    """Weights (n_boot, n) float64 of bootstrap samples of n pictures; each row sums to 1. Not writeable.

    Args:
        n: pictures.
        n_boot: repetitions.
        seed: of the resampling.
        groups: (n,) which pictures are drawn together; None: each alone.

    Raises:
        LatentEditError: no pictures or no repetitions.
    """
    if n < 1 or n_boot < 1:
        raise LatentEditError(f"{n} pictures resampled {n_boot} times; an interval needs one or more of both")
    return _resampling(int(n), int(n_boot), int(seed), None if groups is None else numbered(groups)[0].tobytes())


@lru_cache(maxsize=4)  # the rows of a matrix, and every edit of a study, are resampled alike
def _resampling(n: int, n_boot: int, seed: int, groups: bytes | None) -> np.ndarray:
    random = np.random.default_rng(seed)
    if groups is None:
        weights: np.ndarray = random.multinomial(n, np.full(n, 1 / n), size=n_boot) / n
    else:
        place = np.frombuffer(groups, np.int64)  # (n,)
        g = int(place.max()) + 1
        drawn = random.multinomial(g, np.full(g, 1 / g), size=n_boot)[:, place]  # (n_boot, n)
        weights = drawn / drawn.sum(1, keepdims=True)
    weights.setflags(write=False)
    return weights


def numbered(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Groups (n,) as numbers from 0 on in the order of their names, int64, and how many there are."""
    names, place = np.unique(groups, return_inverse=True)
    return place.astype(np.int64).reshape(-1), len(names)


def in_turn(n: int, contents: int) -> np.ndarray | None:
    """Which of n pictures share a content, where they take so many contents in turn; None when all do, or none do."""
    return np.arange(n) % contents if 1 < contents < n else None


def group_sums(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Sums (g, ...) of values (n, ...) over groups (n,); the values themselves when there are none."""
    if groups is None:
        return values
    place, g = numbered(groups)
    sums = np.zeros((g, *values.shape[1:]), values.dtype)
    np.add.at(sums, place, values)
    return sums


def mean_interval(
    values: np.ndarray,
    *,
    n_boot: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of values (n, ...) over the pictures, and the ends of its interval: three float64 arrays (...).

    O(n_boot * n * columns); a block of columns at a time, so thousands of tags fit in memory. The ends are NaN of a
    single picture or group, and where a value is NaN.
    """
    flat = np.asarray(values).reshape(len(values), -1)  # (n, columns)
    n, columns = flat.shape
    weights = resampling(n, n_boot, seed=seed, groups=groups)
    independent = n if groups is None else numbered(groups)[1]
    found = np.empty((3, columns))
    block = max(1, _BYTES // (8 * n_boot))
    for start in range(0, columns, block):
        here = slice(start, start + block)
        x = flat[:, here].astype(float)
        mean = x.mean(0)
        found[0, here] = mean
        a = acceleration(group_sums(x - mean, groups))
        found[1:, here] = bca_ends(x.T @ weights.T, mean, a, n=independent, level=level)
    shape = np.shape(values)[1:]
    return found[0].reshape(shape), found[1].reshape(shape), found[2].reshape(shape)


def estimates(
    values: np.ndarray,
    statistic: Statistic,
    *,
    n_boot: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Estimates:
    """Functions of means over pictures, with their intervals.

    Args:
        values: (n, m), m numbers a picture.
        statistic: from means (b, m) to numbers (b, j); NaN where it is not defined, infinite beyond a range.
        n_boot: bootstrap repetitions.
        level: of the interval.
        seed: of the resampling.
        groups: (n,) which pictures are resampled together.

    Returns:
        (j,); what is infinite has become NaN.
    """
    table = np.asarray(values, float)
    n, mean = len(table), table.mean(0)
    sums = group_sums(table, groups)  # (g, m)
    sizes = np.ones(n) if groups is None else group_sums(np.ones(n), groups)  # (g,)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = statistic(mean[None])[0]  # (j,)
        replicates = statistic(resampling(n, n_boot, seed=seed, groups=groups) @ table)  # (n_boot, j)
        left_out = statistic((n * mean - sums) / np.maximum(n - sizes, 1)[:, None])  # (g, j), the jackknife
        ends = bca_ends(
            np.ascontiguousarray(replicates.T), value, acceleration(left_out.mean(0) - left_out), n=len(sums),
            level=level,
        )  # fmt: skip
    return Estimates(*(np.where(np.isfinite(found), found, np.nan) for found in (value, *ends)))


def estimate(
    values: np.ndarray,
    statistic: Statistic | None = None,
    *,
    n_boot: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Estimate:
    """A mean over pictures, or a function of such means, with its interval.

    Args:
        values: (n,) or (n, m), m numbers a picture.
        statistic: from means (..., m) to numbers (...), such as a ratio of two of them; None: the mean itself.
        n_boot: bootstrap repetitions.
        level: of the interval.
        seed: of the resampling.
        groups: (n,) which pictures are resampled together.
    """
    table = np.asarray(values, float).reshape(len(values), -1)  # (n, m)
    of = statistic or (lambda means: means[..., 0])
    return estimates(table, lambda means: of(means)[:, None], n_boot=n_boot, level=level, seed=seed, groups=groups)[0]


def ratio_of_means(
    top: np.ndarray,
    bottom: np.ndarray,
    *,
    n_boot: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    top_groups: np.ndarray | None = None,
    bottom_groups: np.ndarray | None = None,
) -> Estimate:
    """Mean of ``top`` (n,) over that of ``bottom`` (m,), two independent sets of pictures, each resampled by itself.

    NaN where there are none, or where the lower mean is 0.
    """
    if not len(top) or not len(bottom) or not np.mean(bottom):
        return NOTHING
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    over, under = top.mean(), bottom.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = (resampling(len(top), n_boot, seed=seed, groups=top_groups) @ top) / (
            resampling(len(bottom), n_boot, seed=seed + 1, groups=bottom_groups) @ bottom
        )
        parts = [group_sums((top - over) / max(over, _SAME) / len(top), top_groups)]
        parts.append(-group_sums((bottom - under) / under / len(bottom), bottom_groups))
        value = np.array([over / under])
        ends = bca_ends(
            np.where(np.isfinite(replicates), replicates, np.nan)[None], value,
            acceleration(np.concatenate(parts)[:, None]), n=min(map(len, parts)), level=level,
        )  # fmt: skip
    return Estimate(float(value[0]), float(ends[0][0]), float(ends[1][0]))


def difference_of_means(
    values: np.ndarray, first: np.ndarray, *, level: float = LEVEL, groups: np.ndarray | None = None
) -> Estimate:
    """Mean of the values (n,) where ``first`` (n,) bool holds, less the mean of the others; NaN when one set is empty.

    Plus and minus Student's quantile times the linearised standard error, for sets of hundreds and more.
    """
    values, first = np.asarray(values, float), np.asarray(first, bool)
    if first.all() or not first.any():
        return NOTHING
    a, b = values[first].mean(), values[~first].mean()
    influence = np.where(first, (values - a) / first.sum(), -(values - b) / (~first).sum())
    g = len(sums := group_sums(influence, groups))
    half = stdtrit(g - 1, (1 + level) / 2) * np.sqrt(g / (g - 1) * np.square(sums).sum()) if g > 1 else np.nan
    return Estimate(float(a - b), float(a - b - half), float(a - b + half))


def worst_mean(
    values: np.ndarray,
    share: float = 0.1,
    *,
    n_boot: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Mean of the largest ``share`` of values (n,), which may count the last of them in part."""
    order = np.argsort(-np.asarray(values, float), kind="stable")
    x, n = np.asarray(values, float)[order], len(order)

    def tail(weights: np.ndarray) -> np.ndarray:
        taken = np.clip(share - (np.cumsum(weights, 1) - weights), 0, weights)  # (b, n)
        mean: np.ndarray = taken @ x / share
        return mean

    value = tail(np.full((1, n), 1 / n))
    edge = x[min(n - 1, int(np.ceil(share * n)) - 1)]
    influence = np.maximum(x - edge, 0) / share + edge - value  # (n,)
    a = acceleration(group_sums(influence, None if groups is None else groups[order])[:, None])
    weights = resampling(n, n_boot, seed=seed, groups=groups)[:, order]
    independent = n if groups is None else numbered(groups)[1]
    low, high = bca_ends(tail(weights)[None], value, a, n=independent, level=level)
    return Estimate(float(value[0]), float(low[0]), float(high[0]))


def acceleration(influence: np.ndarray) -> np.ndarray:
    """BCa's acceleration (columns,) from each picture's influence (n, columns), as the jackknife has it.

    ``sum(d**3) / (6 * sum(d**2)**1.5)``, Efron (1987), equation 6.6; 0 where nothing varies or something is not finite.
    """
    square, cube = np.square(influence).sum(0), np.power(influence, 3).sum(0)
    found = np.zeros(len(square))
    np.divide(cube, 6 * square**1.5, out=found, where=np.isfinite(cube) & np.isfinite(square) & (square > 0))
    return np.where(np.isfinite(found), found, 0.0)


def bca_ends(
    replicates: np.ndarray, value: np.ndarray, a: np.ndarray, *, n: int, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the expanded BCa interval: two arrays (columns,).

    Args:
        replicates: (columns, n_boot) resampled statistics; sorted in place.
        value: (columns,) of the pictures themselves.
        a: (columns,) acceleration.
        n: pictures.
        level: of the interval.
    """
    tie = _SAME * np.where(np.isfinite(value), np.abs(value), 0)[:, None]
    count = (~np.isnan(replicates)).sum(1)  # (columns,)
    with np.errstate(invalid="ignore"):
        same = (replicates == value[:, None]) | (np.abs(replicates - value[:, None]) <= tie)
        below = ((replicates < value[:, None]) & ~same).sum(1) + same.sum(1) / 2
        bias = np.clip(ndtri(below / np.maximum(count, 1)), -1, 1)  # beyond one, all that shows is a lump
    replicates.sort(axis=1)  # what is infinite is last but for NaN
    z = np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2) if n > 1 else np.nan
    unknown = (count < level * replicates.shape[1]) | np.isnan(value) | (n < 2)
    ends = []
    for side in (-z, z):
        tail = ndtr(bias + (bias + side) / (1 - a * (bias + side)))
        end = _sorted_quantile(replicates, np.where(unknown, 0.5, tail), count)
        ends.append(np.where(unknown | ~np.isfinite(end), np.nan, end))
    return ends[0], ends[1]


def _sorted_quantile(rows: np.ndarray, share: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Quantile (r,) of the first ``count`` (r,) of sorted rows (r, b), each row at its own share; linear in between."""
    place = np.clip(share, 0, 1) * np.maximum(count - 1, 0)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    each = np.arange(len(rows))
    a, b = rows[each, lower], rows[each, upper]
    with np.errstate(invalid="ignore"):
        between = a + (place - lower) * (b - a)
    return np.where((a == b) | (place == lower), a, between)


def share_interval(carrying: np.ndarray, n: int, *, level: float = LEVEL) -> Estimates:
    """Shares (...) of n pictures, of which ``carrying`` (...) carry a tag, with Wilson's score interval (1927)."""
    p = np.asarray(carrying, float) / n if n else np.full(np.shape(carrying), np.nan)
    return _wilson(p, max(n, 1), level)


def share_of(hits: np.ndarray, *, level: float = LEVEL, groups: np.ndarray | None = None) -> Estimate:
    """Share of pictures that hit, (n,) bool, with Wilson's interval for as many as they are worth.

    In groups they are worth n over the design effect, the variance of the share over that of independent pictures
    (Kish, "Survey Sampling", 1965); one a group where all pictures are alike, which tells nothing of it.
    """
    n, p = float(len(hits)), float(np.mean(hits))
    if groups is not None:
        place, g = numbered(groups)
        sums = np.bincount(place, np.asarray(hits, float) - p, g)
        variance = g / max(g - 1, 1) * np.square(sums).sum() / n**2
        worth = p * (1 - p) / variance if variance and 0 < p < 1 else g
        n = min(n, max(worth, 1.0))
    return _wilson(np.array([p]), n, level)[0]


def _wilson(p: np.ndarray, n: float, level: float) -> Estimates:
    """Wilson's score interval of shares (...) of n pictures."""
    z = ndtri((1 + level) / 2)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Estimates(p, np.where(p == 0, 0.0, middle - half), np.where(p == 1, 1.0, middle + half))
