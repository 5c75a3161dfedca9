"""How much disk a run will take, told before the work from a few of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from latentedit.pictures.images import to_uint8
from latentedit.samples.fill import Job, checked_scores, content_names, decode_rows, draw, png, row_names
from latentedit.samples.manifest import NAME, Manifest
from latentedit.samples.tables import codes_table, size_of, tags_table, vocabulary_table
from latentedit.samples.writer import Writer
from latentedit.taggers.base import Tagger, thresholds_of
from latentedit.taggers.prefetch import halves

_ROWS = 16
_LISTED = 130  # bytes of a shard in the manifest
_BLOCK = 4096
_SAYS = 150  # bytes of what a picture's file says about it


@dataclass(frozen=True)
class Expected:
    """Disk space in bytes.

    Attributes:
        samples: of the whole run in the end.
        there: that of the run as it is.
        pictures: of the pictures that will be written as files.
        files: their number.
    """

    samples: int
    there: int
    pictures: int
    files: int

    @property
    def on_disk(self) -> int:
        """What the pictures take away from the disk: file systems give out whole blocks."""
        return self.pictures + self.files * _BLOCK // 2


def expect(writer: Writer, job: Job, n: int) -> Expected:
    """What bringing a run to n rows takes: 16 of them, or a sixteenth, are drawn, decoded and scored to tell.

    Raises:
        LatentEditError: as :func:`latentedit.samples.sampling.sample`.
    """
    manifest = writer.manifest
    known = {record.id: record for record in manifest.taggers}
    there = (writer.path / NAME).stat().st_size + sum(shard.bytes for shard in manifest.shards)
    there += sum(r.vocabulary.bytes + sum(shard.bytes for shard in r.shards) for r in manifest.taggers)
    own = known.get(job.tagger.id) if job.tagger is not None else None
    tagged = n if job.tagger is None else sum(shard.rows for shard in own.shards) if own else 0
    files = 0 if job.files is None else job.files.missing
    todo = max(n - manifest.rows, n - tagged, files)
    if todo <= 0:
        return Expected(there, there, 0, 0)
    seeds = manifest.seed + np.unique(np.linspace(0, n - 1, min(_ROWS, -(-todo // _ROWS) + 1)).astype(np.int64))
    if not (shown := manifest.has_picture(seeds)).all():
        first = manifest.seed + np.arange(min(n, 100_000))  # as good as any, where these have no pictures
        seeds = seeds[shown] if shown.any() else first[manifest.has_picture(first)][:_ROWS]
    codes, scores, pictures = _look(job, manifest, seeds)
    shards = -(-n // manifest.shard_size)
    picture = float(np.mean([len(one) for one in pictures])) if pictures else 0.0
    row, start = _line([codes_table(manifest, seeds[:k], codes[:k].numpy(), None) for k in _two(len(seeds))])
    samples = n * (row + picture * manifest.images) + shards * (start + _LISTED) + (writer.path / NAME).stat().st_size
    samples += sum(r.vocabulary.bytes + sum(s.bytes for s in r.shards) for r in manifest.taggers if r is not own)
    if job.tagger is not None and scores is not None:
        row, start = _tags_line(job.tagger, seeds, scores)
        vocabulary = size_of(vocabulary_table(job.tagger.tags, thresholds_of(job.tagger)))
        samples += n * row + shards * (start + _LISTED) + vocabulary
    return Expected(round(samples), there, round(files * (picture + _SAYS)), files)


@torch.no_grad()
def _look(job: Job, manifest: Manifest, seeds: np.ndarray) -> tuple[Tensor, np.ndarray | None, list[bytes]]:
    """Codes (k, dim) of some rows, their scores (k, tags), and their PNG files where pictures are wanted."""
    codes = draw(job.generator, seeds, label=manifest.label, truncation=manifest.truncation)
    label_rows = getattr(job.tagger, "label_rows", None)
    scores: list[np.ndarray] = []
    files: list[bytes] = []
    wanted = manifest.images or job.files is not None
    if label_rows is not None:
        scores.append(label_rows(seeds, content_names(manifest, seeds)))
    if not wanted and (job.tagger is None or label_rows is not None):
        return codes, scores[0] if scores else None, files
    for start in range(0, len(seeds), job.batch_size):
        rows = slice(start, start + job.batch_size)
        pictures = decode_rows(job.generator, manifest, job.contents, seeds[rows], codes[rows])
        files += [png(one) for one in to_uint8(pictures)] if wanted else []
        if job.tagger is not None and label_rows is None:
            prepare, predict = halves(job.tagger)
            scores.append(checked_scores(job.tagger, predict(prepare(pictures)), row_names(seeds[rows])))
    return codes, np.concatenate(scores) if scores else None, files


def _two(rows: int) -> tuple[int, int]:
    return rows // 2, rows


def _line(tables: Sequence[pa.Table]) -> tuple[float, float]:
    """Bytes a row and bytes a file, from two tables of which the second has more rows."""
    (fewer, more), (small, large) = (len(table) for table in tables), map(size_of, tables)
    row = max(large - small, 0) / (more - fewer)
    return row, large - row * more


def _tags_line(tagger: Tagger, seeds: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """As :func:`_line`; a row with every tag of the others keeps new names out of what a row takes."""
    everything = np.nanmax(np.nan_to_num(scores), 0, keepdims=True)
    limits = thresholds_of(tagger).astype(np.float16)
    tables = []
    for k in _two(len(seeds)):
        some = np.concatenate([everything, scores[:k]]).astype(np.float32)
        tables.append(tags_table(np.append(seeds[0], seeds[:k]), some, tagger.tags, limits))
    return _line(tables)
