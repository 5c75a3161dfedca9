"""Stored samples: one folder of Parquet shards and a manifest, and how they are read.

::

    samples/manifest.json                  what was sampled, and rows, bytes and sha256 of every shard
    samples/codes-00000.parquet            seed, content, label, style (float32[d]), image if asked for
    samples/tags/_vocabulary-<tagger>.parquet   tag names and thresholds
    samples/tags/<tagger>/tags-00000.parquet    seed, tag and score (lists), present (the tags that count), status

* Rows are seeds ``seed ... seed + rows - 1`` in order; shard k holds rows from ``k * shard_size`` on,
  and tag shards match code shards of the same number row for row.
* Only scores above 0.01 are stored, as float16 (error below 3e-4); the others read as 0. A row
  without labels has a null list, a tag without one in a row that has others a null score; both read as NaN.
* ``present`` holds the tags whose score, as float16, reaches their threshold, as float16: those of the rows that
  directions are fitted on as carriers. Other programs may count on it; when thresholds change it is written anew.
* A folder of tags holds nothing but shards, so that pandas, DuckDB and datasets read it as it is.
* A shard counts when the manifest lists it. The manifest is replaced after each shard, so a killed
  run leaves whole shards, and at worst one file that nothing refers to, which the next run removes.
* A run that is stopped keeps the finished rows of the shard in work as a shorter last shard. A longer one that goes on
  from it is a new file (``codes-00000-02048.parquet``) until the manifest lists that in its place. The last shard of a
  tagger may end before that of the codes.
* A file that does not fit the manifest is refused by name. It is hashed when a handle first reads it.
* Runs of earlier versions, whose tag shards hold numbers of tags (``vocabulary.parquet``), are read as well. When
  tags of such a tagger are added, its shards are written anew, with names.

:func:`open_samples` gives a :class:`Samples` to read; :mod:`latentedit.samples.writer` adds shards, and
:mod:`latentedit.samples.tables` knows their columns.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentedit.errors import LatentEditError, MismatchError
from latentedit.pictures.notebook import facts_html
from latentedit.samples.manifest import FileRecord, Manifest, TaggerRecord, read_manifest
from latentedit.samples.places import SAMPLE, TAG, check_size, codes_path, damaged, tags_path, verify, vocabulary_path
from latentedit.samples.tables import DICTIONARY, SCORE_FLOOR, SparseScores, read_scores, read_style

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Batch:
    """Rows of a run.

    Attributes:
        seeds: (n,) int64.
        groups: (n,) int64; index of the content when the run has contents, else the seed.
        codes: (n, d) float32.
        scores: (n, tags) float32 in [0, 1], NaN where there is no label; None when not asked for.
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
        self._vocabularies: dict[str, tuple[str, ...]] = {}

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

    def _repr_html_(self) -> str:
        """What the run is, as a table for notebooks; read from the manifest alone."""
        m = self.manifest
        facts = {
            "folder": str(self.path),
            "generator": f"{m.generator} ({m.generator_id})" if m.generator else m.generator_id,
            "samples": f"{self.rows}, seeds {m.seed} … {m.seed + self.rows - 1}",
            "codes": f"{self.dim} numbers, {len(m.layers)} slots, truncation {m.truncation:g}",
        }
        if m.label is not None:
            facts["class"] = str(m.label)
        if m.contents is not None:
            facts["contents"] = f"{len(m.contents.pictures)} pictures of {m.contents.folder}"
        for i, tagger in enumerate(m.taggers, 1):
            done = sum(shard.rows for shard in tagger.shards)
            kind = "tagger" if len(m.taggers) == 1 else f"tagger {i}"
            name = f"{tagger.name} ({tagger.id})" if tagger.name else tagger.id
            facts[kind] = f"{name}: {tagger.vocabulary.rows} tags of {done} samples"
        return facts_html("Samples", facts)

    def check_generator(self, generator_id: str, *, probe: str | None = None) -> None:
        """Check that a generator is the one that the codes belong to.

        Args:
            generator_id: its id.
            probe: what it draws, where its id does not say all (:mod:`latentedit.generators.probe`).

        Raises:
            MismatchError: it is another one, or its code has changed since.
        """
        from latentedit.generators.probe import check_probe  # it needs torch

        if generator_id != self.generator_id:
            raise MismatchError(
                f"{self.path} holds codes of {self.generator_id}, and this generator is {generator_id}; "
                "load the generator they were sampled with"
            )
        check_probe(
            probe, self.manifest.generator_probe, holder=str(self.path), generator_id=generator_id,
            advice="sample into another folder, or bring the old code back",
        )  # fmt: skip

    def tagger_id(self, tagger: str | None = None) -> str:
        """Id of the tagger that a method takes for this argument.

        Raises:
            LatentEditError: the run has no tags, or none of that tagger.
        """
        return self._tagger(tagger).id

    def tags(self, tagger: str | None = None) -> tuple[str, ...]:
        """Names of a tagger's tags in the order of its scores."""
        record = self._tagger(tagger)
        if record.id not in self._vocabularies:
            table = self._table(vocabulary_path(self.path, record), record.vocabulary, ["tag"])
            self._vocabularies[record.id] = tuple(table["tag"].to_pylist())
        return self._vocabularies[record.id]

    def threshold(self, tagger: str | None = None) -> float:
        """Score from which most tags count as present, rounded to float16 as the scores are."""
        return float(np.float16(self._tagger(tagger).threshold))

    def thresholds(self, tagger: str | None = None) -> np.ndarray:
        """Score (tags,) float32 from which each tag counts as present, rounded to float16 as the scores are."""
        record = self._tagger(tagger)
        table = self._table(vocabulary_path(self.path, record), record.vocabulary, ["tag"], ["threshold"])
        if "threshold" not in table.column_names:
            return np.full(record.vocabulary.rows, self.threshold(tagger), np.float32)
        return table["threshold"].to_numpy().astype(np.float16).astype(np.float32)

    def labelled(self, tagger: str | None = None) -> int:
        """Number of rows that have a label for some tag; reads only tags."""
        return sum(int((~sparse.unlabelled).sum()) for sparse in self._iter_tags(tagger))

    def label_counts(self, tagger: str | None = None) -> dict[str, int]:
        """Number of rows with a label for each tag; reads only tags."""
        tags = self.tags(tagger)
        counts = np.zeros(len(tags), np.int64)
        for sparse in self._iter_tags(tagger):
            unknown = np.bincount(sparse.tags[np.isnan(sparse.scores)], minlength=len(tags))
            counts += int((~sparse.unlabelled).sum()) - unknown
        return dict(zip(tags, counts.tolist(), strict=True))

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

    def scores(self, tag: str, tagger: str | None = None) -> np.ndarray:
        """Scores (rows,) float32 in [0, 1] of one tag in the order of seeds, NaN where unlabelled; reads only tags.

        Raises:
            UnknownNameError: the tagger has no such tag.
            LatentEditError: there are no tags, or they do not cover all rows yet.
            DamagedFileError: a file does not fit the manifest.
        """
        tags = self.tags(tagger)
        from latentedit.taggers.tag_names import found_tag  # its folder needs torch

        column = tags.index(found_tag(tag, tags))
        return np.concatenate([sparse.column(column) for sparse in self._iter_tags(tagger)])

    def failures(self, tagger: str | None = None) -> dict[str, int]:
        """Reason → rows that have no labels for that reason, of the rows that are tagged so far; reads only reasons.

        Raises:
            DamagedFileError: a file does not fit the manifest.
        """
        record, counts = self._tagger(tagger), Counter[str]()
        for number in range(len(record.shards)):
            counts.update(reason for reason in self.read_status(record, number) if reason is not None)
        return dict(counts.most_common())

    def read_status(self, record: TaggerRecord, number: int) -> list[str | None]:
        """Why rows of one shard of a tagger have no labels, None where that is no failure; [] in earlier versions.

        Raises:
            DamagedFileError: the file does not fit the manifest.
        """
        path = tags_path(self.path, record.folder, number, record.shards[number])
        table = self._table(path, record.shards[number], ["seed"], ["status"])
        found: list[str | None] = table["status"].to_pylist() if "status" in table.column_names else []
        return found

    def _iter_tags(self, tagger: str | None) -> Iterator[SparseScores]:
        record, tags = self._complete(tagger), self.tags(tagger)
        return (self.read_tags(record, number, tags) for number in range(len(record.shards)))

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
        return self._iter_batches(record, self.tags(tagger) if scores else (), batch_size)

    def _iter_batches(self, record: TaggerRecord | None, tags: Sequence[str], batch_size: int) -> Iterator[Batch]:
        for number, shard in enumerate(self.manifest.shards):
            seeds, codes = self.manifest.seeds(number, shard.rows), self.read_codes(number)
            groups = self.manifest.content_indices(seeds)
            sparse = self.read_tags(record, number, tags) if record else None
            for start in range(0, shard.rows, batch_size):
                rows = slice(start, min(start + batch_size, shard.rows))
                yield Batch(
                    seeds[rows],
                    (seeds if groups is None else groups)[rows],
                    codes[rows].copy(),
                    sparse.dense(rows, len(tags)) if sparse else None,
                )

    def read_codes(self, number: int) -> np.ndarray:
        """Codes (rows, d) float32 of one shard.

        Raises:
            DamagedFileError: the file does not fit the manifest, or holds codes that are not finite.
        """
        record = self.manifest.shards[number]
        path = codes_path(self.path, number, record)
        table = self._table(path, record, ["seed", "style"])
        seeds = self._check_seeds(path, table, number)
        try:
            codes = read_style(table, self.dim)
        except ValueError as error:
            raise damaged(path, str(error)) from error
        finite = np.isfinite(codes).all(1)
        if not finite.all():
            raise damaged(path, f"the code of seed {seeds[finite.argmin()]} holds NaN or infinity")
        return codes

    def verify(self, tagger: str | None = None, *, scores: bool = True) -> None:
        """Check every shard against the manifest's hash, as reading them does: for what uses a cache instead.

        Raises:
            DamagedFileError: one is missing or was changed.
        """
        files = [(codes_path(self.path, k, record), record) for k, record in enumerate(self.manifest.shards)]
        if scores:
            tags = self._complete(tagger)
            files.append((vocabulary_path(self.path, tags), tags.vocabulary))
            files += [(tags_path(self.path, tags.folder, k, record), record) for k, record in enumerate(tags.shards)]
        for path, record in files:
            self._verify(path, record)

    def _verify(self, path: Path, record: FileRecord) -> None:
        if path not in self._verified:
            verify(path, record)
            self._verified.add(path)

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
            raise LatentEditError(f"the tags of {record.id} cover {done} of {self.rows} rows of {self.path}; {TAG}")
        return record

    def read_tags(self, record: TaggerRecord, number: int, tags: Sequence[str]) -> SparseScores:
        """Scores of one shard of a tagger that has these tags.

        Raises:
            DamagedFileError: the file does not fit the manifest, or these tags.
        """
        path = tags_path(self.path, record.folder, number, record.shards[number])
        dictionary = () if record.numbered else DICTIONARY
        table = self._table(path, record.shards[number], ["seed", "tag", "score"], dictionary=dictionary)
        self._check_seeds(path, table, number)
        try:
            return read_scores(table, tags, numbered=record.numbered)
        except ValueError as error:
            raise damaged(path, str(error)) from error

    def _check_seeds(self, path: Path, table: pa.Table, number: int) -> np.ndarray:
        seeds, expected = table["seed"].to_numpy(), self.manifest.seeds(number, table.num_rows)
        wrong = np.flatnonzero(seeds != expected)
        if len(wrong):
            row = wrong[0]
            raise damaged(path, f"row {row} is seed {seeds[row]} where seed {expected[row]} belongs")
        return expected

    def _table(
        self,
        path: Path,
        record: FileRecord,
        columns: list[str],
        optional: Sequence[str] = (),
        dictionary: Sequence[str] = (),
    ) -> pa.Table:
        self._verify(path, record)
        try:
            with pq.ParquetFile(path, read_dictionary=dictionary) as file:
                missing = set(columns) - set(file.schema_arrow.names)
                if missing:
                    raise damaged(path, f"it has no column {', '.join(sorted(missing))}")
                table = file.read([*columns, *(name for name in optional if name in file.schema_arrow.names)])
        except (pa.ArrowException, OSError, KeyError) as error:
            raise damaged(path, f"it cannot be read as Parquet ({str(error).splitlines()[0]})") from error
        if table.num_rows != record.rows:
            raise damaged(path, f"it has {table.num_rows} rows where the manifest says {record.rows}")
        return table


def open_samples(path: str | Path) -> Samples:
    """Open a stored run.

    Raises:
        DamagedFileError: there is no manifest or it cannot be read; a code shard is missing or has another size.
        LatentEditError: a newer version of latentedit wrote it, or it has no finished rows yet.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if not manifest.shards:
        raise LatentEditError(f"{path} holds no finished rows yet; {SAMPLE}")
    for number, record in enumerate(manifest.shards):
        check_size(codes_path(path, number, record), record)
    return Samples(path, manifest)
