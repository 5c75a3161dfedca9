"""Stored samples: one folder of Parquet shards and a manifest, and how they are read.

::

    samples/manifest.json                  what was sampled, and rows, bytes and sha256 of every shard
    samples/codes-00000.parquet            seed, content, label, style (float32[d]), image if asked for
    samples/tags/<tagger>/vocabulary.parquet    tag names and thresholds; a tag's number is its row
    samples/tags/<tagger>/tags-00000.parquet    seed, tag (list of numbers), score (list of float16)

* Rows are seeds ``seed ... seed + rows - 1`` in order; shard k holds rows from ``k * shard_size`` on,
  and tag shards match code shards of the same number row for row.
* Only scores above 0.01 are stored, as float16 (error below 3e-4); the others read as 0. A row
  without labels has a null list and reads as NaN.
* A shard counts when the manifest lists it. The manifest is replaced after each shard, so a killed
  run leaves whole shards, and at worst one file that nothing refers to.
* A file that does not fit the manifest is refused by name. It is hashed when a handle first reads it.

:func:`open_samples` gives a :class:`Samples` to read; :mod:`latentedit.samples.writer` adds shards. Nobody else knows
their columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.files import sha256_of
from latentedit.samples.manifest import FileRecord, Manifest, TaggerRecord, read_manifest

if TYPE_CHECKING:
    import pandas as pd

SCORE_FLOOR = 0.01
"""Scores up to this one are not stored."""
_SAMPLE = "run the same `latentedit sample` command again"
_TAG = "run the same `latentedit sample` or `latentedit tag` command again"


@dataclass(frozen=True)
class Batch:
    """Rows of a run.

    Attributes:
        seeds: (n,) int64.
        groups: (n,) int64; index of the content when the run has contents, else the seed.
        codes: (n, d) float32.
        scores: (n, tags) float32 in [0, 1], NaN in rows without labels; None when not asked for.
    """

    seeds: np.ndarray
    groups: np.ndarray
    codes: np.ndarray
    scores: np.ndarray | None


class Samples:
    """A run that is stored in a folder, to read. Made by :func:`open_samples`; it never changes.

    Where a method takes ``tagger``, that is a tagger's id or the name it was typed as; None is the
    first one of the run.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._verified: set[Path] = set()

    @property
    def generator_id(self) -> str:
        """Id of the generator that the codes belong to."""
        return self.manifest.generator_id

    @property
    def dim(self) -> int:
        """Length d of a code."""
        return self.manifest.dim

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.manifest.rows

    @property
    def taggers(self) -> list[str]:
        """Ids of the taggers whose scores are stored, in the order they came."""
        return [t.id for t in self.manifest.taggers]

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        tags = ", ".join(self.taggers) or "no tags"
        return f"Samples({str(self.path)!r}, {self.rows} rows of {self.generator_id}, d={self.dim}, {tags})"

    def check_generator(self, generator_id: str) -> None:
        """Check that a generator is the one that the codes belong to.

        Raises:
            MismatchError: it is another one.
        """
        if generator_id != self.generator_id:
            raise MismatchError(
                f"{self.path} holds codes of {self.generator_id}, and this generator is {generator_id}; "
                "load the generator they were sampled with"
            )

    def tagger_id(self, tagger: str | None = None) -> str:
        """Id of the tagger that a method takes for this argument.

        Raises:
            LatentEditError: the run has no tags, or none of that tagger.
        """
        return self._tagger(tagger).id

    def tags(self, tagger: str | None = None) -> tuple[str, ...]:
        """Names of a tagger's tags in the order of its scores."""
        record = self._tagger(tagger)
        path = vocabulary_path(self.path, record.folder)
        return tuple(self._table(path, record.vocabulary, ["tag"])["tag"].to_pylist())

    def threshold(self, tagger: str | None = None) -> float:
        """Score from which most tags count as present, rounded to float16 as the scores are."""
        return float(np.float16(self._tagger(tagger).threshold))

    def thresholds(self, tagger: str | None = None) -> np.ndarray:
        """Score (tags,) float32 from which each tag counts as present, rounded to float16 as the scores are."""
        record = self._tagger(tagger)
        table = self._table(vocabulary_path(self.path, record.folder), record.vocabulary, ["tag"], ["threshold"])
        if "threshold" not in table.column_names:
            return np.full(record.vocabulary.rows, self.threshold(tagger), np.float32)
        return table["threshold"].to_numpy().astype(np.float16).astype(np.float32)

    def labelled(self, tagger: str | None = None) -> int:
        """Number of rows that have labels; reads only tags."""
        return sum(int((~sparse.unlabelled).sum()) for sparse in self._iter_tags(tagger))

    def tag_counts(self, tagger: str | None = None, *, threshold: float | None = None) -> dict[str, int]:
        """Number of rows whose score of a tag reaches a threshold, the tag's own by default; reads only tags.

        Raises:
            LatentEditError: the threshold is not above the scores that are left out, or there are no tags.
            DamagedFileError: a file does not fit the manifest.
        """
        if threshold is not None and not SCORE_FLOOR < threshold <= 1:
            raise LatentEditError(f"threshold {threshold} is not in ({SCORE_FLOOR}, 1]; smaller scores are not stored")
        tags, limits = self.tags(tagger), self.thresholds(tagger)
        if threshold is not None:
            limits = np.full(len(tags), np.float16(threshold), np.float32)
        counts = np.zeros(len(tags), np.int64)
        for sparse in self._iter_tags(tagger):
            counts += np.bincount(sparse.tags[sparse.scores >= limits[sparse.tags]], minlength=len(tags))
        return dict(zip(tags, counts.tolist(), strict=True))

    def _iter_tags(self, tagger: str | None) -> Iterator[_SparseScores]:
        record = self._complete(tagger)
        return (self._read_tags(record, number) for number in range(len(record.shards)))

    def iter_batches(
        self, tagger: str | None = None, *, batch_size: int = 4096, scores: bool = True
    ) -> Iterator[Batch]:
        """Yield all rows in order, at most ``batch_size`` at a time; a batch never spans two shards.

        Raises:
            LatentEditError: scores are wanted and there are none, or they do not cover all rows yet.
            DamagedFileError: a file does not fit the manifest, or holds codes that are not finite.
        """
        if batch_size < 1:
            raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
        record = self._complete(tagger) if scores else None
        width = len(self.tags(tagger)) if scores else 0
        return self._iter_batches(record, width, batch_size)

    def _iter_batches(self, record: TaggerRecord | None, width: int, batch_size: int) -> Iterator[Batch]:
        for number, shard in enumerate(self.manifest.shards):
            seeds, codes = self.manifest.seeds(number, shard.rows), self.read_codes(number)
            groups = self.manifest.content_indices(seeds)
            sparse = self._read_tags(record, number) if record else None
            for start in range(0, shard.rows, batch_size):
                rows = slice(start, min(start + batch_size, shard.rows))
                yield Batch(
                    seeds[rows],
                    (seeds if groups is None else groups)[rows],
                    codes[rows].copy(),
                    sparse.dense(rows, width) if sparse else None,
                )

    def read_codes(self, number: int) -> np.ndarray:
        """Codes (rows, d) float32 of one shard.

        Raises:
            DamagedFileError: the file does not fit the manifest, or holds codes that are not finite.
        """
        path, record = codes_path(self.path, number), self.manifest.shards[number]
        table = self._table(path, record, ["seed", "style"])
        seeds = self._check_seeds(path, table, number)
        style = table["style"].combine_chunks()
        if style.type != pa.list_(pa.float32(), self.dim) or style.null_count or style.flatten().null_count:
            raise _damaged(path, f"its codes are not {self.dim} float32 numbers each")
        codes = style.flatten().to_numpy().reshape(-1, self.dim)
        finite = np.isfinite(codes).all(1)
        if not finite.all():
            raise _damaged(path, f"the code of seed {seeds[finite.argmin()]} holds NaN or infinity")
        return codes

    def to_pandas(self, tagger: str | None = None) -> pd.DataFrame:
        """All rows as a table: index seed; columns content, label, style (an array each), and each tag's score.

        A run without tags has no tag columns.
        """
        import pandas as pd

        tags = self.tags(tagger) if tagger or self.taggers else ()
        batches = list(self.iter_batches(tagger, scores=bool(tags)))
        seeds = np.concatenate([b.seeds for b in batches])
        indices, source = self.manifest.content_indices(seeds), self.manifest.contents
        content = None if indices is None or source is None else [source.pictures[i] for i in indices]
        columns = {"content": content, "label": self.manifest.label, "style": [w for b in batches for w in b.codes]}
        table = pd.DataFrame(columns, index=pd.Index(seeds, name="seed"))
        if not tags:
            return table
        scores = np.concatenate([b.scores for b in batches if b.scores is not None])
        return pd.concat([table, pd.DataFrame(scores, index=table.index, columns=list(tags))], axis=1)

    def fingerprint(self, tagger: str | None = None, *, scores: bool = True) -> str:
        """Sha256 of all that decides what :meth:`iter_batches` yields and the threshold; a key for caches."""
        m = self.manifest
        parts: list[Any] = [m.generator_id, m.seed, m.truncation, m.styles_per_content, [s.sha256 for s in m.shards]]
        parts.append(list(m.contents.pictures) if m.contents else None)
        if scores:
            record = self._tagger(tagger)
            parts += [record.id, record.threshold, record.vocabulary.sha256, [s.sha256 for s in record.shards]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _tagger(self, tagger: str | None) -> TaggerRecord:
        if not self.manifest.taggers:
            raise LatentEditError(f"{self.path} holds no tags; label it with `latentedit tag {self.path}`")
        return self.manifest.tagger(tagger) if tagger is not None else self.manifest.taggers[0]

    def _complete(self, tagger: str | None) -> TaggerRecord:
        record = self._tagger(tagger)
        done = sum(shard.rows for shard in record.shards)
        if done != self.rows:
            raise LatentEditError(f"the tags of {record.id} cover {done} of {self.rows} rows of {self.path}; {_TAG}")
        return record

    def _read_tags(self, record: TaggerRecord, number: int) -> _SparseScores:
        path = tags_path(self.path, record.folder, number)
        table = self._table(path, record.shards[number], ["seed", "tag", "score"])
        self._check_seeds(path, table, number)
        tags, scores = table["tag"].combine_chunks(), table["score"].combine_chunks()
        fits = tags.type == pa.list_(pa.uint16()) and scores.type == pa.list_(pa.float16())
        if not fits or tags.flatten().null_count or scores.flatten().null_count:
            raise _damaged(path, "its tags are not lists of uint16 and float16")
        lengths = tags.value_lengths()
        flat = tags.flatten().to_numpy()
        if not lengths.equals(scores.value_lengths()) or (flat >= record.vocabulary.rows).any():
            raise _damaged(path, "its tags and scores do not fit each other or the vocabulary")
        offsets = np.concatenate([[0], np.cumsum(lengths.fill_null(0).to_numpy())])
        values = scores.flatten().to_numpy().astype(np.float32)
        if not ((values >= 0) & (values <= 1)).all():
            raise _damaged(path, "it holds scores outside [0, 1]")
        return _SparseScores(offsets, flat, values, tags.is_null().to_numpy(zero_copy_only=False))

    def _check_seeds(self, path: Path, table: pa.Table, number: int) -> np.ndarray:
        seeds, expected = table["seed"].to_numpy(), self.manifest.seeds(number, table.num_rows)
        wrong = np.flatnonzero(seeds != expected)
        if len(wrong):
            row = wrong[0]
            raise _damaged(path, f"row {row} is seed {seeds[row]} where seed {expected[row]} belongs")
        return expected

    def _table(self, path: Path, record: FileRecord, columns: list[str], optional: Sequence[str] = ()) -> pa.Table:
        if path not in self._verified:
            _verify(path, record)
            self._verified.add(path)
        try:
            with pq.ParquetFile(path) as file:
                missing = set(columns) - set(file.schema_arrow.names)
                if missing:
                    raise _damaged(path, f"it has no column {', '.join(sorted(missing))}")
                table = file.read([*columns, *(name for name in optional if name in file.schema_arrow.names)])
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, f"it cannot be read as Parquet ({str(error).splitlines()[0]})") from error
        if table.num_rows != record.rows:
            raise _damaged(path, f"it has {table.num_rows} rows where the manifest says {record.rows}")
        return table


@dataclass(frozen=True)
class _SparseScores:
    offsets: np.ndarray  # (rows + 1,) where each row's tags begin
    tags: np.ndarray
    scores: np.ndarray
    unlabelled: np.ndarray  # (rows,) bool

    def dense(self, rows: slice, width: int) -> np.ndarray:
        first, last = self.offsets[rows.start], self.offsets[rows.stop]
        lengths = np.diff(self.offsets[rows.start : rows.stop + 1])
        scores = np.zeros((len(lengths), width), np.float32)
        scores[np.repeat(np.arange(len(lengths)), lengths), self.tags[first:last]] = self.scores[first:last]
        scores[self.unlabelled[rows]] = np.nan
        return scores


def open_samples(path: str | Path) -> Samples:
    """Open a stored run.

    Raises:
        DamagedFileError: there is no manifest or it cannot be read; a code shard is missing or has another size.
        LatentEditError: a newer version of latentedit wrote it, or it has no finished rows yet.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if not manifest.shards:
        raise LatentEditError(f"{path} holds no finished rows yet; {_SAMPLE}")
    for number, record in enumerate(manifest.shards):
        _check_size(codes_path(path, number), record)
    return Samples(path, manifest)


def codes_path(path: Path, number: int) -> Path:
    """A code shard's file in the run's folder ``path``."""
    return path / f"codes-{number:05d}.parquet"


def vocabulary_path(path: Path, folder: str) -> Path:
    """The file of a tagger's tag names."""
    return path / "tags" / folder / "vocabulary.parquet"


def tags_path(path: Path, folder: str, number: int) -> Path:
    """A tag shard's file, of the tagger in that folder."""
    return path / "tags" / folder / f"tags-{number:05d}.parquet"


def _damaged(path: Path, reason: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged: {reason}; delete it and {_remedy(path)} to redo it")


def _remedy(path: Path) -> str:
    return _SAMPLE if path.name.startswith("codes-") else _TAG


def _check_size(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; {_remedy(path)} to redo it")
    size = path.stat().st_size
    if size != record.bytes:
        raise _damaged(path, f"it has {size} bytes where the manifest says {record.bytes}")


def _verify(path: Path, record: FileRecord) -> None:
    _check_size(path, record)
    if sha256_of(path) != record.sha256:
        raise _damaged(path, "its sha256 is not the manifest's, so it was changed after it was written")


def is_stored(path: Path, records: Sequence[FileRecord], number: int, rows: int) -> bool:
    """Whether a shard is listed with that many rows and its file is there.

    Raises:
        DamagedFileError: the file is there and is not what the manifest says.
    """
    if number >= len(records) or records[number].rows != rows or not path.exists():
        return False
    _verify(path, records[number])
    return True
