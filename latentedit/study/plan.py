"""How many pictures a study decodes, and about how long that takes here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from latentedit.study.protocol import Protocol
from latentedit.study.run import Study

_TRIED = 32  # pictures a rate is measured on


@dataclass(frozen=True)
class Step:
    """A part of a study.

    Attributes:
        name: of the step.
        pictures: decoded in it.
        uses: networks that look at each of them.
        seconds: about how long it takes; NaN until it was measured.
    """

    name: str
    pictures: int
    uses: tuple[str, ...] = ()
    seconds: float = float("nan")


def steps_of(protocol: Protocol) -> list[Step]:
    """What a study decodes when nothing of it is done yet; an upper bound, as a finder may not find a tag."""
    p, s = protocol, protocol.sizes
    edits = len(p.edits)
    finders = len({m.finder for m in p.methods})
    moves = {metric: edits * len(p.methods_of(metric)) for metric in p.metrics}
    found = [Step("sample", s.samples, ("tagger",))]
    if p.methods_of("natural"):
        found.append(Step("own pictures", s.natural_pictures, ("judge", "natural")))
    if "rescoring" in p.metrics:
        for natural in (False, True):
            methods = [m for m in p.methods_of("rescoring") if (m in p.methods_of("natural")) is natural]
            name, uses = ("re-score and look", ("judge", "natural")) if natural else ("re-score", ("judge",))
            if methods:
                found.append(Step(name, s.rescoring_pictures * len(methods) * (1 + 2 * edits), uses))
    if {"curves", "dependency"} & set(p.metrics):
        rows = finders * (1 + edits * len(s.curve_strengths))
        found.append(Step("strengths", s.curve_pictures * rows, ("judge",)))
    if "fid" in p.metrics:
        uses = ("features", "perceptual") if "lpips" in p.metrics else ("features",)
        found.append(Step("FID", s.fid_pictures * (1 + moves["fid"]), uses))
    if "dfid" in p.metrics:
        found.append(Step("DFID", s.dfid_pictures * s.dfid_augmentations * (1 + moves["dfid"]), ("features",)))
    if "lpips" in p.metrics:
        found.append(Step("LPIPS", s.lpips_pictures * s.lpips_styles * (1 + moves["lpips"]), ("perceptual",)))
    return found


def timed(study: Study) -> list[Step]:
    """The steps of a study with their time, from what a few pictures take; encoding of contents is left out."""
    from latentedit.metrics.perceptual import embed

    codes = study.generator.sample_codes(range(study.batch_size))
    with torch.no_grad():
        images = study.generator.decode(codes).clamp(-1, 1)
        jobs: dict[str, Callable[[], object]] = {
            "decode": lambda: study.generator.decode(codes),
            "tagger": lambda: study.tagger.score(images),
            "judge": lambda: study.judge.score(images),
            "natural": lambda: [network(images) for network in study.natural.values()],
        }
        if (features := study.networks.get("features")) is not None:
            jobs["features"] = lambda: features.features(images)
        if (perceptual := study.networks.get("perceptual")) is not None:
            jobs["perceptual"] = lambda: embed(images, perceptual)
        seconds = {name: _seconds(job, len(images)) for name, job in jobs.items()}
    return [
        replace(step, seconds=step.pictures * (seconds["decode"] + sum(seconds[use] for use in step.uses)))
        for step in steps_of(study.protocol)
    ]


def _seconds(job: Callable[[], object], pictures: int) -> float:
    """Seconds a picture, the median of a few runs after one to warm up."""
    job()
    taken = []
    for _ in range(max(3, _TRIED // pictures)):
        start = time.perf_counter()
        job()
        taken.append((time.perf_counter() - start) / pictures)
    return float(np.median(taken))
