"""How well two taggers agree on the same stored samples, tag by tag.

Cohen's kappa (Cohen, "A Coefficient of Agreement for Nominal Scales", 1960) is the share of rows on which both say the
same, beyond what their frequencies alone would give: 1 for full agreement, 0 for chance. Pearson's correlation compares
the scores themselves, whatever the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentedit.errors import LatentEditError
from latentedit.samples.store import Samples
from latentedit.taggers.tag_names import shared_tags

_ROWS = 512  # at once; of 10,000 tags they take 40 MB a copy


@dataclass(frozen=True)
class Agreement:
    """Two taggers on the k tags that both know; of each tag, on the rows that both have labelled for it.

    Attributes:
        first, second: ids of the taggers.
        tags: k names, in the first one's order and spelling.
        rows: rows labelled by both, for one tag at least.
        labelled: (k,) rows labelled by both for the tag, which its counts, kappa and correlation are of.
        only_first, only_second, both: (k,) rows that carry the tag by one of them alone, and by both.
        kappa: (k,) Cohen's kappa; NaN where neither ever finds the tag, or both always do.
        correlation: (k,) Pearson's correlation of the scores; NaN where one never varies.
        missing_first, missing_second: tags that the other one alone knows.
        shown: for each tag, seeds of the rows where the scores differ most: (only by the first, only by the second).
    """

    first: str
    second: str
    tags: tuple[str, ...]
    rows: int
    labelled: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray
    both: np.ndarray
    kappa: np.ndarray
    correlation: np.ndarray
    missing_first: tuple[str, ...]
    missing_second: tuple[str, ...]
    shown: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @property
    def seen(self) -> np.ndarray:
        """Indices of the tags that either of them found, those they disagree on most first."""
        found = np.flatnonzero(self.only_first + self.only_second + self.both)
        return found[np.argsort(-(self.only_first + self.only_second)[found], kind="stable")]


def tagger_agreement(
    samples: Samples, first: str | None = None, second: str | None = None, *, shown: int = 4
) -> Agreement:
    """Compare two taggers' scores of a run, in one streaming pass, O(rows * tags).

    Args:
        samples: the run.
        first, second: ids or names, as in :class:`~latentedit.samples.store.Samples`; None: the run's first and last.
        shown: seeds to keep for each tag and side.

    Raises:
        UnknownNameError: the run has no such tagger.
        LatentEditError: there is one tagger alone, no tag or no labelled row in common.
    """
    ids = samples.taggers
    one = samples.tagger_id(first)
    other = samples.tagger_id(second if second is not None else next((t for t in reversed(ids) if t != one), one))
    if one == other:
        raise LatentEditError(
            f"{samples.path} has to hold tags of two taggers, and holds {', '.join(ids)}; "
            f"add another with `latentedit tag {samples.path} --tagger ...`"
        )
    names = [samples.tags(tagger) for tagger in (one, other)]
    shared = shared_tags(*names)
    tags = tuple(shared)
    if not tags:
        raise LatentEditError(f"{one} and {other} have no tag in common; nothing can be compared")
    places = [{tag: i for i, tag in enumerate(known)} for known in names]
    columns = [[places[0][tag] for tag in tags], [places[1][shared[tag]] for tag in tags]]
    limits = [samples.thresholds(t)[c] for t, c in zip((one, other), columns, strict=True)]
    tally, rows = _Tally(len(tags), shown), 0
    batches = [samples.iter_batches(tagger, batch_size=_ROWS) for tagger in (one, other)]
    for a, b in zip(*batches, strict=True):
        assert a.scores is not None and b.scores is not None
        x, y = a.scores[:, columns[0]], b.scores[:, columns[1]]
        rows += tally.add(a.seeds, x.astype(float), y.astype(float), *limits)
    if not rows:
        raise LatentEditError(f"{one} and {other} have labelled no row of {samples.path} in common")
    return Agreement(
        first=one, second=other, tags=tags, rows=rows, labelled=tally.n, only_first=tally.a - tally.ab,
        only_second=tally.b - tally.ab, both=tally.ab, kappa=cohen_kappa(tally.n, tally.a, tally.b, tally.ab),
        correlation=tally.correlation(),
        missing_first=tuple(tag for tag in names[1] if tag not in shared.values()),
        missing_second=tuple(tag for tag in names[0] if tag not in shared),
        shown=tuple(tally.seeds(j) for j in range(len(tags))),
    )  # fmt: skip


def cohen_kappa(n: int | np.ndarray, a: np.ndarray, b: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Kappa (k,) of n rows, a and b of which carry a tag by each rater, ab by both; NaN where chance agrees fully."""
    n = np.where(n, n, 1)  # without rows chance agrees fully
    observed = (n - a - b + 2 * ab) / n
    chance = (a * b + (n - a) * (n - b)) / n**2
    return np.divide(observed - chance, 1 - chance, out=np.full(len(a), np.nan), where=chance < 1)


class _Tally:
    """Counts, centred sums (Chan, Golub & LeVeque 1983) and the largest differences, batch by batch."""

    def __init__(self, k: int, shown: int) -> None:
        self.shown = shown
        self.n, self.a, self.b, self.ab = (np.zeros(k, np.int64) for _ in range(4))
        self.mean = np.zeros((2, k))
        self.xx, self.yy, self.xy = (np.zeros(k) for _ in range(3))
        self.largest: list[list[list[tuple[float, int]]]] = [[[], []] for _ in range(k)]

    def add(self, seeds: np.ndarray, x: np.ndarray, y: np.ndarray, low_x: np.ndarray, low_y: np.ndarray) -> int:
        """Rows with scores x and y (r, k), NaN where unlabelled, and the thresholds (k,) of each; how many count."""
        known = np.isfinite(x) & np.isfinite(y)  # (r, k)
        m, total = known.sum(0), np.maximum(self.n + known.sum(0), 1)
        has_x, has_y = known & (x >= low_x), known & (y >= low_y)
        self.a, self.b, self.ab = self.a + has_x.sum(0), self.b + has_y.sum(0), self.ab + (has_x & has_y).sum(0)
        means = np.stack([np.where(known, scores, 0).sum(0) / np.maximum(m, 1) for scores in (x, y)])
        xc, yc = (np.where(known, scores - mean, 0) for scores, mean in zip((x, y), means, strict=True))
        dx, dy = means - self.mean
        weight = self.n * m / total
        self.xx += np.square(xc).sum(0) + weight * dx * dx
        self.yy += np.square(yc).sum(0) + weight * dy * dy
        self.xy += (xc * yc).sum(0) + weight * dx * dy
        self.mean += np.stack([dx, dy]) * (m / total)
        self.n += m
        for side, lone, difference in ((0, has_x & ~has_y, x - y), (1, has_y & ~has_x, y - x)):
            for j in np.flatnonzero(lone.any(0)):
                rows = np.flatnonzero(lone[:, j])
                rows = rows[np.argsort(-difference[rows, j], kind="stable")[: self.shown]]
                kept = self.largest[j][side] + [(-float(difference[i, j]), int(seeds[i])) for i in rows]
                self.largest[j][side] = sorted(kept)[: self.shown]
        return int(known.any(1).sum())

    def correlation(self) -> np.ndarray:
        """Pearson's correlation (k,)."""
        spread = np.sqrt(self.xx * self.yy)
        return np.divide(self.xy, spread, out=np.full(len(spread), np.nan), where=spread > 1e-12 * self.n)

    def seeds(self, j: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows of the largest differences of a tag, on each side."""
        first, second = (tuple(seed for _, seed in side) for side in self.largest[j])
        return first, second
