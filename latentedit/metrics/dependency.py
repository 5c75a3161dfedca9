"""Attribute dependency: what else an edit changes, against how far it moves its own attribute.

Wu, Lischinski and Shechtman, "StyleSpace Analysis" (2021), section 5: pictures without the target attribute t are moved
towards it. With the judge's logits l and their standard deviations σ over unedited pictures, and A the attributes,
at each normalised change ``Δl_t / σ(l_t)`` of the target::

    mean-AD = E( mean over i in A \\ t of |Δl_i| / σ(l_i) )
    max-AD  = E( max  over i in A \\ t of |Δl_i| / σ(l_i) )

Lower is better. Logits do not saturate as scores do, and the division makes rare and common attributes weigh the same.

Our choices, where the paper leaves one or judges by other classifiers: logits of scores cut to [ε, 1 - ε] with ε = 1e-4
(a logit of 9.2), so that a score of exactly 0 or 1 stays finite; the target's group of mutually exclusive tags is left
out of A, as in re-scoring; so are tags that fewer than 3 % of the unedited pictures carry, whose σ is that of the
judge's indifference, and tags that never vary, whose σ is 0. σ is taken as given by the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from latentedit.directions.edits import EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import Faces, FacesLike
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators import Generator
from latentedit.metrics.curves import at_place, first_reaching, stacked, table_means, table_statistics
from latentedit.metrics.intervals import Estimates
from latentedit.metrics.rescoring import COMMON, Among, carried, own_tags
from latentedit.metrics.scoring import Progress, Scorer, along, check_statistics, checked_strengths, iter_scored
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of

EPSILON = 1e-4
CONSTANT = 1e-6
"""Standard deviation of a logit up to which a tag counts as one that never varies."""
STRENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0)
_Row: TypeAlias = tuple[np.ndarray, tuple[str, ...], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class AttributeDependency:
    """Attribute dependency of t edits at s strengths, with 95 % intervals.

    NaN stands for what is not known (the judge does not measure the target, or it never varies; no picture lacks it;
    no other attribute is left) or not reached.

    Attributes:
        targets, labels: as of :class:`~latentedit.metrics.rescoring.Rescoring`, t of them.
        strengths: (s,) in rising order, above 0.
        pictures: (t,) how many were moved.
        attributes: for each edit, A without t: the other attributes.
        constant: the tags that never vary over the unedited pictures, which are left out.
        change: (t, s) E(Δl_t) / σ(l_t), the normalised change of the target.
        mean_ad, max_ad: (t, s) at each strength.
        at: the normalised change at which edits are compared.
        mean_ad_at, max_ad_at: (t,) where the change first reaches ``at``, linear between strengths; NaN where none
            does, and for an end of the interval where more than 5 % of the resamples do not.
        tables: for each edit (m, 3, 1 + s), by picture, unedited and at each strength: Δl_t / σ(l_t), mean and maximum
            of |Δl_i| / σ(l_i).
        groups: for each edit which of its pictures share a content (m,), and are resampled together; None: none do.
        n_boot: bootstrap repetitions.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    strengths: np.ndarray
    pictures: np.ndarray
    attributes: tuple[tuple[str, ...], ...]
    constant: tuple[str, ...]
    change: Estimates
    mean_ad: Estimates
    max_ad: Estimates
    at: float
    mean_ad_at: Estimates
    max_ad_at: Estimates
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
        at: float = 1.0,
        among: Among = "lacking",
        share: float = COMMON,
        relations: TagRelations | None = None,
        groups: np.ndarray | None = None,
        n_boot: int = 1000,
    ) -> AttributeDependency:
        """The dependency of scores (n, k) before and (s, t, n, k) after, in the order of ``strengths`` (s,).

        Args:
            before, after: scores.
            strengths: of ``after``, above 0, in any order.
            targets, labels, tags, thresholds: as of :class:`~latentedit.metrics.rescoring.Rescoring`.
            at: normalised change of the target to compare at.
            among: pictures to move: those that lack the target's tag, as in the paper, or all.
            share: of the unedited pictures that have to carry an attribute.
            relations: groups of tags; the shipped ones when None.
            groups: (n,) which pictures share a content; None: each has its own.
            n_boot: bootstrap repetitions.

        Raises:
            LatentEditError: shapes that do not fit, a strength twice or not above 0, ``at`` not above 0.
        """
        before, after, t = np.asarray(before, np.float32), np.asarray(after, np.float32), len(labels)
        given = _rising(strengths, at)
        if after.shape != (len(given), t, *before.shape) or before.shape[1:] != (len(tags),) or len(targets) != t:
            raise LatentEditError(
                f"scores before {before.shape} and after {after.shape} for {len(given)} strengths, {t} edits and "
                f"{len(tags)} tags; give (n, tags) and (strengths, edits, n, tags)"
            )
        if groups is not None and np.shape(groups) != (len(before),):
            raise LatentEditError(f"groups have shape {np.shape(groups)} for {len(before)} pictures; give one for each")
        rows = [
            dependency_table(
                before, after[:, i], given, targets[i], tags=tags, thresholds=thresholds, among=among, share=share,
                relations=relations, groups=groups,
            )
            for i in range(t)
        ]  # fmt: skip
        return cls._of_tables(rows, given, targets, labels, constant_tags(before, tags), at, n_boot)

    @classmethod
    def _of_tables(
        cls, rows: Sequence[_Row], strengths: np.ndarray, targets: Sequence[str],
        labels: Sequence[str], constant: tuple[str, ...], at: float, n_boot: int,
    ) -> AttributeDependency:  # fmt: skip
        moved = [table_means(table[:, :, 1:], n_boot, groups) for table, _, groups in rows]  # each (3, s)
        reached = [
            table_statistics(table, lambda m: _paid(m, at), 2, n_boot, groups) for table, _, groups in rows
        ]  # fmt: skip
        return cls(
            tuple(targets), tuple(labels), np.sort(strengths), np.array([len(table) for table, *_ in rows]),
            tuple(names for _, names, _ in rows), constant, stacked(moved, 0), stacked(moved, 1), stacked(moved, 2), at,
            stacked(reached, 0), stacked(reached, 1), tuple(table for table, *_ in rows),
            tuple(groups for *_, groups in rows), n_boot,
        )  # fmt: skip

    def numbers(self) -> dict[str, Any]:
        """All but the tables of single pictures, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("tables", "groups")}


def attribute_dependency(
    generator: Generator,
    judge: Tagger,
    editor: Editor,
    edits: EditLike,
    faces: FacesLike,
    *,
    strengths: Sequence[float] = STRENGTHS,
    at: float = 1.0,
    among: Among = "lacking",
    share: float = COMMON,
    batch_size: int = 32,
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Progress | None = None,
) -> AttributeDependency:
    """Move pictures towards each edit's target, strength by strength; ``1 + t * s`` decodes a picture.

    Args:
        generator, judge, editor, faces, batch_size, n_boot, relations, progress: as of
            :func:`~latentedit.metrics.rescoring.rescore`.
        edits: t of them; strengths of their own are multiplied by each strength.
        strengths: s numbers above 0, in the unit of the edits.
        at, among, share: as of :meth:`AttributeDependency.of_scores`.

    Raises:
        LatentEditError: as rescore, and as :meth:`AttributeDependency.of_scores`.
    """
    rows, given = as_edits(edits, judge.tags), _rising(strengths, at)
    check_statistics(n_boot, among)
    moves = [[along(editor, one.at(s), relations) for s in given.tolist()] for one in rows]
    prepared = Faces.of(faces).prepare(generator, batch_size=batch_size)
    scorer, groups = Scorer(judge, prepared), prepared.content_groups
    tags, thresholds = tuple(judge.tags), thresholds_of(judge)
    tables, constant = [], tuple[str, ...]()
    for i, before, after in iter_scored(scorer, rows, given.tolist(), moves, progress=progress):
        constant = constant_tags(before, tags)
        tables.append(
            dependency_table(
                before, after, given, rows[i].tag, tags=tags, thresholds=thresholds, among=among, share=share,
                relations=relations, groups=groups,
            )
        )  # fmt: skip
    targets, labels = [one.tag for one in rows], [str(one) for one in rows]
    return AttributeDependency._of_tables(tables, given, targets, labels, constant, at, n_boot)


def logits(scores: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """Logits float64 of scores in [0, 1], cut to [epsilon, 1 - epsilon]."""
    p = np.clip(np.asarray(scores, float), epsilon, 1 - epsilon)
    found: np.ndarray = np.log(p) - np.log1p(-p)
    return found


def constant_tags(before: np.ndarray, tags: Sequence[str]) -> tuple[str, ...]:
    """The tags whose logit does not vary over the unedited pictures, by scores (n, k)."""
    return tuple(tag for tag, sigma in zip(tags, logits(before).std(0), strict=True) if sigma <= CONSTANT)


def dependency_table(
    before: np.ndarray,
    after: np.ndarray,
    strengths: np.ndarray,
    target: str,
    *,
    tags: Sequence[str],
    thresholds: np.ndarray,
    among: Among = "lacking",
    share: float = COMMON,
    relations: TagRelations | None = None,
    groups: np.ndarray | None = None,
) -> _Row:
    """What one edit did, picture by picture: a table (m, 3, 1 + s) as of :class:`AttributeDependency`, A without t, and
    which of these pictures share a content (m,).

    Args:
        before, after: scores (n, k) and (s, n, k).
        strengths: (s,) above 0.
        target: the edit's tag.
        tags, thresholds, among, share, relations, groups: as of :meth:`AttributeDependency.of_scores`.
    """
    if among not in ("all", "lacking"):
        raise UnknownNameError("kind of pictures", among, ("all", "lacking"))
    unedited = logits(before)
    sigma, often, own = unedited.std(0), carried(before, thresholds), own_tags(target, among=tags, relations=relations)
    columns = [
        j for j, tag in enumerate(tags) if sigma[j] > CONSTANT and often[j] >= share and tag not in own
    ]  # fmt: skip
    attributes = tuple(tags[j] for j in columns)
    t = tags.index(target) if target in tags else None
    if t is None or sigma[t] <= CONSTANT:
        return np.zeros((0, 3, 1 + len(strengths))), attributes, None
    picked = before[:, t] < thresholds[t] if among == "lacking" else np.ones(len(before), bool)
    old, table = unedited[picked], np.zeros((int(picked.sum()), 3, 1 + len(strengths)))
    if not columns:
        table[:, 1:] = np.nan
    for i, place in enumerate(np.argsort(strengths), start=1):
        new = logits(after[place][picked])
        table[:, 0, i] = (new[:, t] - old[:, t]) / sigma[t]
        if columns:
            apart = np.abs(new[:, columns] - old[:, columns]) / sigma[columns]
            table[:, 1, i], table[:, 2, i] = apart.mean(1), apart.max(1)
    return table, attributes, None if groups is None else np.asarray(groups)[picked]


def _paid(means: np.ndarray, at: float) -> np.ndarray:
    """(b, 2): mean-AD and max-AD of means (b, 3, p) where the target's change first reaches ``at``."""
    place = first_reaching(means[:, 0], at)
    return np.stack([at_place(means[:, 1], place), at_place(means[:, 2], place)], 1)


def _rising(strengths: Sequence[float], at: float) -> np.ndarray:
    given = checked_strengths(strengths)
    if (given <= 0).any():
        raise LatentEditError(f"strengths are {given.tolist()}; attribute dependency moves towards the tag: above 0")
    if not at > 0:
        raise LatentEditError(f"at is {at}; give a normalised change of the target above 0, such as 1")
    return given
