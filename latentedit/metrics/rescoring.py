"""Re-scoring: how much every tag's score moves when one tag is edited.

A signed matrix, rows = edits, columns = measured tags, paired on the same codes, content and noise. After
Yang et al., "Semantic Hierarchy Emerges in Deep Generative Representations" (2021), section 3.3,
but signed and off the diagonal as well; intervals are those of :mod:`latentedit.metrics.intervals`.

The judge's scores of every picture are kept, float32: (1 + t) * n * k * 4 bytes, 200 MB for 10 edits of 500 pictures
and 9,000 tags. Everything else is worked out from them, but for what scores do not show: how the pictures look
(:mod:`latentedit.metrics.looks`), which is seen in the same pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latentedit.directions.edits import EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import Faces, FacesLike
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.generators import Generator
from latentedit.metrics.carriers import OwnPictures
from latentedit.metrics.elsewhere import Elsewhere, measure_elsewhere
from latentedit.metrics.intervals import NOTHING, Estimate, estimate, few_pictures_note, mean_interval
from latentedit.metrics.looks import Looks, Watch
from latentedit.metrics.naturalness import Naturalness
from latentedit.metrics.scoring import UNEDITED, Progress, Scorer, along, check_statistics, stay
from latentedit.pictures.notebook import table_html
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of
from latentedit.taggers.tag_names import known_tags
from latentedit.tensorfile import read_safetensors, write_safetensors

FORMAT = "latentedit.rescoring"
SCHEMA = 2  # 1: scores alone
SELECTIVITY_FLOOR = 0.005
COMMON = 0.03
"""Share of the pictures that carry a tag from which it counts as off target."""
Among = Literal["all", "lacking"]


@dataclass(frozen=True, eq=False)
class Effects:
    """What one edit did to m pictures, picture by picture.

    Attributes:
        pictures: (m,) their indices.
        others: the tags that count as off target.
        target: (m,) float64 change of the target's score.
        off_target: (m,) float64 mean absolute change of the others' scores; NaN when there are none.
    """

    pictures: np.ndarray
    others: tuple[str, ...]
    target: np.ndarray
    off_target: np.ndarray


@dataclass(frozen=True)
class Summary:
    """A row of the matrix in three numbers.

    Attributes:
        pictures: how many they are over.
        target: mean change of the target's score.
        off_target: mean absolute change of the others; NaN when there are none.
        selectivity: target over off_target, the latter not below 0.005.
        note: what to say of so few pictures, or contents where they share some; empty from 20 on.
        ceiling: how far the target can be expected to rise: carriers' mean score less lackers'; NaN where no own
            pictures were drawn.
        elsewhere, worst_tenth, too_much: change outside what the edit is about: its mean, that of the worst tenth, and
            the share of pictures above 0.08; NaN where pictures were not looked at.
        natural: network → naturalness (``natural``, ``matched``), ``gap``, and how many carriers they are among; of
            the pictures that lack the tag, empty where it was not measured.
    """

    pictures: int
    target: Estimate
    off_target: Estimate
    selectivity: Estimate
    note: str = ""
    ceiling: Estimate = NOTHING
    elsewhere: Estimate = NOTHING
    worst_tenth: Estimate = NOTHING
    too_much: Estimate = NOTHING
    natural: Mapping[str, Mapping[str, Estimate | int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Rescoring:
    """Scores before and after t edits of the same n pictures, for k tags.

    Attributes:
        targets: the edited tags, t of them; "" for an edit that is made of several.
        labels: what each edit is called, t of them.
        tags: the measured tags, k of them.
        thresholds: (k,) score from which the judge counts each tag as present.
        before: (n, k) float32 scores of the unedited pictures.
        after: (t, n, k) float32 scores of the edited ones.
        mean: (t, k) mean change.
        low, high: (t, k) ends of its 95 % interval; NaN of a single picture.
        n_boot: bootstrap repetitions of every interval.
        provenance: what the scores depend on; JSON values.
        groups: (n,) which pictures share a content, and are resampled together; None when all or none do.
        looks: how natural the pictures are and what changes elsewhere; None where only scores were kept.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    thresholds: np.ndarray
    before: np.ndarray
    after: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_boot: int = 1000
    provenance: Mapping[str, Any] = field(default_factory=dict)
    groups: np.ndarray | None = None
    looks: Looks | None = None

    @classmethod
    def of_scores(
        cls,
        before: np.ndarray,
        after: np.ndarray,
        *,
        targets: Sequence[str],
        labels: Sequence[str],
        tags: Sequence[str],
        thresholds: np.ndarray,
        n_boot: int = 1000,
        provenance: Mapping[str, Any] | None = None,
        groups: np.ndarray | None = None,
        looks: Looks | None = None,
    ) -> Rescoring:
        """The matrix and its intervals from scores (n, k) before and (t, n, k) after. O(t * n * k * n_boot).

        Raises:
            LatentEditError: shapes that do not fit, no pictures, or a score that is not finite.
        """
        before, after = np.asarray(before, np.float32), np.asarray(after, np.float32)
        t, k = len(labels), len(tags)
        if after.shape != (t, len(before), k) or before.shape[1:] != (k,) or len(targets) != t or not len(before):
            raise LatentEditError(
                f"scores before {before.shape} and after {after.shape}, {len(targets)} targets, {t} labels, {k} tags; "
                "give (n, tags) and (edits, n, tags), n > 0"
            )
        if np.shape(thresholds) != (k,):
            raise LatentEditError(f"thresholds have shape {np.shape(thresholds)} for {k} tags; give one for each")
        rows = [before, *after]
        if not all(np.isfinite(scores).all() for scores in rows):
            raise LatentEditError("scores hold NaN or infinity; every picture needs a score of every tag")
        if groups is not None and np.shape(groups) != (len(before),):
            raise LatentEditError(f"groups have shape {np.shape(groups)} for {len(before)} pictures; give one for each")
        if looks is not None and (looks.changes.shape[:2] != (t, len(before)) or len(looks.natural) != t):
            raise LatentEditError(f"looks of {looks.changes.shape[:2]} edits and pictures; give ({t}, {len(before)})")
        found = np.empty((3, t, k))
        for i in range(t):
            found[:, i] = mean_interval(after[i] - before, n_boot=n_boot, groups=groups)
        mean, low, high = found
        return cls(
            tuple(targets), tuple(labels), tuple(tags), np.asarray(thresholds, float), before, after, mean, low, high,
            n_boot=n_boot, provenance=dict(provenance or {}), groups=groups, looks=looks,
        )  # fmt: skip

    def __repr__(self) -> str:
        """What was measured, in a line."""
        edits = "; ".join(self.labels[:5]) + (f" and {len(self.labels) - 5} more" if len(self.labels) > 5 else "")
        judge = self.provenance.get("judge", "a judge")
        return f"Rescoring({len(self.before)} pictures, {len(self.tags)} tags of {judge}: {edits})"

    def _repr_html_(self) -> str:
        """A table of the edits, over the pictures that lack each one's tag, for notebooks."""
        rows = []
        for i, (label, target) in enumerate(zip(self.labels, self.targets, strict=True)):
            if target not in self.tags:
                rows.append((label, "", "not measured", "", ""))
                continue
            one, worst = self.summary(i, among="lacking"), self.worst_other(i, among="lacking")
            other = f"{worst[0]} {worst[1]:.2f}" if worst else ""
            rows.append((label, str(one.pictures), f"{one.target:.2f}", f"{one.off_target:.3f}", other))
        names = ("edit", "lack it", "target rises by", "others change by", "worst other")
        return table_html(rows, names)

    def rows(self, target: int, *, having: str | None = None) -> np.ndarray:
        """Which pictures (n,) lack the target's tag before the edit, and carry the tag ``having``."""
        column = self._target_column(target)
        lacking: np.ndarray = self.before[:, column] < self.thresholds[column]
        if having is None:
            return lacking
        column = self._column(having)
        return lacking & (self.before[:, column] >= self.thresholds[column])

    def others(
        self, target: int, *, having: str | None = None, share: float = COMMON, relations: TagRelations | None = None
    ) -> tuple[str, ...]:
        """The tags that count as off target: neither of the group of the target (and of ``having``) nor related to it,
        and carried by at least ``share`` of all pictures before or after the edit: what an edit brings in counts too.
        """
        own = own_tags(self.targets[target], having, among=self.tags, relations=relations)
        seen = np.maximum(*(carried(scores, self.thresholds) for scores in (self.before, self.after[target])))
        return tuple(tag for tag, often in zip(self.tags, seen, strict=True) if often >= share and tag not in own)

    def effects(
        self,
        target: int,
        *,
        among: Among = "all",
        having: str | None = None,
        others: Sequence[str] | None = None,
        relations: TagRelations | None = None,
    ) -> Effects:
        """What an edit did, picture by picture.

        Args:
            target: which edit.
            among: all pictures, or those that lack the target's tag before it.
            having: of those, only the ones that carry this tag; for ``among="lacking"``.
            others: tags that count as off target; None: those of :meth:`others`.
            relations: groups of tags; the shipped ones when None.

        Raises:
            LatentEditError: an edit without one target, or a tag that the judge does not measure.
        """
        picked, names = self._picked(target, among, having, others, relations)
        before, after = self.before[picked], self.after[target][picked]  # (m, k)
        columns = self._columns(names)
        column = self._target_column(target)
        change = after[:, columns].astype(float) - before[:, columns]
        off = np.abs(change).mean(1) if columns else np.full(len(before), np.nan)
        return Effects(picked, names, after[:, column].astype(float) - before[:, column], off)

    def summary(
        self,
        target: int,
        *,
        among: Among = "all",
        having: str | None = None,
        others: Sequence[str] | None = None,
        relations: TagRelations | None = None,
    ) -> Summary:
        """A row in three numbers with intervals; NaN when no picture qualifies. Arguments as of :meth:`effects`."""
        e = self.effects(target, among=among, having=having, others=others, relations=relations)
        groups, ceiling = self._groups_of(e.pictures), self.ceiling(target)
        note = few_pictures_note(len(e.target), None if groups is None else len(np.unique(groups)))
        if not len(e.target):
            return Summary(0, NOTHING, NOTHING, NOTHING, note, ceiling)
        both = np.stack([e.target, e.off_target], 1)  # (m, 2)
        resample = partial(estimate, n_boot=self.n_boot, groups=groups)
        changed = self._elsewhere(target, e.pictures)
        natural = self.natural(target) if among == "lacking" and having is None else {}
        return Summary(
            len(both), resample(both[:, 0]), resample(both[:, 1]), resample(both, selectivity_of), note, ceiling,
            changed.mean, changed.worst_tenth, changed.too_much, {n: one.numbers() for n, one in natural.items()},
        )  # fmt: skip

    def ceiling(self, target: int) -> Estimate:
        """How far an edit's target can be expected to rise; NaN where no own pictures were drawn."""
        return NOTHING if self.looks is None else self.looks.ceilings.get(self.targets[target], NOTHING)

    def natural(self, target: int) -> Mapping[str, Naturalness]:
        """Network → naturalness of the pictures that lack the target's tag, in the order of :meth:`rows`; empty where
        it was not measured."""
        return {} if self.looks is None else self.looks.natural[target]

    def elsewhere(
        self, target: int, *, among: Among = "lacking", having: str | None = None, region: np.ndarray | None = None
    ) -> Elsewhere:
        """How much pictures change outside what an edit is about, or within a region (H, W) of one's own.

        Raises:
            LatentEditError: only scores were kept; the rest as of :meth:`effects`.
        """
        if self.looks is None:
            raise LatentEditError("this re-scoring holds scores alone, not how pictures change; score again")
        picked, _ = self._picked(target, among, having, (), None)
        return self._elsewhere(target, picked, region)

    def _elsewhere(self, target: int, picked: np.ndarray, region: np.ndarray | None = None) -> Elsewhere:
        changes = np.zeros((0, 1, 1)) if self.looks is None else self.looks.changes[target][picked]
        return measure_elsewhere(changes, region=region, groups=self._groups_of(picked), n_boot=self.n_boot)

    def _groups_of(self, picked: np.ndarray) -> np.ndarray | None:
        return None if self.groups is None else self.groups[picked]

    def worst_other(
        self,
        target: int,
        *,
        among: Among = "all",
        having: str | None = None,
        others: Sequence[str] | None = None,
        relations: TagRelations | None = None,
    ) -> tuple[str, Estimate] | None:
        """The off-target tag whose score changes most, and its mean absolute change; None when there is none.

        Arguments as of :meth:`effects`. The tag is picked for being the largest, so its interval sits a little high.
        """
        picked, names = self._picked(target, among, having, others, relations)
        if not names or not len(picked):
            return None
        columns = self._columns(names)
        before, after = self.before[picked][:, columns], self.after[target][picked][:, columns]  # (m, others)
        change = np.abs(after.astype(float) - before)
        worst = int(change.mean(0).argmax())
        return names[worst], estimate(change[:, worst], n_boot=self.n_boot, groups=self._groups_of(picked))

    @property
    def selectivity(self) -> np.ndarray:
        """(t,) target change over mean absolute off-target change (not below 0.005), over all pictures.

        NaN for an edit without one target, or whose target the judge does not measure.
        """
        found = np.full(len(self.targets), np.nan)
        for i, tag in enumerate(self.targets):
            if tag in self.tags:
                e = self.effects(i)
                found[i] = selectivity_of(np.array([e.target.mean(), e.off_target.mean()]))
        return found

    def save(self, path: str | Path) -> None:
        """Write scores, looks and names to a safetensors file, atomically; intervals are worked out again from them."""
        tensors = {"before": self.before, "after": self.after, "thresholds": self.thresholds}
        if self.groups is not None:
            tensors["groups"] = self.groups
        looks = {} if self.looks is None else {f"looks.{k}": value for k, value in self.looks.arrays().items()}
        metadata = {
            "format": FORMAT, "schema": str(SCHEMA), "targets": json.dumps(self.targets),
            "labels": json.dumps(self.labels), "tags": json.dumps(self.tags), "n_boot": str(self.n_boot),
            "provenance": json.dumps(dict(self.provenance)), "arrays": json.dumps([*tensors, *looks]),
        }  # fmt: skip
        write_safetensors(path, tensors | looks, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Rescoring:
        """What :meth:`save` wrote, with the same intervals.

        Raises:
            DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
        """
        _, metadata = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=())
        try:
            held = _texts(metadata.get("arrays", '["before", "after", "thresholds"]'))
            arrays, _ = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=held)
            looks = {name.removeprefix("looks."): a for name, a in arrays.items() if name.startswith("looks.")}
            names = {name: _texts(metadata[name]) for name in ("targets", "labels", "tags")}
            n_boot, provenance = int(metadata["n_boot"]), dict(json.loads(metadata["provenance"]))
            return cls.of_scores(
                arrays["before"], arrays["after"], thresholds=arrays["thresholds"], **names, n_boot=n_boot,
                provenance=provenance, groups=arrays.get("groups"), looks=Looks.of_arrays(looks) if looks else None,
            )  # fmt: skip
        except DamagedFileError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, LatentEditError) as error:
            raise DamagedFileError(f"{path}: damaged re-scoring ({error}); score again") from error

    def _picked(
        self, target: int, among: Among, having: str | None, others: Sequence[str] | None,
        relations: TagRelations | None,
    ) -> tuple[np.ndarray, tuple[str, ...]]:  # fmt: skip
        """Indices (m,) of pictures, and the off-target tags."""
        if among not in ("all", "lacking"):
            raise UnknownNameError("kind of pictures", among, ("all", "lacking"))
        if among == "all" and having is not None:
            raise LatentEditError(f"having={having!r} picks among the pictures that lack the tag; add among='lacking'")
        self._target_column(target)
        picked = self.rows(target, having=having) if among == "lacking" else np.ones(len(self.before), bool)
        names = self.others(target, having=having, relations=relations) if others is None else tuple(others)
        return np.flatnonzero(picked), names

    def _target_column(self, target: int) -> int:
        if not self.targets[target]:
            raise LatentEditError(
                f"the edit {self.labels[target]!r} has several targets; read the matrix, or edit one tag"
            )
        return self._column(self.targets[target])

    def _column(self, tag: str) -> int:
        return self._columns([tag])[0]

    def _columns(self, tags: Sequence[str]) -> list[int]:
        places, tags = {tag: j for j, tag in enumerate(self.tags)}, known_tags(tags, self.tags)
        for tag in tags:
            if tag not in places:
                known = ", ".join(self.tags[:20]) + (" ..." if len(self.tags) > 20 else "")
                raise LatentEditError(f"the judge does not measure {tag!r}; it knows {known}")
        return [places[tag] for tag in tags]


def selectivity_of(means: np.ndarray) -> np.ndarray:
    """Selectivity (...) of means (..., 2): target change, mean absolute off-target change."""
    ratio: np.ndarray = means[..., 0] / np.maximum(means[..., 1], SELECTIVITY_FLOOR)
    return ratio


def own_tags(*tags: str | None, among: Iterable[str], relations: TagRelations | None = None) -> set[str]:
    """These tags, those that exclude them and those related to them, none of which counts as off target; as they are
    spelled ``among`` these.
    """
    relations = (relations or TagRelations.load()).spelled_as(among)
    return {one for tag in tags if tag for one in (tag, *relations.related_to(tag))}


def carried(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share (k,) of pictures that carry each tag, by scores (n, k)."""
    share: np.ndarray = (scores >= thresholds).mean(0)
    return share


def rescore(
    generator: Generator,
    judge: Tagger,
    editor: Editor,
    edits: EditLike,
    faces: FacesLike,
    *,
    batch_size: int = 32,
    own: OwnPictures | None = None,
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Progress | None = None,
) -> Rescoring:
    """Score the same pictures before and after each edit, and look at them; 1 + t decodes a batch.

    Args:
        generator: decodes.
        judge: scores; another tagger than the one that fitted is a fairer judge.
        editor: edits, such as a bank of directions.
        edits: rows of the matrix; as :func:`latentedit.edit` takes them, but those of a list are a row each.
        faces: one picture each, or their seeds; best ones that no direction was fitted on.
        batch_size: pictures decoded at once; the scores do not depend on it (1e-5).
        own: the generator's own pictures, from :func:`~latentedit.metrics.carriers.draw_own` for the same faces and
            judge: then naturalness, gap and ceiling of each edit are measured too.
        n_boot: bootstrap repetitions.
        relations: pairs, from which opposites come, and groups; the shipped ones when None.
        progress: called with (pictures done, pictures in all).

    Raises:
        MismatchError: own pictures of another generator or judge.
        LatentEditError: no faces, no edits, an edit that the editor cannot do, a judge that cannot score a picture, or
            a generator that does not decode a code to the same picture twice.
    """
    rows = as_edits(edits, judge.tags)
    check_statistics(n_boot)
    if own is not None:
        own.check(generator, judge)
    moves = [along(editor, one, relations) for one in rows]
    prepared = Faces.of(faces).prepare(generator, batch_size=batch_size)
    scorer = Scorer(judge, prepared)
    scorer.check(moves)
    labels, thresholds, groups = [str(one) for one in rows], thresholds_of(judge), prepared.content_groups
    watch = Watch(rows, judge.tags, thresholds, own)
    scores = scorer.scores([stay, *moves], [UNEDITED, *labels], look=watch, progress=progress)  # (1 + t, n, k)
    together = [own_tags(one.tag, among=judge.tags, relations=relations) for one in rows]
    provenance = {
        "generator": generator.id, "judge": judge.id, "pictures": len(prepared), "edits": labels,
        "faces": prepared.faces.document(), "own_pictures": None if own is None else dict(own.provenance),
    }  # fmt: skip
    return Rescoring.of_scores(
        scores[0], scores[1:], targets=[one.tag for one in rows], labels=labels, tags=tuple(judge.tags),
        thresholds=thresholds, n_boot=n_boot, provenance=provenance, groups=groups,
        looks=watch.looks(scores, together, groups, n_boot=n_boot),
    )  # fmt: skip


def _texts(text: str) -> tuple[str, ...]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("a list of names is something else")
    return tuple(found)
