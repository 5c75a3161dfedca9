"""Adding shards to stored samples, one writer a folder at a time.

Order is what makes a killed run resumable: first the shard's files, then the manifest that lists
them; a shard that is replaced by a longer one leaves the manifest before its file changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from latentedit.errors import DamagedFileError, MismatchError
from latentedit.files import only_writer, remove_temporary_files
from latentedit.samples.manifest import (
    NAME,
    FileRecord,
    Manifest,
    TaggerRecord,
    read_manifest,
    tagger_folder,
    write_manifest,
)
from latentedit.samples.places import codes_path, is_stored, tags_path, vocabulary_path
from latentedit.samples.rewriting import put_in_place, rewrite_tags
from latentedit.samples.store import Samples
from latentedit.samples.tables import codes_table, tags_table, vocabulary_table, write_table

Place: TypeAlias = tuple[str | None, str | None]
"""Device and dtype, as torch calls them; None where nothing was decoded, or that is not known."""


class Writer:
    """Adds shards to a run; made by :func:`open_writer`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    def has_codes(self, number: int, rows: int) -> bool:
        """Whether a shard of that many rows is stored.

        Raises:
            DamagedFileError: its file is there and is not what the manifest says.
        """
        return is_stored(codes_path(self.path, number), self.manifest.shards, number, rows)

    def has_tags(self, tagger_id: str, number: int, rows: int) -> bool:
        """As :meth:`has_codes`, for the tags of a shard."""
        for record in self.manifest.taggers:
            if record.id == tagger_id:
                path = tags_path(self.path, record.folder, number)
                return is_stored(path, record.shards, number, rows)
        return False

    def read_codes(self, number: int) -> np.ndarray:
        """Codes (rows, d) float32 of a stored shard."""
        return Samples(self.path, self.manifest).read_codes(number)

    def add_tagger(
        self,
        id: str,
        *,
        name: str | None,
        tags: Sequence[str],
        threshold: float,
        thresholds: Mapping[str, float] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Make a place for a tagger's scores; one that has its place keeps it, and takes these thresholds.

        What is stored is written anew, ``present`` above all, when thresholds differ or the shards hold numbers.

        Raises:
            MismatchError: the run holds scores of this id for other tags.
            DamagedFileError: a shard that has to be written anew does not fit the manifest.
        """
        limits = [float((thresholds or {}).get(tag, threshold)) for tag in tags]
        known = {record.id: record for record in self.manifest.taggers}
        if id in known:
            record = self._restated(known[id], tags, limits)
        else:
            folder = tagger_folder(id, [r.folder for r in known.values()])
            record = TaggerRecord(id, name, folder, threshold, FileRecord(0, 0, ""))
            vocabulary = write_table(vocabulary_path(self.path, record), vocabulary_table(tags, limits))
            record = replace(record, vocabulary=vocabulary)
        name = record.name if name is None else name
        known[id] = replace(record, name=name, threshold=threshold, settings=dict(settings or {}))
        changed = replace(self.manifest, taggers=tuple(known.values()))
        if changed != self.manifest:
            self._commit(changed)
        put_in_place(self.path, changed)

    def forget_tags(self, tagger_id: str) -> None:
        """Take the scores of a tagger away, which keeps its place among the run's taggers."""
        record = next(one for one in self.manifest.taggers if one.id == tagger_id)
        emptied = replace(record, shards=())
        self._commit(
            replace(self.manifest, taggers=tuple(emptied if one is record else one for one in self.manifest.taggers))
        )
        for number in range(len(record.shards)):
            tags_path(self.path, record.folder, number).unlink(missing_ok=True)
        vocabulary_path(self.path, record).unlink(missing_ok=True)

    def _restated(self, record: TaggerRecord, tags: Sequence[str], limits: Sequence[float]) -> TaggerRecord:
        """The same tagger with these thresholds, and with names; its files wait to be put in place."""
        stored = Samples(self.path, self.manifest)
        if vocabulary_path(self.path, record).exists():  # else somebody deleted it to have it made again
            if stored.tags(record.id) != tuple(tags):
                raise MismatchError(f"{self.path} holds scores of {record.id} for other tags; choose another folder")
            if not record.numbered and np.array_equal(stored.thresholds(record.id), np.array(limits, np.float16)):
                return record
        return rewrite_tags(stored, record, tags, limits)

    def write_shard(
        self,
        number: int,
        *,
        codes: np.ndarray | None = None,
        images: Sequence[bytes | None] | None = None,
        tagger_id: str | None = None,
        scores: np.ndarray | None = None,
        status: Sequence[str | None] = (),
        place: Place = (None, None),
    ) -> None:
        """Store codes (rows, d) with their PNG images, scores (rows, tags) of a tagger, or both, as one shard.

        Scores are NaN where there is no label: of a row, whose status may say why, or of some tags of a row. The place
        is the device and dtype that pictures were decoded with.

        A shard of another length is replaced; what belonged to it goes first.

        Raises:
            LatentEditError: the disk is full, or the folder cannot be written to.
        """
        manifest = self.manifest
        if codes is not None:
            if number < len(manifest.shards) and manifest.shards[number].rows != len(codes):
                self._commit(manifest.cut(number))
                manifest = self.manifest
            table = codes_table(manifest, manifest.seeds(number, len(codes)), codes, images)
            record = _at(write_table(codes_path(self.path, number), table), place)
            manifest = replace(manifest, shards=_put(manifest.shards, number, record))
        if scores is not None:
            assert tagger_id is not None
            tagger = manifest.tagger(tagger_id)
            stored = Samples(self.path, manifest)
            seeds = manifest.seeds(number, len(scores))
            table = tags_table(seeds, scores, stored.tags(tagger.id), stored.thresholds(tagger.id), status)
            record = _at(write_table(tags_path(self.path, tagger.folder, number), table), place)
            tagger = replace(tagger, shards=_put(tagger.shards, number, record))
            taggers = tuple(tagger if t.id == tagger_id else t for t in manifest.taggers)
            manifest = replace(manifest, taggers=taggers)
        self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        write_manifest(self.path, manifest)
        self.manifest = manifest


@contextmanager
def open_writer(path: str | Path, wanted: Manifest | None = None) -> Iterator[Writer]:
    """Open a folder to add shards to, kept from other writers meanwhile.

    Args:
        path: of the run.
        wanted: what is to be sampled; a folder without a run, or with one that has no rows yet, becomes
            this run. None takes the run that is there.

    Raises:
        MismatchError: the folder holds another run.
        DamagedFileError: there is no manifest where one is needed, or it cannot be read.
        LatentEditError: the folder cannot be written to, or another process is writing to it.
    """
    path = Path(path)
    if wanted is None:
        read_manifest(path)  # before a folder is made
    with only_writer(path):
        if (path / NAME).exists() or wanted is None:
            manifest = read_manifest(path)
        else:
            if any(path.glob("codes-*.parquet")):
                raise DamagedFileError(f"{path} holds code shards and no {NAME}; delete it and sample again")
            manifest = wanted
        if wanted is not None:
            if manifest.shards:
                manifest.check_same_run(wanted, path)
                # Its pictures may lie elsewhere by now, and it may have to grow.
                wanted = replace(manifest, contents=wanted.contents, wanted=wanted.wanted)
            if wanted != manifest or not (path / NAME).exists():
                manifest = wanted
                write_manifest(path, manifest)
        tags = (path / "tags", *path.glob("tags/*"))
        for folder, pattern in ((path, NAME), (path, "codes-*.parquet"), *((folder, "*") for folder in tags)):
            remove_temporary_files(folder, pattern)
        put_in_place(path, manifest)
        yield Writer(path, manifest)


def _at(record: FileRecord, place: Place) -> FileRecord:
    return replace(record, device=place[0], dtype=place[1])


def _put(shards: tuple[FileRecord, ...], number: int, record: FileRecord) -> tuple[FileRecord, ...]:
    assert number <= len(shards), "shards are written in order"
    return (*shards[:number], record, *shards[number + 1 :])
