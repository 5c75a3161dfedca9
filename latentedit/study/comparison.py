"""Banks of directions side by side, on the same codes, contents and noise: is one better, or is it noise?

For each edit and each measure, the difference to the first bank, resampled in pairs. Many intervals at once are widened
(Bonferroni: each covers 1 - 0.05 / m of m), so that "a difference is shown" is wrong anywhere in the table with a
probability of 5 % at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.pairs import TagKnowledge
from latentedit.editing.editor import Edit, edit, label_of
from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators import Generator
from latentedit.metrics.intervals import LEVEL, Estimate, estimate
from latentedit.metrics.rescoring import Among, Rescoring, Summary, rescore, selectivity_of
from latentedit.metrics.scoring import target_of
from latentedit.pictures.images import grid
from latentedit.taggers import Tagger

Measure = Callable[[np.ndarray], np.ndarray]
MEASURES: Mapping[str, Measure] = {
    "target rises by": lambda m: m[..., 0],
    "others change by": lambda m: m[..., 1],
    "selectivity": selectivity_of,
}


@dataclass(frozen=True)
class Row:
    """One edit by every bank.

    Attributes:
        label: what the edit is called.
        pictures: how many it was measured on.
        others: the tags that count as off target, for all banks alike.
        summaries: bank → target, off target, selectivity.
        differences: bank → measure → its value minus the first bank's.
        cosines: bank → cosine of its direction of the target with the first bank's.
    """

    label: str
    pictures: int
    others: tuple[str, ...]
    summaries: Mapping[str, Summary]
    differences: Mapping[str, Mapping[str, Estimate]]
    cosines: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Banks side by side.

    Attributes:
        names: of the banks; the first is what the others are compared with.
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
    banks: Mapping[str, DirectionBank],
    edits: Sequence[Edit],
    seeds: Sequence[int],
    *,
    strength: float | None = None,
    opposite: str | None = "auto",
    unit: str = "sigma",
    layers: Sequence[int | str] | str | None = None,
    content: Tensor | None = None,
    among: Among = "lacking",
    batch_size: int = 32,
    n_boot: int = 1000,
    knowledge: TagKnowledge | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Measure the same edits by several banks on the same pictures.

    Args:
        generator, judge, edits, seeds, strength, opposite, unit, layers, content, batch_size, n_boot, knowledge: see
            :func:`latentedit.rescore`.
        banks: name → directions, two or more of the generator.
        among: the pictures that lack the target's tag, or all.
        progress: called with (bank, pictures done, pictures in all).

    Raises:
        MismatchError: a bank of another generator.
        LatentEditError: fewer than two banks, or no edit that all of them can do and the judge measures.
    """
    if len(banks) < 2:
        raise LatentEditError(f"a comparison needs two files of directions or more, and got {len(banks)}")
    for name, bank in banks.items():
        if bank.generator_id != generator.id:
            raise MismatchError(f"{name} fits the generator {bank.generator_id}, not {generator.id}")
    able, left_out = _able(judge, banks, edits)
    if not able:
        reasons = "; ".join(f"{label}: {why}" for label, why in left_out.items())
        raise LatentEditError(f"no edit is left to compare ({reasons})")
    found = {
        name: rescore(
            generator, judge, bank, able, seeds, strength=strength, opposite=opposite, unit=unit, layers=layers,
            content=content, batch_size=batch_size, n_boot=n_boot, knowledge=knowledge,
            progress=partial(progress, name) if progress else None,
        )
        for name, bank in banks.items()
    }  # fmt: skip
    count = len(able) * len(MEASURES) * (len(banks) - 1)
    level = 1 - (1 - LEVEL) / count
    n_boot = max(n_boot, round(40 / (1 - level)))  # enough for the tails of a wider interval
    rows = []
    for i, one in enumerate(able):
        row = _row(i, label_of(one), found, among, level, n_boot, knowledge)
        target, first = target_of(one), next(iter(banks.values()))
        a = first[target].vector.flatten().double()
        cosines = {n: float(a @ b[target].vector.flatten().double()) for n, b in list(banks.items())[1:]}
        rows.append(Row(*row, cosines))
    return Comparison(tuple(banks), tuple(rows), left_out, count, level)


def _able(
    judge: Tagger, banks: Mapping[str, DirectionBank], edits: Sequence[Edit]
) -> tuple[list[Edit], dict[str, str]]:
    """The edits that all banks can do and the judge measures, and why the others are left out."""
    able, left_out = [], {}
    for one in edits:
        label, target = label_of(one), target_of(one)
        lacking = [name for name, bank in banks.items() if target not in bank]
        if not target:
            left_out[label] = "several tags at once have no target"
        elif lacking:
            left_out[label] = f"not in {', '.join(lacking)}"
        elif target not in judge.tags:
            left_out[label] = "the judge does not measure it"
        else:
            able.append(one)
    return able, left_out


def _row(
    i: int, label: str, found: Mapping[str, Rescoring], among: Among, level: float, n_boot: int,
    knowledge: TagKnowledge | None,
) -> tuple[str, int, tuple[str, ...], dict[str, Summary], dict[str, dict[str, Estimate]]]:  # fmt: skip
    others = tuple(dict.fromkeys(t for r in found.values() for t in r.others(i, knowledge=knowledge)))
    summaries = {name: r.summary(i, among=among, others=others, knowledge=knowledge) for name, r in found.items()}
    columns = {}
    for name, r in found.items():
        e = r.effects(i, among=among, others=others, knowledge=knowledge)
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
    return label, len(columns[first]), others, summaries, differences


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


@torch.no_grad()
def comparison_sheet(
    generator: Generator,
    banks: Mapping[str, DirectionBank],
    edits: Sequence[Edit],
    seeds: Sequence[int],
    strengths: Sequence[float],
    *,
    opposite: str | None = "auto",
    unit: str = "sigma",
    layers: Sequence[int | str] | str | None = None,
    content: Tensor | None = None,
    knowledge: TagKnowledge | None = None,
) -> Image.Image:
    """The same faces by every bank: a block of rows an edit, a row a bank and face, a column a strength.

    Args:
        generator, banks, edits, opposite, unit, layers, content, knowledge: see :func:`compare`.
        seeds: of the faces.
        strengths: of the columns, in ``unit``.
    """
    codes, rows, labels = generator.sample_codes(list(seeds)), [], []
    for one in edits:
        for name, bank in banks.items():
            steps = []
            for s in strengths:
                moved = edit(
                    codes, bank, one, strength=s, opposite=opposite, unit=unit, layers=layers, knowledge=knowledge
                )
                steps.append(
                    (generator.decode(moved) if content is None else generator.decode(moved, content=content)).cpu()
                )
            for j in range(len(codes)):
                rows.append(torch.stack([step[j] for step in steps]))
                labels.append(f"{label_of(one)}: {name}" if j == 0 else "")
    title = [f"{s:+.3g}{' σ' if unit == 'sigma' else ''}" for s in strengths]
    return grid(torch.cat(rows), len(strengths), row_labels=labels, column_labels=title)
