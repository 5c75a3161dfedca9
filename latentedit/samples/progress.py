"""How far stored samples are: rows done and missing, failures with their reasons, and how long is left.

Nothing is hashed; what reads shards does that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentedit.files import is_being_written
from latentedit.samples.manifest import FileRecord, read_manifest
from latentedit.samples.places import codes_path, tags_path
from latentedit.samples.store import Samples

_RECENT = 5
"""Shards whose times say how fast it goes."""


@dataclass(frozen=True)
class Part:
    """Codes, or the tags of one tagger.

    Attributes:
        name: "codes", or the id of the tagger.
        rows, missing: done, and still to be done.
        failed: reason → rows that have none of it for that reason.
        lacking: files that the manifest lists, and that are not there or have another size.
    """

    name: str
    rows: int
    missing: int
    failed: Mapping[str, int]
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """How far a folder of samples is.

    Attributes:
        folder: of the samples.
        parts: codes, then each tagger.
        busy: whether a process is writing there now.
        rate: rows a second of that process; None while it is not known.
        seconds_left: until it is done at that rate; None while that is not known.
    """

    folder: str
    parts: tuple[Part, ...]
    busy: bool
    rate: float | None
    seconds_left: float | None


def progress_of(folder: str | Path) -> Progress:
    """How far a folder of samples is.

    Raises:
        DamagedFileError: it holds no samples, or what is written of them cannot be read.
    """
    manifest = read_manifest(Path(folder))
    samples = Samples(Path(folder), manifest)
    wanted = max(manifest.wanted or 0, manifest.rows)
    codes = [codes_path(samples.path, number, record) for number, record in enumerate(manifest.shards)]
    parts = [Part("codes", manifest.rows, wanted - manifest.rows, {}, _lacking(codes, manifest.shards))]
    places = [codes]
    for record in manifest.taggers:
        shards = [tags_path(samples.path, record.folder, number, shard) for number, shard in enumerate(record.shards)]
        rows, lacking = sum(shard.rows for shard in record.shards), _lacking(shards, record.shards)
        failed = {} if lacking else samples.failures(record.id)
        parts.append(Part(record.id, rows, wanted - rows, failed, lacking))
        places.append(shards)
    busy = is_being_written(samples.path)
    rate = left = None
    if busy:
        behind = max(range(len(parts)), key=lambda i: (parts[i].missing, i))
        rate, last = _rate(places[behind], manifest.shard_size)
        if rate is not None:
            left = max(parts[behind].missing / rate - (time.time() - last), 0.0)
    return Progress(str(folder), tuple(parts), busy, rate, left)


def _lacking(paths: Sequence[Path], records: Sequence[FileRecord]) -> tuple[str, ...]:
    return tuple(
        path.name
        for path, record in zip(paths, records, strict=True)
        if not path.is_file() or path.stat().st_size != record.bytes
    )


def _rate(paths: Sequence[Path], rows: int) -> tuple[float | None, float]:
    """Rows a second by the times of the last whole shards, and when the last one was written."""
    times = sorted(path.stat().st_mtime for path in paths if path.is_file())[-_RECENT:]
    if len(times) < 2 or times[-1] <= times[0]:
        return None, 0.0
    return rows * (len(times) - 1) / (times[-1] - times[0]), times[-1]
