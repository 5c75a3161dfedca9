"""Strength curves: what an edit does as its strength grows.

One strength flatters whichever finder it happens to suit. A curve does not: how many pictures carry the tag at each
strength, how far its score and the others' have moved, and what the others pay where two finders move the target
equally far (:meth:`Curves.selectivity_at`), which is the fairer comparison. And how good a slider it is
(:mod:`latentedit.metrics.sliders`).

Unedited pictures stand at strength 0, whether 0 is asked for or not. Between strengths all curves are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from latentedit.directions.edits import EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import Faces, FacesLike
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators import Generator
from latentedit.metrics.distances import name_of
from latentedit.metrics.features.base import FeatureNetwork
from latentedit.metrics.intervals import Estimates, Statistic, estimates, mean_interval, share_interval, share_of
from latentedit.metrics.rescoring import COMMON, Among, carried, own_tags
from latentedit.metrics.scoring import Progress, Scorer, along, check_statistics, checked_strengths, iter_scored
from latentedit.metrics.sliders import Steps, slider_numbers, slider_table, whole_strength
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of

HALF = 0.5


@dataclass(frozen=True, eq=False)
class Curves:
    """What t edits did at s strengths, with 95 % intervals.

    NaN stands for what is not known (the judge does not measure the target, no picture qualifies) or not reached.

    Attributes:
        targets, labels: as of :class:`~latentedit.metrics.rescoring.Rescoring`, t of them.
        strengths: (s,) in rising order.
        among: which pictures: all, or for each edit those that lack its target's tag unedited.
        pictures: (t,) how many these are.
        others: for each edit the tags that count as off target, the same at every strength.
        unedited: (t,) share of the unedited pictures that carry the tag.
        share: (t, s) share of the edited ones.
        target: (t, s) mean change of the target's score.
        off_target: (t, s) mean absolute change of the others' scores.
        area: (t,) mean rise of the share over strengths from 0 to the largest S: the trapezoids' sum of
            ``share(s) - share(0)`` over S. At most ``1 - share(0)``: 1 at best, where no unedited picture carries the
            tag. NaN when no strength is above 0.
        half: (t,) the smallest strength at which half the pictures carry the tag; the smallest of the range when they
            do there already, NaN when none is enough. An end is NaN when it lies beyond the range.
        gain, monotone, unevenness: (t,) slider quality, see :mod:`latentedit.metrics.sliders`.
        step_distance: what neighbouring pictures were compared by for unevenness: a feature network's id, "pixels", or
            "" where there were scores alone and unevenness is NaN.
        tables: for each edit (m, 4, p), by picture, at p strengths with 0 among them: carries the tag (0 or 1), change
            of the target's score, mean absolute change of the others', the target's score.
        groups: for each edit which of its pictures share a content (m,), and are resampled together; None: none do.
        n_boot: bootstrap repetitions.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    strengths: np.ndarray
    among: Among
    pictures: np.ndarray
    others: tuple[tuple[str, ...], ...]
    unedited: Estimates
    share: Estimates
    target: Estimates
    off_target: Estimates
    area: Estimates
    half: Estimates
    gain: Estimates
    monotone: Estimates
    unevenness: Estimates
    step_distance: str
    tables: tuple[np.ndarray, ...]
    groups: tuple[np.ndarray | None, ...]
    n_boot: int = 1000

    @classmethod
    def of_scores(
        cls,
        before: np.ndarray,
        after: np.ndarray,
        *,
        strengths: Sequence[float],
        targets: Sequence[str],
        labels: Sequence[str],
        tags: Sequence[str],
        thresholds: np.ndarray,
        among: Among = "all",
        others: Sequence[Sequence[str]] | None = None,
        relations: TagRelations | None = None,
        groups: np.ndarray | None = None,
        n_boot: int = 1000,
    ) -> Curves:
        """The curves of scores (n, k) before and (s, t, n, k) after, in the order of ``strengths`` (s,).

        Args:
            before, after: scores.
            strengths: of ``after``, in any order.
            targets, labels, tags, thresholds: as of :class:`~latentedit.metrics.rescoring.Rescoring`.
            among: see :class:`Curves`.
            others: for each edit the tags that count as off target; give the same ones to curves that are compared.
                None: those outside the target's group that 3 % of all pictures carry unedited or at some strength.
            relations: groups of tags; the shipped ones when None.
            groups: (n,) which pictures share a content; None: each has its own.
            n_boot: bootstrap repetitions.

        Raises:
            LatentEditError: shapes that do not fit, a strength twice or not finite, an unknown tag.
        """
        before, after, t = np.asarray(before, np.float32), np.asarray(after, np.float32), len(labels)
        given = checked_strengths(strengths)
        if after.shape != (len(given), t, *before.shape) or before.shape[1:] != (len(tags),) or len(targets) != t:
            raise LatentEditError(
                f"scores before {before.shape} and after {after.shape} for {len(given)} strengths, {t} edits and "
                f"{len(tags)} tags; give (n, tags) and (strengths, edits, n, tags)"
            )
        if groups is not None and np.shape(groups) != (len(before),):
            raise LatentEditError(f"groups have shape {np.shape(groups)} for {len(before)} pictures; give one for each")
        _check_others(others, t, tags)
        rows = []
        for i in range(t):
            table, names, picked = curve_table(
                before, after[:, i], given, targets[i], tags=tags, thresholds=thresholds, among=among,
                others=None if others is None else others[i], relations=relations,
            )  # fmt: skip
            its = None if groups is None else np.asarray(groups)[picked]
            rows.append(_Row(table, names, slider_table(table[:, 3], points(given)), its))
        return cls._of_rows(rows, given, targets, labels, among, n_boot)

    @classmethod
    def _of_rows(
        cls, rows: Sequence[_Row], strengths: np.ndarray, targets: Sequence[str], labels: Sequence[str], among: Among,
        n_boot: int, step_distance: str = "",
    ) -> Curves:  # fmt: skip
        x = points(strengths)
        asked = [int(np.flatnonzero(x == s)[0]) for s in np.sort(strengths)]
        shares = [_shares(row.table[:, 0], row.groups) for row in rows]
        moved = [table_means(row.table[:, 1:3], n_boot, row.groups) for row in rows]  # each (2, p)
        turns = [table_statistics(r.table, lambda m: _area_and_half(m, x), 2, n_boot, r.groups) for r in rows]
        slides = [table_statistics(row.slider, slider_numbers, 3, n_boot, row.groups) for row in rows]
        zero = int(np.flatnonzero(x == 0)[0])
        return cls(
            tuple(targets), tuple(labels), np.sort(strengths), among, np.array([len(row.table) for row in rows]),
            tuple(row.others for row in rows), stacked(shares, zero), stacked(shares, asked),
            stacked(moved, (0, asked)), stacked(moved, (1, asked)), stacked(turns, 0), stacked(turns, 1),
            stacked(slides, 0), stacked(slides, 1), stacked(slides, 2), step_distance,
            tuple(row.table for row in rows), tuple(row.groups for row in rows), n_boot,
        )  # fmt: skip

    def selectivity_at(self, target_change: float) -> Estimates:
        """What the others pay for the same effect: (t,) their mean absolute change where the target has moved so far.

        Finders compared at one strength are compared at different effects; here, at one effect. The smallest strength
        from 0 on at which the target's mean change reaches ``target_change``; NaN where none of the range does, and
        for an end of the interval where more than 5 % of the resamples do not.

        Args:
            target_change: mean change of the target's score, in (0, 1].

        Raises:
            LatentEditError: it is not in (0, 1].
        """
        if not 0 < target_change <= 1:
            raise LatentEditError(f"target change {target_change}; scores can rise by more than 0, and by 1 at most")
        x = points(self.strengths)
        up = x >= 0

        def paid(means: np.ndarray) -> np.ndarray:
            place = first_reaching(means[:, 1, up], target_change)
            return at_place(means[:, 2, up], place)[:, None]

        both = zip(self.tables, self.groups, strict=True)
        return stacked([table_statistics(table, paid, 1, self.n_boot, groups) for table, groups in both], 0)

    def numbers(self) -> dict[str, Any]:
        """All but the tables of single pictures, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("tables", "groups")}


@dataclass(frozen=True)
class _Row:
    """What is known of an edit, by picture."""

    table: np.ndarray  # (m, 4, p)
    others: tuple[str, ...]
    slider: np.ndarray  # (m, 5)
    groups: np.ndarray | None = None  # (m,)


def strength_curves(
    generator: Generator,
    judge: Tagger,
    editor: Editor,
    edits: EditLike,
    faces: FacesLike,
    strengths: Sequence[float],
    *,
    among: Among = "all",
    others: Sequence[Sequence[str]] | None = None,
    features: FeatureNetwork | None = None,
    batch_size: int = 32,
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Progress | None = None,
) -> Curves:
    """Score the same pictures at every strength of every edit; ``1 + t * s`` decodes a picture.

    Args:
        generator, judge, editor, faces, batch_size, n_boot, relations, progress: as of
            :func:`~latentedit.metrics.rescoring.rescore`.
        edits: t of them; strengths of their own are multiplied by each strength.
        strengths: s numbers in the unit of the edits, negative ones too.
        among, others: as of :meth:`Curves.of_scores`.
        features: what pictures of neighbouring strengths are compared by, for unevenness; their pixels when None.

    Raises:
        LatentEditError: as rescore, and a strength twice or not finite.
    """
    rows, given = as_edits(edits, judge.tags), checked_strengths(strengths)
    check_statistics(n_boot, among)
    _check_others(others, len(rows), tuple(judge.tags))
    moves = [[along(editor, one.at(s), relations) for s in given.tolist()] for one in rows]
    prepared = Faces.of(faces).prepare(generator, batch_size=batch_size)
    tags, thresholds, groups = tuple(judge.tags), thresholds_of(judge), prepared.content_groups
    steps, found = Steps(given, features), []
    scored = iter_scored(Scorer(judge, prepared), rows, given.tolist(), moves, looks=steps, progress=progress)
    for i, before, after in scored:
        table, names, picked = curve_table(
            before, after, given, rows[i].tag, tags=tags, thresholds=thresholds, among=among,
            others=None if others is None else others[i], relations=relations,
        )  # fmt: skip
        slider = slider_table(
            table[:, 3], points(given), whole=whole_strength(rows[i].parts[0]), steps=steps.apart()[picked]
        )
        found.append(_Row(table, names, slider, None if groups is None else groups[picked]))
    targets, labels = [one.tag for one in rows], [str(one) for one in rows]
    return Curves._of_rows(found, given, targets, labels, among, n_boot, name_of(features))


def curve_table(
    before: np.ndarray,
    after: np.ndarray,
    strengths: np.ndarray,
    target: str,
    *,
    tags: Sequence[str],
    thresholds: np.ndarray,
    among: Among = "all",
    others: Sequence[str] | None = None,
    relations: TagRelations | None = None,
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """What one edit did, picture by picture: a table (m, 4, p) as of :class:`Curves`, the off-target tags, and which
    pictures (n,) these are.

    Args:
        before, after: scores (n, k) and (s, n, k).
        strengths: (s,).
        target: the edit's tag; without one that the judge measures, what it decides is NaN.
        tags, thresholds, among, others, relations: as of :meth:`Curves.of_scores`.
    """
    if among not in ("all", "lacking"):
        raise UnknownNameError("kind of pictures", among, ("all", "lacking"))
    places = {tag: j for j, tag in enumerate(tags)}
    if others is None:
        seen = np.maximum.reduce([carried(scores, thresholds) for scores in (before, *after)])
        own = own_tags(target, among=tags, relations=relations)
        others = [tag for tag, often in zip(tags, seen, strict=True) if often >= COMMON and tag not in own]
    x, j, columns = points(strengths), places.get(target), [places[tag] for tag in others]
    if among == "all":
        picked = np.ones(len(before), bool)
    else:
        picked = before[:, j] < thresholds[j] if j is not None else np.zeros(len(before), bool)
    table = np.full((int(picked.sum()), 4, len(x)), np.nan)
    for i, s in enumerate(x):
        found = np.flatnonzero(strengths == s)
        scores, old = (after[found[0]] if len(found) else before)[picked], before[picked]
        if j is not None:
            table[:, 0, i] = scores[:, j] >= thresholds[j]
            table[:, 1, i] = scores[:, j].astype(float) - old[:, j]
            table[:, 3, i] = scores[:, j]
        if columns:
            table[:, 2, i] = np.abs(scores[:, columns].astype(float) - old[:, columns]).mean(1)
    return table, tuple(others), picked


def _check_others(others: Sequence[Sequence[str]] | None, edits: int, tags: Sequence[str]) -> None:
    if others is None:
        return
    if isinstance(others, str) or len(others) != edits or any(isinstance(one, str) for one in others):
        raise LatentEditError(f"others are {others!r}; give a list of tags for each of the {edits} edits")
    known = set(tags)
    if unknown := [tag for one in others for tag in one if tag not in known]:
        raise UnknownNameError("tag of the judge", unknown[0], tags)


def points(strengths: np.ndarray) -> np.ndarray:
    """Strengths (p,) in rising order, with 0 among them."""
    return np.unique(np.append(strengths, 0.0))


def first_reaching(y: np.ndarray, level: float) -> np.ndarray:
    """Where curves y (b, p) first reach a level: place (b,) in 0 ... p - 1, linear between points; infinite: nowhere.

    A curve that starts at the level or above reaches it at 0.
    """
    reached = y >= level - 1e-12  # a share of one half is one half, however it was summed
    first = reached.argmax(1)
    each, previous = np.arange(len(y)), np.maximum(first - 1, 0)
    low, high = y[each, previous], y[each, first]
    rise = np.where(high > low, high - low, 1.0)
    place = np.where(first == 0, 0.0, previous + np.minimum((level - low) / rise, 1.0))
    found: np.ndarray = np.where(reached.any(1), place, np.inf)
    return found


def at_place(y: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values (b,) of curves y (b, p) at places (b,) of :func:`first_reaching`; NaN where these are infinite."""
    known = np.isfinite(place)
    where = np.where(known, place, 0.0)
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, y.shape[1] - 1)
    each = np.arange(len(y))
    value = y[each, low] + (where - low) * (y[each, high] - y[each, low])
    return np.where(known, value, np.nan)


def area_above(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Mean rise (b,) of curves y (b, p) above their value at 0, over x (p,) from 0 on; NaN when none is above 0."""
    up = x >= 0
    if up.sum() < 2:
        return np.full(len(y), np.nan)
    from_zero = y[:, up]
    found: np.ndarray = np.trapezoid(from_zero - from_zero[:, :1], x[up], axis=1) / x[-1]
    return found


def _area_and_half(means: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(b, 2) of means (b, 4, p); the half is infinite where it is not reached, which is beyond the range."""
    place = first_reaching(means[:, 0], HALF)
    half = at_place(np.broadcast_to(x, means[:, 0].shape), place)
    return np.stack([area_above(means[:, 0], x), np.where(np.isinf(place), np.inf, half)], 1)


def table_means(table: np.ndarray, n_boot: int, groups: np.ndarray | None = None) -> Estimates:
    """Means (...) of a table (m, ...) over its pictures; NaN without any."""
    if not len(table):
        return Estimates(*(np.full(table.shape[1:], np.nan) for _ in range(3)))
    return Estimates(*mean_interval(table, n_boot=n_boot, groups=groups))


def table_statistics(
    table: np.ndarray, statistic: Statistic, numbers: int, n_boot: int, groups: np.ndarray | None = None
) -> Estimates:
    """Functions (numbers,) of a table's means: ``statistic`` takes (b, ...) for a table (m, ...). NaN without any."""
    if not len(table):
        return Estimates(*(np.full(numbers, np.nan) for _ in range(3)))
    shape = table.shape[1:]
    return estimates(
        table.reshape(len(table), -1), lambda means: statistic(means.reshape(-1, *shape)), n_boot=n_boot, groups=groups
    )  # fmt: skip


def _shares(carrying: np.ndarray, groups: np.ndarray | None) -> Estimates:
    """Shares (p,) of pictures that carry the tag, by a table (m, p) of 0 and 1."""
    if groups is None or not len(carrying) or np.isnan(carrying).any():
        return share_interval(carrying.sum(0), len(carrying))
    each = [share_of(column > 0, groups=groups) for column in carrying.T]
    return Estimates(*(np.array([getattr(one, name) for one in each]) for name in ("value", "low", "high")))


def stacked(parts: Sequence[Estimates], place: Any = ...) -> Estimates:
    """One array of the same place of each."""
    return Estimates(
        np.array([part.value[place] for part in parts]), np.array([part.low[place] for part in parts]),
        np.array([part.high[place] for part in parts]),
    )  # fmt: skip
