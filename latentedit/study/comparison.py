"""Editors side by side, on the same codes, contents and noise: is one better, or is it noise?

For each edit and each measure, the difference to the first editor, resampled in pairs. Many intervals at once are
widened (Bonferroni: each covers 1 - 0.05 / m of m), so that "a difference is shown" is wrong anywhere in the table with
a probability of 5 % at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from latentedit.metrics.intervals import LEVEL, Estimate, estimate
from latentedit.metrics.rescoring import Among, Rescoring, Summary, rescore, selectivity_of
from latentedit.taggers import Tagger

Measure = Callable[[np.ndarray], np.ndarray]
MEASURES: Mapping[str, Measure] = {
    "target rises by": lambda m: m[..., 0],
    "others change by": lambda m: m[..., 1],
    "selectivity": selectivity_of,
}


@dataclass(frozen=True)
class Row:
    """One edit by every editor.

    Attributes:
        label: what the edit is called.
        pictures: how many it was measured on.
        others: the tags that count as off target, for all editors alike.
        summaries: editor → target, off target, selectivity.
        differences: editor → measure → its value minus the first one's.
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
    n_boot: int = 1000,
    relations: TagRelations | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Measure the same edits by several editors on the same pictures.

    Args:
        generator, judge, edits, faces, batch_size, n_boot, relations: see :func:`latentedit.rescore`.
        editors: name → editor, two or more of the generator.
        among: the pictures that lack the target's tag, or all.
        progress: called with (editor, pictures done, pictures in all).

    Raises:
        MismatchError: an editor of another generator.
        LatentEditError: fewer than two editors, or no edit that all of them can do and the judge measures.
    """
    if len(editors) < 2:
        raise LatentEditError(f"a comparison needs two files of directions or more, and got {len(editors)}")
    for name, editor in editors.items():
        if (its := getattr(editor, "generator_id", generator.id)) != generator.id:
            raise MismatchError(f"{name} fits the generator {its}, not {generator.id}")
    able, left_out = _able(judge, editors, as_edits(edits))
    if not able:
        reasons = "; ".join(f"{label}: {why}" for label, why in left_out.items())
        raise LatentEditError(f"no edit is left to compare ({reasons})")
    found = {
        name: rescore(
            generator, judge, editor, able, faces, batch_size=batch_size, n_boot=n_boot, relations=relations,
            progress=partial(progress, name) if progress else None,
        )
        for name, editor in editors.items()
    }  # fmt: skip
    count = len(able) * len(MEASURES) * (len(editors) - 1)
    level = 1 - (1 - LEVEL) / count
    n_boot = max(n_boot, round(40 / (1 - level)))  # enough for the tails of a wider interval
    rows = tuple(_row(i, str(one), found, among, level, n_boot, relations) for i, one in enumerate(able))
    return Comparison(tuple(editors), rows, left_out, count, level)


def _able(
    judge: Tagger, editors: Mapping[str, Editor], edits: Sequence[Edit]
) -> tuple[list[Edit], dict[str, str]]:
    """The edits that all editors can do and the judge measures, and why the others are left out."""
    able, left_out = [], {}
    for one in edits:
        lacking = [name for name, editor in editors.items() if one.tag not in editor.tags]
        if not one.tag:
            left_out[str(one)] = "several tags at once have no target"
        elif lacking:
            left_out[str(one)] = f"not in {', '.join(lacking)}"
        elif one.tag not in judge.tags:
            left_out[str(one)] = "the judge does not measure it"
        else:
            able.append(one)
    return able, left_out


def _row(
    i: int, label: str, found: Mapping[str, Rescoring], among: Among, level: float, n_boot: int,
    relations: TagRelations | None,
) -> Row:  # fmt: skip
    others = tuple(dict.fromkeys(t for r in found.values() for t in r.others(i, relations=relations)))
    summaries = {name: r.summary(i, among=among, others=others, relations=relations) for name, r in found.items()}
    columns = {}
    for name, r in found.items():
        e = r.effects(i, among=among, others=others, relations=relations)
        columns[name] = np.stack([e.target, e.off_target], 1).astype(float)  # (m, 2)
    first, *rest = columns
    differences: dict[str, dict[str, Estimate]] = {}
    for name in rest:
        both = np.concatenate([columns[name], columns[first]], 1)  # (m, 4)
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        differences[name] = {
            measure: estimate(both, partial(gap, of), n_boot=n_boot, level=level) if len(both) else nothing
            for measure, of in MEASURES.items()
        }
    return Row(label, len(columns[first]), others, summaries, differences)


def gap(of: Measure, means: np.ndarray) -> np.ndarray:
    """A measure of the first two of means (..., 4) minus that of the last two."""
    difference: np.ndarray = of(means[..., :2]) - of(means[..., 2:])
    return difference


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its stem, with its folder where two stems are the same, numbered as a last resort."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
