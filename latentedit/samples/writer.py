"""Adding shards to stored samples, one writer a folder at a time.

Order is what makes a killed run resumable: first the shard's files, then the manifest that lists
them. A shard that goes on from a shorter one is a file of another name; the shorter one is removed when the manifest
lists it no longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

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
from latentedit.samples.places import codes_path, next_name, rows_in, tags_path, vocabulary_path
from latentedit.samples.rewriting import put_in_place, rewrite_tags
from latentedit.samples.store import Samples
from latentedit.samples.tables import codes_table, read_whole, tags_table, vocabulary_table, write_table

Place: TypeAlias = tuple[str | None, str | None]
"""Device and dtype, as torch calls them; None where nothing was decoded, or that is not known."""


class Writer:
    """Adds shards to a run; made by :func:`open_writer`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    def coded(self, number: int) -> int:
        """Rows of a shard whose codes are stored.

        Raises:
            DamagedFileError: its file is there and is not what the manifest says.
        """
        record = _listed(self.manifest.shards, number)
        return 0 if record is None else rows_in(codes_path(self.path, number, record), record)

    def tagged(self, tagger_id: str, number: int) -> int:
        """As :meth:`coded`, of a tagger's scores."""
        for tagger in self.manifest.taggers:
            if tagger.id == tagger_id and (record := _listed(tagger.shards, number)) is not None:
                return rows_in(tags_path(self.path, tagger.folder, number, record), record)
        return 0

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
        for number, shard in enumerate(record.shards):
            tags_path(self.path, record.folder, number, shard).unlink(missing_ok=True)
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

    def may_end(self, number: int, *, coded: int, tagged: int, tagger_id: str | None) -> bool:
        """Whether the manifest can list a shard of so many rows: none that is listed gets shorter, only the last is
        not full."""
        lists = [(self.manifest.shards, coded)]
        lists += [(tagger.shards, tagged) for tagger in self.manifest.taggers if tagger.id == tagger_id]
        full = self.manifest.shard_size
        return all(
            number >= len(shards) or (rows >= shards[number].rows and (number == len(shards) - 1 or rows == full))
            for shards, rows in lists
        )

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
        coded: int = 0,
        tagged: int = 0,
        stopped: bool = False,
    ) -> None:
        """Store codes (rows, d) with their PNG images, scores (rows, tags) of a tagger, or both, of rows of a shard:
        those after the first that are ``coded``, and ``tagged``, already.

        Scores are NaN where there is no label: of a row, whose status may say why, or of some tags of a row. The place
        is the device and dtype that pictures were decoded with. A run that was ``stopped`` has more rows of this shard
        to come.

        Raises:
            LatentEditError: the disk is full, or the folder cannot be written to.
        """
        manifest, replaced = self.manifest, []
        if codes is not None:
            rows = manifest.seeds(number, coded + len(codes))[coded:]
            usual, old = self.path / f"codes-{number:05d}.parquet", _listed(manifest.shards, number)
            there = None if old is None else codes_path(self.path, number, old)
            table = codes_table(manifest, rows, codes, images)
            record = _write(usual, table, old, there, place, after=coded, stopped=stopped)
            replaced += [there] if there is not None and there.name != (record.file or usual.name) else []
            manifest = replace(manifest, shards=_put(manifest.shards, number, record))
        if scores is not None:
            assert tagger_id is not None
            tagger, stored = manifest.tagger(tagger_id), Samples(self.path, manifest)
            rows = manifest.seeds(number, tagged + len(scores))[tagged:]
            folder = self.path / "tags" / tagger.folder
            usual, old = folder / f"tags-{number:05d}.parquet", _listed(tagger.shards, number)
            there = None if old is None else tags_path(self.path, tagger.folder, number, old)
            table = tags_table(rows, scores, stored.tags(tagger.id), stored.thresholds(tagger.id), status)
            record = _write(usual, table, old, there, place, after=tagged, stopped=stopped)
            replaced += [there] if there is not None and there.name != (record.file or usual.name) else []
            tagger = replace(tagger, shards=_put(tagger.shards, number, record))
            taggers = tuple(tagger if t.id == tagger_id else t for t in manifest.taggers)
            manifest = replace(manifest, taggers=taggers)
        self._commit(manifest)
        for path in replaced:
            path.unlink(missing_ok=True)

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
        _remove_unlisted(path, manifest)
        yield Writer(path, manifest)


def _write(
    usual: Path, table: pa.Table, old: FileRecord | None, there: Path | None, place: Place, *, after: int, stopped: bool
) -> FileRecord:
    """Write a shard: the rows that it has, if they are to stay, and those of a table after them.

    Args:
        usual: its file, where that is free.
        table: of the new rows.
        old: the record of the shard that is listed so far.
        there: its file, which may be gone.
        place: where the new rows' pictures were decoded.
        after: how many rows it has that stay: all, or none.
        stopped: before the shard was as long as it was to be.
    """
    device, dtype = place
    if after:
        assert old is not None and there is not None and old.rows == after
        table = pa.concat_tables([read_whole(there, table.schema), table])
        device, dtype = (device if device == old.device else None), (dtype if dtype == old.dtype else None)
    taken = old if there is not None and there.exists() else None
    name = next_name(usual.name, table.num_rows, taken, stopped=stopped)
    record = write_table(usual if name is None else usual.with_name(name), table)
    return replace(record, device=device, dtype=dtype, file=name)


def _listed(shards: Sequence[FileRecord], number: int) -> FileRecord | None:
    return shards[number] if number < len(shards) else None


def _remove_unlisted(path: Path, manifest: Manifest) -> None:
    """Remove files of shards that killed runs left before or after they changed the manifest."""
    listed = {codes_path(path, number, record) for number, record in enumerate(manifest.shards)}
    places = [(path, "codes")]
    for tagger in manifest.taggers:
        listed |= {tags_path(path, tagger.folder, number, record) for number, record in enumerate(tagger.shards)}
        places.append((path / "tags" / tagger.folder, "tags"))
    for folder, kind in places:
        for file in folder.glob(f"{kind}-*.parquet"):
            if file not in listed and re.fullmatch(kind + r"-\d{5,}(-\d{5,})?\.parquet", file.name, re.ASCII):
                file.unlink(missing_ok=True)


def _put(shards: tuple[FileRecord, ...], number: int, record: FileRecord) -> tuple[FileRecord, ...]:
    assert number <= len(shards), "shards are written in order"
    return (*shards[:number], record, *shards[number + 1 :])
