"""Stored tags written anew: when thresholds change, and when shards are of the version that held numbers.

No score changes, and no picture is decoded. The new files are made in a hidden folder beside the tagger's; they count
from the moment that the manifest lists them, and take their places then. A run that is killed before that moment has
changed nothing; after one that is killed later, the next writer puts in place what is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentedit.files import sha256_of
from latentedit.samples.manifest import Manifest, TaggerRecord
from latentedit.samples.places import tags_path, vocabulary_path
from latentedit.samples.store import Samples
from latentedit.samples.tables import tags_table, vocabulary_table, write_table


def rewrite_tags(
    samples: Samples, record: TaggerRecord, tags: Sequence[str], thresholds: Sequence[float]
) -> TaggerRecord:
    """Make a tagger's shards and vocabulary with other thresholds; they wait for :func:`put_in_place`.

    Shards whose file is missing are left out: they will be tagged again.

    Returns:
        The tagger as the manifest has to list it.

    Raises:
        DamagedFileError: a shard does not fit the manifest.
        LatentEditError: a file cannot be written.
    """
    new, limits = replace(record, numbered=False), np.array(thresholds, np.float16).astype(np.float32)
    waiting = _waiting(samples.path, record)
    shards = list(record.shards)
    for number, shard in enumerate(shards):
        place = tags_path(samples.path, record.folder, number, shard)
        if place.exists():
            scores = samples.read_tags(record, number, tags).dense(slice(0, shard.rows), len(tags))
            status = samples.read_status(record, number)
            table = tags_table(samples.manifest.seeds(number, shard.rows), scores, tags, limits, status)
            made = write_table(waiting / place.name, table)
            shards[number] = replace(shard, bytes=made.bytes, sha256=made.sha256)
    name = vocabulary_path(samples.path, new).name
    vocabulary = write_table(waiting / name, vocabulary_table(tags, thresholds))
    return replace(new, vocabulary=vocabulary, shards=tuple(shards))


def put_in_place(path: Path, manifest: Manifest) -> None:
    """Move files that wait and that the manifest of the run in ``path`` lists to their places; remove the others."""
    for record in manifest.taggers:
        waiting = _waiting(path, record)
        if not waiting.is_dir():
            continue
        places = [(tags_path(path, record.folder, k, shard), shard) for k, shard in enumerate(record.shards)]
        for place, listed in [*places, (vocabulary_path(path, record), record.vocabulary)]:
            made = waiting / place.name
            if made.is_file() and made.stat().st_size == listed.bytes and sha256_of(made) == listed.sha256:
                os.replace(made, place)
        if not record.numbered:
            with suppress(OSError):
                vocabulary_path(path, replace(record, numbered=True)).unlink()
        shutil.rmtree(waiting)


def _waiting(path: Path, record: TaggerRecord) -> Path:
    return path / "tags" / f".new-{record.folder}"
