"""Axioms: what any editor owes to anyone, whatever it changes.

Pictures have no right answer to an edit, but there are laws that every answer has to keep. Monteiro et al., "Measuring
Axiomatic Soundness of Counterfactual Image Models" (2023) name composition, reversibility and effectiveness (the last
is what :mod:`latentedit.metrics.rescoring` measures); Melistas et al., "Benchmarking Counterfactual Image Generation"
(2024) add minimality. Here, by a judge's scores of what the generator decodes:

* **identity**: strength 0 is the code, bit for bit, and strength 0.001 is hardly another picture: an editor that jumps
  cannot be a slider;
* **composition**: an edit of strength 0, ten times in a row, leaves code and scores where they were;
* **reversibility**: there and back. Back is an edit whose goal is the score that the face had, which no editor can know
  without reading the edited code; for editors that take no goals it is the edit of opposite sign;
* **minimality**: an edited picture is no further from its original than it takes to be a carrier of the tag. It is the
  counterfactual latent divergence of Sanchez & Tsaftaris, "Diffusion Causal Models for Counterfactual Estimation"
  (2022)::

      CLD = log(w_1 exp P(S_carriers <= d) + w_2 exp P(S_lackers >= d))

  with d the distance of a face that lacks the tag from its edit, and S its distances from the other unedited faces that
  carry the tag, or lack it too; w = 0.8, 0.2 as in the code that Melistas et al. publish. It lies in [0, 1]; lower is
  better: nearer than any carrier is, yet further than other lackers are (nothing at all is no edit: it has 0.30).
  Distances are mean absolute differences of a network's features, or of pixels
  (:mod:`latentedit.metrics.distances`);
* **in a row**: of several edits one after another, each is still there at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from latentedit.directions.edits import Edit, EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import Faces, FacesLike, PreparedFaces
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators import Generator
from latentedit.metrics.curves import stacked
from latentedit.metrics.distances import apart, embedded, name_of
from latentedit.metrics.features.base import FeatureNetwork
from latentedit.metrics.intervals import Estimates, mean_interval
from latentedit.metrics.scoring import UNEDITED, Move, Progress, Scorer, along, check_statistics
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of
from latentedit.taggers.tag_names import known_tags, shared_tags

TINY = 0.001
"""A strength that nobody should see."""
JUMP = 0.02
"""How far a score may move at :data:`TINY` at most."""
TIMES = 10
"""Edits of strength 0 in a row."""
W1, W2 = 0.8, 0.2
GOAL_STEP = 0.01
"""Faces whose first scores agree to this go back together, so that an editor is asked for a batch at once."""
IN_A_ROW = ("long_hair", "open_mouth", "closed_eyes", "glasses", "red_hair")


@dataclass(frozen=True, eq=False)
class Axioms:
    """How well an editor keeps the axioms: t edits of n faces, with 95 % intervals by content.

    NaN stands for what is not known: the judge does not measure the target, or no face lacks or carries it.

    Attributes:
        targets, labels: as of :class:`~latentedit.metrics.rescoring.Rescoring`, t of them.
        pictures: n.
        lackers, carriers: (t,) faces without and with the target's tag, unedited.
        exact: (t,) bool, whether strength 0 is the code bit for bit.
        jump: (t,) the largest change of any score of any face at strength 0.001.
        drift_codes: (t,) the largest change of any number of any code after ten edits of strength 0.
        drift_scores: (t,) the largest change of any score after them.
        back_by: how each edit was taken back: "goal" or "opposite sign".
        back: (t,) mean absolute change of all scores, there and back, over all faces.
        nearer: (t,) over the lackers, the mean share of carriers that are as near to a face as its edit, or nearer.
        farther: (t,) the mean share of the other lackers that are as far from it as its edit, or farther.
        cld: (t,) mean counterfactual latent divergence in [0, 1]; lower is better.
        distance: what pictures were compared by: a feature network's id, or "pixels".
        row: r edits that were done one after another.
        row_targets: their tags.
        row_pictures: (r,) faces that lacked each one's tag before.
        row_scores: (r,) each one's mean score at the end, over those.
        n_boot: bootstrap repetitions.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    pictures: int
    lackers: np.ndarray
    carriers: np.ndarray
    exact: np.ndarray
    jump: np.ndarray
    drift_codes: np.ndarray
    drift_scores: np.ndarray
    back_by: tuple[str, ...]
    back: Estimates
    nearer: Estimates
    farther: Estimates
    cld: Estimates
    distance: str
    row: tuple[str, ...]
    row_targets: tuple[str, ...]
    row_pictures: np.ndarray
    row_scores: Estimates
    n_boot: int = 1000

    @property
    def identical(self) -> np.ndarray:
        """(t,) bool: strength 0 is the code, and strength 0.001 moves no score by 0.02."""
        found: np.ndarray = self.exact & (self.jump < JUMP)
        return found

    def numbers(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"identical": self.identical}


@torch.no_grad()
def check_axioms(
    generator: Generator,
    judge: Tagger,
    editor: Editor,
    edits: EditLike,
    faces: FacesLike,
    *,
    row: EditLike | None = None,
    features: FeatureNetwork | None = None,
    batch_size: int = 32,
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Progress | None = None,
) -> Axioms:
    """Hold an editor to the axioms; ``2 + 4 * t`` decodes a face, one less an edit that is exact.

    Args:
        generator, judge, editor, faces, batch_size, n_boot, relations, progress: as of
            :func:`~latentedit.metrics.rescoring.rescore`.
        edits: t of them, each at its own strength or the usual one.
        row: edits to do one after another; an empty list for none, None for those of :data:`IN_A_ROW` that editor and
            judge know.
        features: what pictures are compared by for minimality; their pixels when None.

    Raises:
        LatentEditError: as rescore; an edit with a goal in place of a strength; a tag of the row that the judge does
            not measure.
    """
    each, steps = as_edits(edits, judge.tags), _row(row, editor, judge)
    check_statistics(n_boot)
    prepared = Faces.of(faces).prepare(generator, batch_size=batch_size)
    scorer, tags = Scorer(judge, prepared), tuple(judge.tags)
    one_code = prepared.codes(next(prepared.batches()))[:1]
    trials = [_Trial(editor, one, tags, one_code, relations) for one in each]
    in_a_row = [along(editor, one, relations) for one in steps]
    scorer.check([move for trial in trials for move in (trial.null, trial.tiny, trial.there)] + in_a_row)
    before, seen, ends, decodes = [], [], [], 1 + bool(steps) + 4 * len(trials)
    for rows in prepared.batches():
        codes = prepared.codes(rows)
        images = prepared.decode(codes, rows)
        before.append(scorer.score(images, rows, UNEDITED))
        seen.append(embedded(images, features))
        batch = _Batch(scorer, prepared, rows, codes, before[-1], seen[-1], features)
        for trial in trials:
            trial.hold(batch)
        if steps:
            ends.append(batch.done(in_a_row))
        if progress:
            progress(rows.stop * decodes, len(prepared) * decodes)
    return _axioms(
        trials, steps, np.concatenate(before), np.concatenate(seen), ends, tags, thresholds_of(judge),
        groups=prepared.content_groups, distance=name_of(features), n_boot=n_boot,
    )  # fmt: skip


@dataclass(frozen=True)
class _Batch:
    """Some faces unedited, and how to judge what they become."""

    scorer: Scorer
    faces: PreparedFaces
    rows: slice
    codes: Tensor
    scores: np.ndarray
    seen: np.ndarray
    features: FeatureNetwork | None

    def change(self, moved: Tensor, name: str) -> np.ndarray:
        """Absolute change (b, k) of all scores."""
        scores = self.scorer.score(self.faces.decode(moved, self.rows), self.rows, name)
        found: np.ndarray = np.abs(scores.astype(float) - self.scores)
        return found

    def distance(self, moved: Tensor) -> np.ndarray:
        """Distance (b,) of the pictures of moved codes from the unedited ones."""
        return apart(embedded(self.faces.decode(moved, self.rows), self.features), self.seen)

    def done(self, moves: Sequence[Move]) -> np.ndarray:
        """Scores (b, k) after moves one after another."""
        codes = self.codes
        for move in moves:
            codes = move(codes)
        return self.scorer.score(self.faces.decode(codes, self.rows), self.rows, "edits in a row")


class _Trial:
    """One edit, held to the axioms batch by batch."""

    def __init__(
        self, editor: Editor, one: Edit, tags: Sequence[str], code: Tensor, relations: TagRelations | None
    ) -> None:
        if any(part.goal is not None for part in one.parts):
            raise LatentEditError(f"{one} has a goal; axioms are about strengths: give one, or leave both out")
        self.edit, self.label = one, str(one)
        self._moving = lambda edit: along(editor, edit, relations)
        self.null, self.tiny, self.there = (self._moving(edit) for edit in (_at(one, 0.0), _at(one, TINY), one))
        known = all(part.tag in tags for part in one.parts)
        self._columns = [tags.index(part.tag) for part in one.parts] if known else []
        self.by_goal = known and self._takes_goals(code)
        self.exact, self.jump, self.drift_codes, self.drift_scores = True, 0.0, 0.0, 0.0
        self.back: list[np.ndarray] = []
        self.distance: list[np.ndarray] = []

    def hold(self, batch: _Batch) -> None:
        """Hold some more faces to the axioms."""
        codes = batch.codes
        self.exact = self.exact and _same(codes, self.null(codes))
        self.jump = max(self.jump, float(batch.change(self.tiny(codes), f"{self.label}, hardly").max()))
        drifted = codes
        for _ in range(TIMES):
            drifted = self.null(drifted)
        if not _same(codes, drifted):  # else it is the same picture
            self.drift_codes = max(self.drift_codes, float((drifted - _like(codes, drifted)).abs().max()))
            change = batch.change(drifted, f"{self.label}, not at all, {TIMES} times")
            self.drift_scores = max(self.drift_scores, float(change.max()))
        moved = self.there(codes)
        self.distance.append(batch.distance(moved))
        self.back.append(batch.change(self._return(moved, batch.scores), f"{self.label}, and back").mean(1))

    def _return(self, moved: Tensor, first: np.ndarray) -> Tensor:
        """Codes taken back to these first scores (b, k)."""
        if not self.by_goal:
            return self._moving(-self.edit)(moved)
        goals = np.round(first[:, self._columns].astype(float) / GOAL_STEP) * GOAL_STEP
        each, place = np.unique(goals, axis=0, return_inverse=True)
        back = moved
        for i, goal in enumerate(each.tolist()):
            here = torch.from_numpy(place.reshape(-1) == i).to(moved.device)
            part = self._moving(_to(self.edit, goal))(moved[here])
            back = _like(back, part).clone()  # an edit that names layers makes codes per slot
            back[here] = part
        return back

    def _takes_goals(self, code: Tensor) -> bool:
        try:
            self._moving(_to(self.edit, [0.5] * len(self._columns)))(code)
        except LatentEditError:
            return False
        return True


def _axioms(
    trials: Sequence[_Trial], steps: Sequence[Edit], before: np.ndarray, seen: np.ndarray, ends: list[np.ndarray],
    tags: Sequence[str], thresholds: np.ndarray, *, groups: np.ndarray | None, distance: str, n_boot: int,
) -> Axioms:  # fmt: skip
    def mean(values: np.ndarray, picked: np.ndarray) -> Estimates:
        """Of values (n, ...) of the faces that are picked, by content."""
        if not picked.any():
            return Estimates(*(np.full(values.shape[1:], np.nan) for _ in range(3)))
        its = None if groups is None else groups[picked]
        return Estimates(*mean_interval(values[picked], n_boot=n_boot, groups=its))

    def carrying(tag: str) -> np.ndarray:
        """Which faces (n,) carry a tag unedited; NaN where the judge does not measure it."""
        if tag not in tags:
            return np.full(len(before), np.nan)
        j = tags.index(tag)
        return np.where(before[:, j] >= thresholds[j], 1.0, 0.0)

    between = cdist(seen, seen, "cityblock") / seen.shape[1] if trials else np.zeros((0, 0))  # (n, n)
    has = [carrying(trial.edit.tag) for trial in trials]
    minimal = [
        mean(divergence(between, np.concatenate(trial.distance), one == 1), one == 0)
        for trial, one in zip(trials, has, strict=True)
    ]
    everyone = np.ones(len(before), bool)
    row_has = [carrying(one.tag) for one in steps]
    end = np.concatenate(ends) if ends else before
    row_scores = [
        mean(end[:, tags.index(one.tag)].astype(float), carried == 0)
        for one, carried in zip(steps, row_has, strict=True)
    ]
    return Axioms(
        targets=tuple(trial.edit.tag for trial in trials), labels=tuple(trial.label for trial in trials),
        pictures=len(before), lackers=np.array([int((one == 0).sum()) for one in has]),
        carriers=np.array([int((one == 1).sum()) for one in has]),
        exact=np.array([trial.exact for trial in trials]), jump=np.array([trial.jump for trial in trials]),
        drift_codes=np.array([trial.drift_codes for trial in trials]),
        drift_scores=np.array([trial.drift_scores for trial in trials]),
        back_by=tuple("goal" if trial.by_goal else "opposite sign" for trial in trials),
        back=stacked([mean(np.concatenate(trial.back), everyone) for trial in trials]),
        nearer=stacked(minimal, 0), farther=stacked(minimal, 1), cld=stacked(minimal, 2), distance=distance,
        row=tuple(str(one) for one in steps), row_targets=tuple(one.tag for one in steps),
        row_pictures=np.array([int((one == 0).sum()) for one in row_has]), row_scores=stacked(row_scores),
        n_boot=n_boot,
    )  # fmt: skip


def divergence(between: np.ndarray, moved: np.ndarray, carriers: np.ndarray) -> np.ndarray:
    """Minimality of each face's edit: (n, 3), ``P(S_carriers <= d)``, ``P(S_lackers >= d)`` and CLD; see the module.

    Rows of faces that carry the tag mean nothing; without a carrier, or with less than two lackers, all are NaN.

    Args:
        between: (n, n) distances of the unedited faces from one another.
        moved: (n,) distance of each face from its edit.
        carriers: (n,) bool, which faces carry the tag.
    """
    others = ~carriers & ~np.eye(len(moved), dtype=bool)  # (n, n): a face is no other lacker to itself
    with np.errstate(invalid="ignore", divide="ignore"):
        nearer = (carriers & (between <= moved[:, None])).sum(1) / carriers.sum()
        farther = (others & (between >= moved[:, None])).sum(1) / others.sum(1)
    cld = np.log(W1 * np.exp(nearer) + W2 * np.exp(farther))
    found: np.ndarray = np.stack([nearer, farther, cld], 1)
    if not carriers.any() or (~carriers).sum() < 2:
        found[:] = np.nan
    return found


def _row(row: EditLike | None, editor: Editor, judge: Tagger) -> list[Edit]:
    if row is None:
        shared = shared_tags(judge.tags, editor.tags)
        return [Edit(tag) for tag in known_tags(IN_A_ROW, judge.tags) if tag in shared]
    steps = [] if not isinstance(row, (str, Edit)) and not row else as_edits(row, judge.tags)
    for one in steps:
        if one.tag not in judge.tags:
            raise UnknownNameError("tag of the judge", one.tag or str(one), judge.tags)
    return steps


def _at(one: Edit, strength: float) -> Edit:
    return Edit([_part(part, strength=strength, unit=part.unit) for part in one.parts])


def _to(one: Edit, goals: Sequence[float]) -> Edit:
    return Edit([_part(part, goal=min(goal, 1.0)) for part, goal in zip(one.parts, goals, strict=True)])


def _part(part: Edit, *, strength: float | None = None, goal: float | None = None, unit: str = "sigma") -> Edit:
    return Edit(
        part.tag, strength, goal=goal, opposite=part.opposite, ratio=part.ratio, keep=part.keep, layers=part.layers,
        unit=unit,
    )  # fmt: skip


def _like(codes: Tensor, moved: Tensor) -> Tensor:
    """Codes in the shape of moved ones, which may be per slot where the given ones were not."""
    if codes.ndim == 2 and moved.ndim == 3:
        return codes[:, None].expand(-1, moved.shape[1], -1)
    return codes


def _same(codes: Tensor, moved: Tensor) -> bool:
    """Whether two batches of codes are the same, bit for bit."""
    return codes.dtype == moved.dtype and torch.equal(_like(codes, moved), moved)
