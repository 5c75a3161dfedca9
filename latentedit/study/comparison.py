"""Editors side by side, on the same codes, contents and noise: is one better, or is it noise?

For each edit and each measure, the difference to the first editor, resampled in pairs. Many intervals at once are
widened (Bonferroni: each covers 1 - 0.05 / m of m), so that "a difference is shown" is wrong anywhere in the table with
a probability of 5 % at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentedit.directions.edits import Edit, EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import FacesLike
from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators import Generator
from latentedit.metrics.carriers import OwnPictures
from latentedit.metrics.intervals import LEVEL, NOTHING, Estimate, estimate
from latentedit.metrics.rescoring import Among, Rescoring, Summary, rescore, selectivity_of
from latentedit.taggers import Tagger
from latentedit.taggers.tag_names import known_tag

Measure = Callable[[np.ndarray], np.ndarray]
"""From means (..., c) of what was measured of each picture to numbers (...)."""
MEASURES: Mapping[str, Measure] = {
    "target rises by": lambda m: m[..., 0],
    "others change by": lambda m: m[..., 1],
    "selectivity": selectivity_of,
}
"""Of the first two columns: change of the target, mean absolute change of the others."""
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Row:
    """One edit by every editor.

    Attributes:
        label: what the edit is called.
        pictures: how many it was measured on.
        others: the tags that count as off target, for all editors alike.
        summaries: editor → target, off target, selectivity.
        differences: editor → measure → its value minus the first one's: those of :data:`MEASURES`, ``elsewhere``, and
            ``natural (NETWORK)`` where enough carriers were drawn.
    """

    label: str
    pictures: int
    others: tuple[str, ...]
    summaries: Mapping[str, Summary]
    differences: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Comparison:
    """Editors side by side.

    Attributes:
        names: of the editors; the first is what the others are compared with.
        rows: one an edit.
        left_out: edits that could not be compared, and why.
        comparisons: m, differences in all, for which the intervals were widened.
        level: of each difference's interval.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]
    comparisons: int
    level: float


def compare(
    generator: Generator,
    judge: Tagger,
    editors: Mapping[str, Editor],
    edits: EditLike,
    faces: FacesLike,
    *,
    among: Among = "lacking",
    batch_size: int = 32,
    own: OwnPictures | None = None,
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Measure the same edits by several editors on the same pictures.

    Args:
        generator, judge, edits, faces, batch_size, own, n_boot, relations: see :func:`latentedit.rescore`.
        editors: name → editor, two or more of the generator.
        among: the pictures that lack the target's tag, or all.
        progress: called with (editor, pictures done, pictures in all).

    Raises:
        MismatchError: an editor of another generator.
        LatentEditError: fewer than two editors, or no edit that all of them can do and the judge measures.
    """
    check_editors(generator, editors)
    able, left_out = _able(judge, editors, as_edits(edits, judge.tags))
    if not able:
        reasons = "; ".join(f"{label}: {why}" for label, why in left_out.items())
        raise LatentEditError(f"no edit is left to compare ({reasons})")
    found = {
        name: rescore(
            generator, judge, editor, able, faces, batch_size=batch_size, own=own, n_boot=n_boot, relations=relations,
            progress=partial(progress, name) if progress else None,
        )
        for name, editor in editors.items()
    }  # fmt: skip
    others = [
        tuple(dict.fromkeys(t for r in found.values() for t in r.others(i, relations=relations)))
        for i in range(len(able))
    ]
    columns = [
        {name: columns_of(r, i, among=among, others=others[i]) for name, r in found.items()} for i in range(len(able))
    ]
    count = sum(len(measures_of(one.values())) for one in columns) * (len(editors) - 1)
    level = 1 - (1 - LEVEL) / count
    n_boot = max(n_boot, round(40 / (1 - level)))  # enough for the tails of a wider interval
    rows = []
    for i, one in enumerate(able):
        summaries = {
            name: r.summary(i, among=among, others=others[i], relations=relations) for name, r in found.items()
        }
        groups = _groups(found, i, among)
        differences = _differences(columns[i], level=level, n_boot=n_boot, groups=groups)
        first = next(iter(summaries.values()))
        rows.append(Row(str(one), first.pictures, others[i], summaries, differences))
    return Comparison(tuple(editors), tuple(rows), left_out, count, level)


def check_editors(generator: Generator, editors: Mapping[str, Editor]) -> None:
    """Refuse what cannot be compared.

    Raises:
        MismatchError: an editor of another generator.
        LatentEditError: fewer than two editors.
    """
    if len(editors) < 2:
        raise LatentEditError(f"a comparison needs two files of directions or priors, and got {len(editors)}")
    for name, editor in editors.items():
        if (its := getattr(editor, "generator_id", generator.id)) != generator.id:
            raise MismatchError(f"{name} fits the generator {its}, not {generator.id}")


def _able(judge: Tagger, editors: Mapping[str, Editor], edits: Sequence[Edit]) -> tuple[list[Edit], dict[str, str]]:
    """The edits that all editors can do and the judge measures, and why the others are left out."""
    able, left_out = [], {}
    for one in edits:
        lacking = [name for name, editor in editors.items() if known_tag(one.tag, editor.tags) not in editor.tags]
        if not one.tag:
            left_out[str(one)] = "several tags at once have no target"
        elif lacking:
            left_out[str(one)] = f"not in {', '.join(lacking)}"
        elif one.tag not in judge.tags:
            left_out[str(one)] = "the judge does not measure it"
        else:
            able.append(one)
    return able, left_out


def columns_of(
    r: Rescoring, target: int, *, among: Among = "lacking", others: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """What is known of each picture (m,) of an edit, in columns: target, others, elsewhere, and naturalness by network.

    A picture's naturalness is its density over the mean of fresh carriers; it is left out where that is not known.
    """
    e = r.effects(target, among=among, others=others)
    found = {"target": e.target, "others": e.off_target}
    if r.looks is not None:
        found[ELSEWHERE] = r.elsewhere(target, among=among).values
    for network, one in r.natural(target).items() if among == "lacking" else ():
        if one.reference and one.fresh.mean():
            found[f"natural ({network})"] = one.density / one.fresh.mean()
    return found


def measures_of(columns: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Measure]:
    """The measures that all of these have, by the means of their shared columns, in order."""
    shared = _shared(columns)
    return dict(MEASURES) | {name: partial(_place, shared.index(name)) for name in shared[2:]}


def _shared(columns: Iterable[Mapping[str, np.ndarray]]) -> list[str]:
    first, *rest = columns
    return [name for name in first if all(name in one for one in rest)]


def _place(place: int, means: np.ndarray) -> np.ndarray:
    found: np.ndarray = means[..., place]
    return found


def table_of(columns: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Name → what is known of each picture, (m, c) float64, the same columns for all."""
    shared = _shared(columns.values())
    return {name: np.stack([one[column] for column in shared], 1).astype(float) for name, one in columns.items()}


def _groups(found: Mapping[str, Rescoring], target: int, among: Among) -> np.ndarray | None:
    """Which of the pictures (m,) that were measured share a content."""
    r = next(iter(found.values()))
    if r.groups is None:
        return None
    return r.groups[r.rows(target)] if among == "lacking" else r.groups


def _differences(
    columns: Mapping[str, Mapping[str, np.ndarray]], *, level: float, n_boot: int, groups: np.ndarray | None
) -> dict[str, dict[str, Estimate]]:
    """Editor → measure → its value minus the first editor's."""
    tables, measures = table_of(columns), measures_of(columns.values())
    first, *rest = tables
    differences: dict[str, dict[str, Estimate]] = {}
    for name in rest:
        both = np.concatenate([tables[name], tables[first]], 1)  # (m, 2c)
        differences[name] = {
            measure: estimate(both, partial(gap, of), n_boot=n_boot, level=level, groups=groups)
            if len(both)
            else NOTHING
            for measure, of in measures.items()
        }
    return differences


def gap(of: Measure, means: np.ndarray) -> np.ndarray:
    """A measure of the first half of means (..., 2c) minus that of the second."""
    c = means.shape[-1] // 2
    difference: np.ndarray = of(means[..., :c]) - of(means[..., c:])
    return difference


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its stem, with its folder where two stems are the same, numbered as a last resort."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
