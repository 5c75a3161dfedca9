"""Naturalness: are edited pictures like the generator's own that carry the tag?

**Density.** A picture's Clipped Density (Salvy, Talbot & Thirion, "Enhanced Generative Model Evaluation with Clipped
Density and Coverage", 2025, arXiv:2507.01761) among reference pictures: each of these has a ball that reaches to its
5th nearest neighbour among them, cut at the median of all such radii, so that outliers do not welcome everything; the
number of balls that the picture lies in, over 5, cut at 1. Naturalness is the mean of edited pictures over that of
fresh carriers, which no ball was made from: 1 means as natural as the generator itself. It is a mean over pictures, so
that it does not depend on how many there are, and the worst can be shown. Each third of the carriers (200 of 600) is
fresh once, with the other two as the reference (400); a picture's density is the mean of the three.

**Matched.** An edit that rightly keeps the rest of a picture makes, say, a short-haired man with glasses long-haired;
few carriers look like that. So the same is measured among the quarter of the reference whose *other* tags, outside the
target's own group, are nearest to the picture's, by the Euclidean distance of the judge's scores: balls, median and
count are of that quarter alone, and fresh carriers are treated in the same way.

**Gap.** The unbiased squared maximum mean discrepancy (Gretton et al., "A Kernel Two-Sample Test", 2012, lemma 6) of
edited pictures to carriers over that of the same faces unedited: 0 as the generator's own, 1 no nearer to them than
without an edit. The kernel is Gaussian, its bandwidth the median distance among the carriers. Intervals by the
jackknife (a bootstrap repeats pictures, whose kernel is 1). It is not given where the unedited discrepancy is not three
standard errors above 0.

Not measured by a ratio of Fréchet distances, which grows with the number of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import stdtrit

from latentedit.metrics.carriers import OwnPictures
from latentedit.metrics.intervals import LEVEL, NOTHING, Estimate, numbered, ratio_of_means

NEIGHBOURS = 5
FOLDS = 3
FEWEST_MATCHED = 40
"""Carriers that a matched reference has at least; naturalness is matched from four times as many in it on."""
_SURE = 3.0  # standard errors


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (n, m) float64 of rows (n, f) and (m, f)."""
    middle = b.mean(0, dtype=float)  # digits are lost far from the origin
    a, b = a.astype(float) - middle, b.astype(float) - middle
    found: np.ndarray = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(found, 0)


def radii(among: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Squared radii (m,) of the reference's balls from its squared distances (m, m): the k-th neighbour, cut at the
    median."""
    reach = np.partition(among, k, axis=1)[:, k]  # the 0-th is the picture itself
    return np.minimum(reach, np.median(reach))


def clipped_density(pictures: np.ndarray, reference: np.ndarray, *, k: int = NEIGHBOURS) -> np.ndarray:
    """Clipped Density (n,) in [0, 1] of pictures (n, f) among a reference (m, f), m > k. O((n + m) m f)."""
    among, to = squared_distances(reference, reference), squared_distances(pictures, reference)
    return _density(to, radii(among, k), k)


def _density(to: np.ndarray, reach: np.ndarray, k: int) -> np.ndarray:
    density: np.ndarray = np.minimum((to <= reach).sum(1) / k, 1.0)
    return density


def matched_density(
    to: np.ndarray, among: np.ndarray, apart: np.ndarray, *, count: int, k: int = NEIGHBOURS
) -> np.ndarray:
    """Clipped Density (n,) of each picture among the ``count`` reference pictures that are nearest to it in tags.

    Args:
        to: (n, m) squared distances of features from pictures to the reference.
        among: (m, m) those within the reference.
        apart: (n, m) distances of other tags from pictures to the reference.
        count: of m, more than k.
        k: which neighbour a ball reaches to.
    """
    found = np.empty(len(to))
    for i, row in enumerate(to):
        near = np.argsort(apart[i], kind="stable")[:count]
        found[i] = _density(row[None, near], radii(among[np.ix_(near, near)], k), k)[0]
    return found


Distances = tuple[np.ndarray, np.ndarray]
"""Squared distances (n, c) from n pictures to c carriers, and (c, c) among these."""


def densities(features: Distances, tags: Distances | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Densities (n,) of pictures and (c,) of carriers, of which each third is fresh once, and the rest the reference.

    Args:
        features: distances of features.
        tags: distances of other tags, for densities among the quarter of the reference that is nearest in these.
    """
    n, c = features[0].shape
    edited, fresh = np.zeros(n), np.zeros(c)
    for fold in np.array_split(np.arange(c), FOLDS):  # in the order of seeds: contents come in turn, so all in each
        rest = np.delete(np.arange(c), fold)
        to, apart = (None if d is None else np.concatenate([d[0], d[1][fold]])[:, rest] for d in (features, tags))
        within = features[1][np.ix_(rest, rest)]
        assert to is not None
        if apart is None:
            found = _density(to, radii(within), NEIGHBOURS)
        else:
            found = matched_density(to, within, apart, count=len(rest) // 4)
        edited += found[:n] / FOLDS
        fresh[fold] = found[n:]
    return edited, fresh


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """An unbiased MMD², and what it is without each picture, or group of them, in turn.

    Attributes:
        value: MMD² of x and y; it may be negative.
        without_x, without_y: (g,) and (h,).
    """

    value: float
    without_x: np.ndarray
    without_y: np.ndarray

    @property
    def error(self) -> float:
        """Standard error by the jackknife over both sets."""
        return float(np.sqrt(_jackknife(self.without_x) + _jackknife(self.without_y)))


def _jackknife(without: np.ndarray) -> float:
    """Variance of a number from what it is without each of g parts."""
    g = len(without)
    return float((g - 1) / g * np.square(without - without.mean()).sum())


def mmd(
    x: np.ndarray,
    y: np.ndarray,
    *,
    bandwidth: float,
    x_groups: np.ndarray | None = None,
    y_groups: np.ndarray | None = None,
) -> Discrepancy:
    """Unbiased squared maximum mean discrepancy of features x (n, f) and y (m, f), n, m > 2. O((n + m)^2 f).

    The kernel is ``exp(-|a - b|^2 / (2 bandwidth^2))``.
    """
    xx, yy, xy = (np.exp(-squared_distances(a, b) / (2 * bandwidth**2)) for a, b in ((x, x), (y, y), (x, y)))
    within_x, within_y = _within(xx), _within(yy)
    value = within_x + within_y - 2 * xy.mean()
    return Discrepancy(
        float(value),
        _without(xx, xy, x_groups) + within_y,
        _without(yy, xy.T, y_groups) + within_x,
    )


def _within(kernel: np.ndarray) -> float:
    """Mean kernel (n, n) of two different pictures of a set."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _without(xx: np.ndarray, xy: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The part of MMD² that x has a share in, (g,), without each group of x in turn."""
    n, m = xy.shape
    place, g = (np.arange(n), n) if groups is None else numbered(groups)
    of_group = np.zeros((n, g))
    of_group[np.arange(n), place] = 1
    apart = xx - np.diag(np.diag(xx))
    left = n - of_group.sum(0)  # (g,)
    inside = np.einsum("ng,ng->g", of_group, apart @ of_group)
    sums = apart.sum() - 2 * of_group.T @ apart.sum(1) + inside
    crossed = xy.sum() - of_group.T @ xy.sum(1)
    found: np.ndarray = sums / np.maximum(left * (left - 1), 1) - 2 * crossed / (np.maximum(left, 1) * m)
    return found


def gap(edited: Discrepancy, unedited: Discrepancy, *, level: float = LEVEL) -> Estimate:
    """MMD² of edited pictures to carriers over that of the same faces unedited, paired.

    NaN where that of the unedited ones is not three standard errors above 0.
    """
    if not unedited.value > _SURE * unedited.error:
        return NOTHING
    value = edited.value / unedited.value
    variance = _jackknife(edited.without_x / unedited.without_x) + _jackknife(edited.without_y / unedited.without_y)
    half = float(stdtrit(len(edited.without_x) - 1, (1 + level) / 2) * np.sqrt(variance))
    return Estimate(value, value - half, value + half)


@dataclass(frozen=True, eq=False)
class Naturalness:
    """The pictures of one edit among the carriers of its tag, as one network sees them.

    Attributes:
        reference: carriers in the reference; 0 where too few were found, then nothing is known.
        density: (m,) Clipped Density of each edited picture.
        fresh: (f,) of each carrier, while it is fresh.
        matched, fresh_matched: (m,) and (f,), each among the carriers with the nearest other tags; empty where the
            reference is too small for it.
        gap: to the carriers, over that of the unedited faces; NaN where it is not known.
        groups, fresh_groups: (m,) and (f,) which pictures are resampled together; None: each alone.
        n_boot: bootstrap repetitions.
    """

    reference: int
    density: np.ndarray
    fresh: np.ndarray
    matched: np.ndarray
    fresh_matched: np.ndarray
    gap: Estimate
    groups: np.ndarray | None = None
    fresh_groups: np.ndarray | None = None
    n_boot: int = 1000

    @property
    def natural(self) -> Estimate:
        """Mean density of edited pictures over that of fresh carriers: 1 as natural as the generator's own."""
        return self._ratio(self.density, self.fresh)

    @property
    def natural_matched(self) -> Estimate:
        """The same among carriers with the nearest other tags."""
        return self._ratio(self.matched, self.fresh_matched)

    def worst(self, count: int = 8) -> np.ndarray:
        """Indices, among the m pictures, of the least natural ones, the worst first."""
        return np.argsort(self.density, kind="stable")[:count]

    def numbers(self) -> dict[str, Estimate | int]:
        """What a report prints."""
        return {
            "natural": self.natural, "matched": self.natural_matched, "gap": self.gap, "reference": self.reference,
            "carriers": len(self.fresh),
        }  # fmt: skip

    def _ratio(self, top: np.ndarray, bottom: np.ndarray) -> Estimate:
        return ratio_of_means(top, bottom, n_boot=self.n_boot, top_groups=self.groups, bottom_groups=self.fresh_groups)


@dataclass(frozen=True, eq=False)
class Seen:
    """m pictures of one edit, of faces that lack its tag before.

    Attributes:
        features, unedited: network → (m, f) of the pictures after the edit and before it.
        scores: (m, k) of the judge after it.
        groups: (m,) which pictures share a content; None when all or none do.
    """

    features: Mapping[str, np.ndarray]
    unedited: Mapping[str, np.ndarray]
    scores: np.ndarray
    groups: np.ndarray | None = None


def measure_naturalness(
    seen: Seen, own: OwnPictures, tag: str, *, keeping: np.ndarray | None = None, n_boot: int = 1000
) -> dict[str, Naturalness]:
    """How natural the pictures of an edit towards ``tag`` are, by each network of ``own``.

    Args:
        seen: the edited pictures; scores and features by the same judge and networks as ``own``.
        own: carriers of the tag, and of others.
        tag: the edit's target.
        keeping: (k,) bool, the tags outside the target's own group, which matched carriers are chosen by; None: all
            but the target.
        n_boot: bootstrap repetitions.

    Raises:
        LatentEditError: ``tag`` is none of the targets of ``own``.
    """
    carriers = own.carriers(tag)
    if not len(carriers) or not len(seen.scores):
        nothing = np.zeros(0)
        return {name: Naturalness(0, nothing, nothing, nothing, nothing, NOTHING) for name in own.features}
    keeping = np.array([one != tag for one in own.tags]) if keeping is None else keeping
    rows = own.rows[carriers]
    groups = None if own.groups is None else own.groups[rows]
    kept = own.scores[rows][:, keeping]
    tags = squared_distances(seen.scores[:, keeping], kept), squared_distances(kept, kept)
    reference, found = len(carriers) - -(-len(carriers) // FOLDS), {}
    for name in own.features:
        edited, unedited, theirs = seen.features[name], seen.unedited[name], own.features[name][carriers]
        features = squared_distances(edited, theirs), squared_distances(theirs, theirs)
        matched, fresh_matched = np.zeros(0), np.zeros(0)
        if reference // 4 >= FEWEST_MATCHED:
            matched, fresh_matched = densities(features, tags)
        width = float(np.median(features[1][np.triu_indices(len(theirs), 1)]))
        apart = NOTHING
        if len(edited) > 2 and width > 0:
            kernel = partial(mmd, y=theirs, bandwidth=np.sqrt(width), x_groups=seen.groups, y_groups=groups)
            apart = gap(kernel(edited), kernel(unedited))
        found[name] = Naturalness(
            reference, *densities(features), matched, fresh_matched, apart, seen.groups, groups, n_boot
        )
    return found
