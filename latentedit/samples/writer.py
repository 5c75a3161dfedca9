"""Adding shards to stored samples, one writer a folder at a time.

Order is what makes a killed run resumable: first the shard's files, then the manifest that lists
them; a shard that is replaced by a longer one leaves the manifest before its file changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentedit.errors import DamagedFileError, MismatchError
from latentedit.files import atomic_write, only_writer, remove_temporary_files, sha256_of
from latentedit.samples.manifest import (
    NAME,
    FileRecord,
    Manifest,
    TaggerRecord,
    read_manifest,
    tagger_folder,
    write_manifest,
)
from latentedit.samples.store import SCORE_FLOOR, Samples, codes_path, is_stored, tags_path, vocabulary_path


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

        Raises:
            MismatchError: the run holds scores of this id for other tags.
        """
        limits = [float((thresholds or {}).get(tag, threshold)) for tag in tags]
        known = {record.id: record for record in self.manifest.taggers}
        folder = known[id].folder if id in known else tagger_folder(id, [r.folder for r in known.values()])
        vocabulary = None
        if id in known and vocabulary_path(self.path, folder).exists():
            stored = Samples(self.path, self.manifest)
            if stored.tags(id) != tuple(tags):
                raise MismatchError(f"{self.path} holds scores of {id} for other tags; choose another folder")
            if np.array_equal(stored.thresholds(id), np.array(limits, np.float16)):
                vocabulary = known[id].vocabulary
        vocabulary = vocabulary or _write_vocabulary(self.path, folder, tags, limits)
        shards = known[id].shards if id in known else ()
        if name is None and id in known:
            name = known[id].name
        known[id] = TaggerRecord(id, name, folder, threshold, vocabulary, shards, dict(settings or {}))
        changed = replace(self.manifest, taggers=tuple(known.values()))
        if changed != self.manifest:
            self._commit(changed)

    def write_shard(
        self,
        number: int,
        *,
        codes: np.ndarray | None = None,
        images: Sequence[bytes] | None = None,
        tagger_id: str | None = None,
        scores: np.ndarray | None = None,
    ) -> None:
        """Store codes (rows, d) with their PNG images, scores (rows, tags) of a tagger, or both, as one shard.

        A shard of another length is replaced; what belonged to it goes first.

        Raises:
            LatentEditError: the disk is full, or the folder cannot be written to.
        """
        manifest = self.manifest
        if codes is not None:
            if number < len(manifest.shards) and manifest.shards[number].rows != len(codes):
                self._commit(manifest.cut(number))
                manifest = self.manifest
            record = _write_codes(self.path, manifest, number, codes, images)
            manifest = replace(manifest, shards=_put(manifest.shards, number, record))
        if scores is not None:
            assert tagger_id is not None
            tagger = manifest.tagger(tagger_id)
            record = _write_tags(self.path, manifest, tagger.folder, number, scores)
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
                wanted = replace(manifest, contents=wanted.contents)  # its pictures may lie elsewhere by now
            if wanted != manifest or not (path / NAME).exists():
                manifest = wanted
                write_manifest(path, manifest)
        for folder, pattern in ((path, NAME), (path, "codes-*.parquet"), *((f, "*") for f in path.glob("tags/*"))):
            remove_temporary_files(folder, pattern)
        yield Writer(path, manifest)


def _put(shards: tuple[FileRecord, ...], number: int, record: FileRecord) -> tuple[FileRecord, ...]:
    assert number <= len(shards), "shards are written in order"
    return (*shards[:number], record, *shards[number + 1 :])


def _write_codes(
    path: Path, manifest: Manifest, number: int, codes: np.ndarray, images: Sequence[bytes] | None
) -> FileRecord:
    """Write one shard's codes (rows, d), and its pictures as PNG when given.

    Raises:
        LatentEditError: it cannot be written.
    """
    table = _codes_table(manifest, manifest.seeds(number, len(codes)), codes, images)
    return _write_table(codes_path(path, number), table)


def _write_tags(path: Path, manifest: Manifest, folder: str, number: int, scores: np.ndarray) -> FileRecord:
    """Write one shard's scores (rows, tags) in [0, 1]; a row of NaN is one without labels.

    Raises:
        LatentEditError: it cannot be written.
    """
    return _write_table(tags_path(path, folder, number), _tags_table(manifest.seeds(number, len(scores)), scores))


def _write_vocabulary(path: Path, folder: str, tags: Sequence[str], thresholds: Sequence[float]) -> FileRecord:
    """Write a tagger's tag names, and the score from which each counts as present.

    Raises:
        LatentEditError: it cannot be written.
    """
    columns = {"tag": pa.array(tags, pa.string()), "threshold": pa.array(thresholds, pa.float32())}
    return _write_table(vocabulary_path(path, folder), pa.table(columns))


def _write_table(path: Path, table: pa.Table) -> FileRecord:
    with atomic_write(path) as temporary:
        # Codes are noise to a dictionary, and a file of theirs is larger with one.
        texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
        pq.write_table(table, temporary, compression="zstd", use_dictionary=texts)
        record = FileRecord(table.num_rows, temporary.stat().st_size, sha256_of(temporary))
    return record


def _codes_table(manifest: Manifest, seeds: np.ndarray, codes: np.ndarray, images: Sequence[bytes] | None) -> pa.Table:
    n, d = codes.shape
    indices, source = manifest.content_indices(seeds), manifest.contents
    contents = [None] * n if indices is None or source is None else [source.pictures[i] for i in indices]
    flat = pa.array(np.ascontiguousarray(codes, np.float32).reshape(-1))
    columns: dict[str, pa.Array] = {
        "seed": pa.array(seeds),
        "content": pa.array(contents, pa.string()),
        "label": pa.array([manifest.label] * n, pa.int64()),
        "style": pa.FixedSizeListArray.from_arrays(flat, d),
    }
    if images is None:
        return pa.table(columns)
    names = [f"{seed}.png" for seed in seeds]
    columns["image"] = pa.StructArray.from_arrays([pa.array(images, pa.binary()), pa.array(names)], ["bytes", "path"])
    # datasets shows a column as pictures when this key says so.
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})


def _tags_table(seeds: np.ndarray, scores: np.ndarray) -> pa.Table:
    """Scores (n, tags) as lists of those above the floor; a row of NaN is a null list."""
    unlabelled = np.isnan(scores).all(1)
    kept = scores > SCORE_FLOOR  # NaN is not
    offsets = pa.array(np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32))
    tags = pa.array(np.nonzero(kept)[1].astype(np.uint16))
    values = pa.array(scores[kept].astype(np.float16))
    mask = pa.array(unlabelled)
    return pa.table(
        {
            "seed": pa.array(seeds),
            "tag": pa.ListArray.from_arrays(offsets, tags, mask=mask),
            "score": pa.ListArray.from_arrays(offsets, values, mask=mask),
        }
    )
