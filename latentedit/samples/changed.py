"""Whether the code of a tagger or a generator of a user's own has changed since it made stored samples.

The id of such a thing is a hash of its tensors, so mending its code changes nothing of it. For a generator the manifest
keeps a probe (:mod:`latentedit.generators.probe`). A tagger needs none: rows that it tagged are there, and are scored
again; taggers for which that is worth while have ``repeats_within``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentedit.generators.base import Generator
from latentedit.samples.fill import checked_scores, pictures_of
from latentedit.samples.store import SCORE_FLOOR, Samples, codes_path, tags_path, vocabulary_path
from latentedit.taggers.base import Tagger
from latentedit.taggers.prefetch import halves

ROWS = 8
"""Stored rows that are scored again: the first ones of a shard."""


def tagger_has_changed(
    samples: Samples, generator: Generator, tagger: Tagger, *, contents: str | Path | None = None
) -> bool:
    """Whether a tagger gives rows that it tagged other scores than those that are stored, or has other tags now.

    Scores are not compared where the generator decodes in another dtype than the stored rows were decoded in.

    Args:
        samples: the run.
        generator: the one that its codes belong to, unchanged.
        tagger: of any id; one that the run does not have, or whose id says all, has not changed.
        contents: folder of the content pictures when they have moved since.

    Raises:
        DamagedFileError: a shard does not fit the manifest.
        LatentEditError: pictures or scores of another shape, or not finite.
    """
    tolerance = getattr(tagger, "repeats_within", None)
    record = next((one for one in samples.manifest.taggers if one.id == tagger.id), None)
    if tolerance is None or record is None or not vocabulary_path(samples.path, record).exists():
        return False
    if samples.tags(record.id) != tuple(tagger.tags):
        return True
    places = [
        (
            codes_path(samples.path, number, samples.manifest.shards[number]),
            tags_path(samples.path, record.folder, number, shard),
        )
        for number, shard in enumerate(record.shards)
    ]
    number = next((i for i, (codes, tags) in enumerate(places) if codes.exists() and tags.exists()), None)
    if number is None:
        return False
    then, now = record.shards[number].dtype, str(getattr(generator, "dtype", "")).removeprefix("torch.")
    if then and now and then != now:
        return False  # the pictures are others by a little, and the tagger's scores with them
    seeds = samples.manifest.seeds(number, record.shards[number].rows)
    rows = np.flatnonzero(samples.manifest.has_picture(seeds))[:ROWS]
    if not len(rows):
        return False
    seeds, sparse = seeds[rows], samples.read_tags(record, number, tagger.tags)
    stored = sparse.dense(slice(0, int(rows[-1]) + 1), len(tagger.tags))[rows]
    pictures = pictures_of(samples, generator, seeds.tolist(), contents=contents)
    prepare, predict = halves(tagger)
    scores = checked_scores(tagger, predict(prepare(pictures)), [f"seed {seed}" for seed in seeds])
    # Smaller ones are not stored.
    return bool((np.abs(np.maximum(scores, SCORE_FLOOR) - np.maximum(stored, SCORE_FLOOR)) > tolerance).any())
