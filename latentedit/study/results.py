"""A study's numbers: every measurement as an estimate with its interval, beside what was published.

Differences to the unedited pictures, and between an edit with and without its opposing tag, are paired: the same
pictures, resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from latentedit.files import jsonable
from latentedit.metrics.curves import Curves
from latentedit.metrics.dependency import AttributeDependency
from latentedit.metrics.edited_pictures import ORIGINAL
from latentedit.metrics.features.base import metric_name
from latentedit.metrics.frechet_distance import fid_difference, fid_interval, small_sample_note
from latentedit.metrics.intervals import Estimate, estimate, in_turn
from latentedit.metrics.looks import Looks
from latentedit.metrics.rescoring import Rescoring, selectivity_of
from latentedit.study.protocol import Method, Protocol
from latentedit.study.run import Measured, edits_of, key_of
from latentedit.taggers.base import thresholds_of


@dataclass(frozen=True)
class Number:
    """One number of a study.

    Attributes:
        metric: fid, dfid, lpips, disturbance, ...
        method, edit: what it was measured on; method ``original`` and edit "" for unedited pictures.
        estimate: with its interval.
        difference: to the unedited pictures, paired; None for those.
        published: what a publication printed for it, or None.
        pictures: how many the interval is over.
    """

    metric: str
    method: str
    edit: str
    estimate: Estimate
    difference: Estimate | None = None
    published: float | None = None
    pictures: int = 0


@dataclass(frozen=True)
class Opposing:
    """What the opposing tag adds to an edit: with it minus without it, paired."""

    method: str
    edit: str
    target: Estimate
    off_target: Estimate
    selectivity: Estimate


@dataclass(frozen=True)
class Results:
    """A study's numbers.

    Attributes:
        protocol: of the study.
        names: metric → what it is called over the network that it was measured with.
        notes: what a reader must know of a metric before comparing it.
        numbers: all of them.
        rescorings: method → with the opposing tag, without it.
        opposing: method and edit → what the opposing tag adds.
        curves, dependency: finder → over strengths, with opposing tags at a third.
        dci: finder → disentanglement, completeness, informativeness.
        provenance: what every number depends on.
    """

    protocol: Protocol
    names: Mapping[str, str]
    notes: Mapping[str, str]
    numbers: tuple[Number, ...]
    rescorings: Mapping[str, tuple[Rescoring, Rescoring]]
    opposing: tuple[Opposing, ...]
    curves: Mapping[str, Curves]
    dependency: Mapping[str, AttributeDependency]
    dci: Mapping[str, Sequence[float]]
    provenance: Mapping[str, Any]

    def of(self, metric: str) -> list[Number]:
        """The numbers of a metric."""
        return [number for number in self.numbers if number.metric == metric]

    def find(self, metric: str, method: str, edit: str = "") -> Number | None:
        """One number, or None when it was not measured."""
        return next((n for n in self.of(metric) if (n.method, n.edit) == (method, edit)), None)


def results_of(measured: Measured) -> Results:
    """All numbers of what was measured."""
    p = measured.protocol
    rescorings = {m.name: _rescorings(measured, m) for m in p.methods_of("rescoring") if m.name in measured.scores}
    names: dict[str, str] = {}
    notes: dict[str, str] = {}
    if "features" in measured.networks:
        network = measured.networks["features"]
        names |= {"fid": metric_name("FID", network), "dfid": metric_name("DFID", network)}
        for metric, count in (("fid", p.sizes.fid_pictures), ("dfid", p.sizes.dfid_augmentations)):
            real = 0 if measured.target_features is None else len(measured.target_features)
            note = small_sample_note(min(count, real), network.dim)
            if note:
                notes[metric] = note
    if "perceptual" in measured.networks:
        names["lpips"] = metric_name("LPIPS", measured.networks["perceptual"])
    if note := measured.provenance["natural"]["note"]:
        notes["natural"] = note
    numbers = [*_fid_numbers(measured), *_mean_numbers(measured, "dfid", measured.domain)]
    numbers += _mean_numbers(measured, "lpips", measured.diversity)
    numbers += _mean_numbers(measured, "disturbance", measured.disturbance)
    return Results(
        p, names, notes, tuple(numbers), rescorings, tuple(_opposing(measured, rescorings)), _curves(measured),
        _dependency(measured), {k: v.tolist() for k, v in measured.dci.items()}, measured.provenance,
    )  # fmt: skip


def _published(protocol: Protocol, metric: str, method: str, edit: str) -> float | None:
    found: Any = protocol.published.get(metric, {}).get(method)
    if isinstance(found, Mapping):
        found = found.get(edit)
    return float(found) if isinstance(found, (int, float)) else None


def _each(measured: Measured, metric: str) -> list[tuple[str, str, str]]:
    """(key, method, edit) of the original and every move that a metric was measured of."""
    p = measured.protocol
    moves = [
        (key_of(m, edit), m.name, edit) for m in p.methods_of(metric) for edit in edits_of(p, measured.banks[m.finder])
    ]
    return [(ORIGINAL, ORIGINAL, ""), *moves]


def _fid_numbers(measured: Measured) -> list[Number]:
    found, targets = [], measured.target_features
    if targets is None or not measured.features:
        return []
    original = measured.features[ORIGINAL]
    groups = _groups(measured, len(original))
    for key, method, edit in _each(measured, "fid"):
        here = measured.features[key]
        found.append(
            Number(
                "fid", method, edit, fid_interval(here, targets, groups=groups),
                None if key == ORIGINAL else fid_difference(here, original, targets, groups=groups),
                _published(measured.protocol, "fid", method, edit), len(here),
            )
        )  # fmt: skip
    return found


def _groups(measured: Measured, pictures: int) -> np.ndarray | None:
    """Which pictures share one of the study's contents, which they take in turn."""
    return in_turn(pictures, int(measured.provenance["contents"]))


def _mean_numbers(measured: Measured, metric: str, values: Mapping[str, np.ndarray]) -> list[Number]:
    """Numbers that are means over pictures, or over contents."""
    found, n_boot = [], measured.protocol.sizes.n_boot
    for key, method, edit in _each(measured, "fid" if metric == "disturbance" else metric):
        if key not in values:
            continue
        groups = _groups(measured, len(values[key]))
        difference = None
        if key != ORIGINAL and ORIGINAL in values:
            difference = estimate(values[key] - values[ORIGINAL], n_boot=n_boot, groups=groups)
        found.append(
            Number(
                metric, method, edit, estimate(values[key], n_boot=n_boot, groups=groups), difference,
                _published(measured.protocol, metric, method, edit), len(values[key]),
            )
        )  # fmt: skip
    return found


def _rescorings(measured: Measured, method: Method) -> tuple[Rescoring, Rescoring]:
    """A method's re-scoring with and without the opposing tags."""
    p, scores = measured.protocol, measured.scores[method.name]
    edits = edits_of(p, measured.banks[method.finder])
    targets = {e.name: e.positive for e in p.edits}
    held = {name.removeprefix("looks "): value for name, value in scores.items() if name.startswith("looks ")}
    looks = Looks.of_arrays(held).resampled(p.sizes.n_boot) if held else None
    parts = {"opposed": slice(0, len(edits)), "alone": slice(len(edits), None)}
    opposed, alone = (
        Rescoring.of_scores(
            scores["before"], scores[kind], targets=[targets[name] for name in edits], labels=edits,
            tags=measured.judge.tags, thresholds=thresholds_of(measured.judge), n_boot=p.sizes.n_boot,
            groups=scores.get("groups"), looks=None if looks is None else looks.part(part),
        )
        for kind, part in parts.items()
    )  # fmt: skip
    return opposed, alone


def _curves(measured: Measured) -> dict[str, Curves]:
    """Every finder's curves, over the pictures that lack the tag; the same tags count as off target for all."""
    if "curves" not in measured.protocol.metrics:
        return {}
    strengths = measured.protocol.sizes.curve_strengths

    def curves(finder: str, others: Mapping[str, Sequence[str]] | None) -> Curves:
        about, scores = _about(measured, finder), measured.curves[finder]
        return Curves.of_scores(
            scores["before"], scores["after"], strengths=strengths, among="lacking",
            others=None if others is None else [others[name] for name in about["labels"]], **about,
        )  # fmt: skip

    found = {finder: curves(finder, None) for finder in measured.curves}
    union: dict[str, tuple[str, ...]] = {}
    for one in found.values():
        for label, tags in zip(one.labels, one.others, strict=True):
            union[label] = tuple(dict.fromkeys([*union.get(label, ()), *tags]))
    return {finder: curves(finder, union) for finder in found}


def _dependency(measured: Measured) -> dict[str, AttributeDependency]:
    if "dependency" not in measured.protocol.metrics:
        return {}
    strengths = np.array(measured.protocol.sizes.curve_strengths)
    up = strengths > 0
    return {
        finder: AttributeDependency.of_scores(
            scores["before"], scores["after"][up], strengths=strengths[up].tolist(), **_about(measured, finder)
        )
        for finder, scores in measured.curves.items()
    }


def _about(measured: Measured, finder: str) -> dict[str, Any]:
    """What curves and dependencies of a finder have in common."""
    edits = edits_of(measured.protocol, measured.banks[finder])
    targets = {e.name: e.positive for e in measured.protocol.edits}
    return {
        "targets": [targets[name] for name in edits], "labels": edits, "tags": measured.judge.tags,
        "thresholds": thresholds_of(measured.judge), "n_boot": measured.protocol.sizes.n_boot,
        "groups": _groups(measured, len(measured.curves[finder]["before"])),
    }  # fmt: skip


def _opposing(measured: Measured, rescorings: Mapping[str, tuple[Rescoring, Rescoring]]) -> list[Opposing]:
    """With the opposing tag minus without it, over the pictures that lack the tag."""
    paired = {e.name for e in measured.protocol.edits if e.negative is not None}
    found = []
    for method, (opposed, alone) in rescorings.items():
        for i, edit in enumerate(opposed.labels):
            if edit not in paired or opposed.targets[i] not in opposed.tags:
                continue
            others = tuple(dict.fromkeys([*opposed.others(i), *alone.others(i)]))
            a, b = (r.effects(i, among="lacking", others=others) for r in (opposed, alone))
            if len(a.target):
                columns = np.stack([a.target, a.off_target, b.target, b.off_target], 1)  # (m, 4)
                groups = None if opposed.groups is None else opposed.groups[a.pictures]
                found.append(Opposing(method, edit, *_differences(columns, measured.protocol.sizes.n_boot, groups)))
    return found


def _differences(columns: np.ndarray, n_boot: int, groups: np.ndarray | None) -> tuple[Estimate, Estimate, Estimate]:
    """Differences of target, off-target and selectivity from (m, 4): both of the first, both of the second."""
    resample = partial(estimate, n_boot=n_boot, groups=groups)
    return (
        resample(columns[:, 0] - columns[:, 2]),
        resample(columns[:, 1] - columns[:, 3]),
        resample(columns, lambda m: selectivity_of(m[..., :2]) - selectivity_of(m[..., 2:])),
    )


def as_json(results: Results) -> dict[str, Any]:
    """The results as one JSON document; what is not known or not reached is null."""
    matrices = {
        method: {
            "edits": list(opposed.labels), "targets": list(opposed.targets), "tags": list(opposed.tags),
            "mean": opposed.mean, "low": opposed.low, "high": opposed.high,
            "summary": [
                opposed.summary(i, among="lacking") if tag in opposed.tags else None
                for i, tag in enumerate(opposed.targets)
            ],
        }
        for method, (opposed, _) in results.rescorings.items()
    }  # fmt: skip
    document = {
        "title": results.protocol.title, "names": dict(results.names), "notes": dict(results.notes),
        "numbers": list(results.numbers), "rescoring": matrices,
        "opposing": list(results.opposing),
        "curves": {finder: curves.numbers() for finder, curves in results.curves.items()},
        "dependency": {finder: found.numbers() for finder, found in results.dependency.items()},
        "dci": {
            finder: dict(zip(("disentanglement", "completeness", "informativeness"), values, strict=True))
            for finder, values in results.dci.items()
        },
        "provenance": dict(results.provenance),
    }  # fmt: skip
    found: dict[str, Any] = jsonable(document)
    return found
