"""The columns of stored samples: tables to write, and what is read of them. Nobody else spells a column.

Of a tagger's tags, the format has had two forms. Now a row lists its tags by name::

    seed     int64
    tag      list<string>    tags whose score is above 0.01, and those of unknown score; null: the row has no labels
    score    list<float16>   theirs, null where it is unknown
    present  list<string>    tags whose score reaches their threshold
    status   string          why the row has no labels where that was a failure, else null

Before, ``tag`` was a list of uint16, row numbers of the vocabulary, and there were no ``present`` and no ``status``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latentedit.errors import DamagedFileError
from latentedit.files import atomic_write, sha256_of
from latentedit.samples.manifest import FileRecord, Manifest

SCORE_FLOOR = 0.01
"""Scores up to this one are not stored."""
DICTIONARY = ("tag.list.element",)
"""Columns to read as numbers of a dictionary rather than as texts."""


@dataclass(frozen=True)
class SparseScores:
    """Scores of the rows of a shard, without those that read as 0."""

    offsets: np.ndarray
    """(rows + 1,) where each row's tags begin."""
    tags: np.ndarray
    """(k,) numbers of tags in the vocabulary."""
    scores: np.ndarray
    """(k,) float32 in [0, 1], NaN where unknown."""
    unlabelled: np.ndarray
    """(rows,) bool: rows without labels."""

    def dense(self, rows: slice, width: int) -> np.ndarray:
        """Scores (n, width) float32 of some rows, NaN where there is no label."""
        first, last = self.offsets[rows.start], self.offsets[rows.stop]
        lengths = np.diff(self.offsets[rows.start : rows.stop + 1])
        scores = np.zeros((len(lengths), width), np.float32)
        scores[np.repeat(np.arange(len(lengths)), lengths), self.tags[first:last]] = self.scores[first:last]
        scores[self.unlabelled[rows]] = np.nan
        return scores

    def column(self, tag: int) -> np.ndarray:
        """Scores (rows,) float32 of one tag, NaN where there is no label."""
        found = np.flatnonzero(self.tags == tag)
        scores = np.zeros(len(self.unlabelled), np.float32)
        scores[np.searchsorted(self.offsets, found, "right") - 1] = self.scores[found]
        scores[self.unlabelled] = np.nan
        return scores


def read_style(table: pa.Table, dim: int) -> np.ndarray:
    """Codes (rows, dim) float32 of a code shard.

    Raises:
        ValueError: there are others in it; the message says what is wrong.
    """
    style = table["style"].combine_chunks()
    if style.type != pa.list_(pa.float32(), dim) or style.null_count or style.flatten().null_count:
        raise ValueError(f"its codes are not {dim} float32 numbers each")
    codes: np.ndarray = style.flatten().to_numpy().reshape(-1, dim)
    return codes


def read_scores(table: pa.Table, vocabulary: Sequence[str], *, numbered: bool) -> SparseScores:
    """Scores of a tag shard of names, its ``tag`` read as :data:`DICTIONARY` says, or of the form before, of numbers.

    Raises:
        ValueError: it holds something else; the message says what is wrong.
    """
    tags, scores = table["tag"].combine_chunks(), table["score"].combine_chunks()
    expected = pa.uint16() if numbered else pa.dictionary(pa.int32(), pa.string())
    if tags.type != pa.list_(expected) or scores.type != pa.list_(pa.float16()):
        raise ValueError(f"its tags and scores are not lists of {'uint16' if numbered else 'names'} and float16")
    lengths, flat, values = tags.value_lengths(), tags.flatten(), scores.flatten()
    numbers = flat if numbered else _numbers(flat, vocabulary)
    if not lengths.equals(scores.value_lengths()) or numbers.null_count or _beyond(numbers, len(vocabulary)):
        raise ValueError("its tags and scores do not fit each other or the vocabulary")
    found = values.to_numpy(zero_copy_only=False).astype(np.float32)
    if int(((found >= 0) & (found <= 1)).sum()) != len(found) - values.null_count:
        raise ValueError("it holds scores outside [0, 1]")
    offsets = np.concatenate([[0], np.cumsum(lengths.fill_null(0).to_numpy())])
    unlabelled = tags.is_null().to_numpy(zero_copy_only=False)
    return SparseScores(offsets, numbers.to_numpy(), found, unlabelled)


def _numbers(names: pa.DictionaryArray, vocabulary: Sequence[str]) -> pa.Array:
    """Numbers (k,) of names in the vocabulary, null for others; each name of the dictionary is looked up once."""
    return pc.index_in(names.dictionary, value_set=pa.array(vocabulary, pa.string())).take(names.indices)


def _beyond(numbers: pa.Array, width: int) -> bool:
    return bool(len(numbers)) and pc.max(numbers).as_py() >= width


def codes_table(
    manifest: Manifest, seeds: np.ndarray, codes: np.ndarray, images: Sequence[bytes | None] | None
) -> pa.Table:
    """A code shard: codes (rows, d) of seeds (rows,), and where these are kept, their PNG files, None of no picture."""
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
    parts = [pa.array(images, pa.binary()), pa.array(names)]
    lacking = pa.array([image is None for image in images])
    columns["image"] = pa.StructArray.from_arrays(parts, ["bytes", "path"], mask=lacking)
    # datasets shows a column as pictures when this key says so.
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})


def tags_table(
    seeds: np.ndarray, scores: np.ndarray, tags: Sequence[str], limits: np.ndarray, status: Sequence[str | None] = ()
) -> pa.Table:
    """A tag shard of scores (rows, tags) in [0, 1], NaN where there is no label; a row of NaN has no labels at all.

    Args:
        seeds: (rows,) int64.
        scores: (rows, tags) float32.
        tags: their names.
        limits: (tags,) score from which each is present, rounded to float16 as the scores are.
        status: (rows,) why a row without labels has none, None where that is no failure; of all rows when empty.
    """
    rounded = scores.astype(np.float16)
    unlabelled = np.isnan(scores).all(1)
    unknown = np.isnan(scores) & ~unlabelled[:, None]
    kept = (scores > SCORE_FLOOR) | unknown
    why = [reason if lacks else None for reason, lacks in zip(status, unlabelled, strict=bool(status))]
    values = pa.array(rounded[kept], mask=unknown[kept])
    return pa.table(
        {
            "seed": pa.array(seeds),
            "tag": _lists(kept, _names(kept, tags), unlabelled),
            "score": _lists(kept, values, unlabelled),
            "present": _lists(there := rounded >= limits, _names(there, tags), unlabelled),
            "status": pa.array(why if status else [None] * len(seeds), pa.string()),
        }
    )


def _names(chosen: np.ndarray, tags: Sequence[str]) -> pa.Array:
    """Names of the tags chosen (rows, tags), row by row."""
    return pa.array(tags, pa.string()).take(pa.array(np.nonzero(chosen)[1]))


def _lists(chosen: np.ndarray, values: pa.Array, unlabelled: np.ndarray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(chosen.sum(1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(unlabelled))


def vocabulary_table(tags: Sequence[str], thresholds: Sequence[float] | np.ndarray) -> pa.Table:
    """Names of a tagger's tags, and the score from which each counts as present."""
    return pa.table({"tag": pa.array(tags, pa.string()), "threshold": pa.array(thresholds, pa.float32())})


def write_table(path: Path, table: pa.Table) -> FileRecord:
    """Write a shard or a vocabulary.

    Raises:
        LatentEditError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        _write(table, temporary)
        record = FileRecord(table.num_rows, temporary.stat().st_size, sha256_of(temporary))
    return record


def read_whole(path: Path, schema: pa.Schema) -> pa.Table:
    """A shard with the columns of a schema; those that it lacks are null.

    Raises:
        DamagedFileError: it cannot be read, or its columns are others.
    """
    try:
        with pq.ParquetFile(path) as file:  # which takes no names of folders for columns
            held = file.read()
        columns = [
            held[field.name].cast(field.type) if field.name in held.column_names else pa.nulls(len(held), field.type)
            for field in schema
        ]
        return pa.table(columns, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error


def size_of(table: pa.Table) -> int:
    """Bytes of a table's file."""
    sink = pa.BufferOutputStream()
    _write(table, sink)
    return int(sink.getvalue().size)


def _write(table: pa.Table, where: Path | pa.NativeFile) -> None:
    # Codes are noise to a dictionary, and a file of theirs is larger with one.
    texts = [name for field in table.schema if (name := _text_column(field))]
    pq.write_table(table, where, compression="zstd", use_dictionary=texts)


def _text_column(field: pa.Field) -> str | None:
    """Name of a column of texts, or of lists of texts, as Parquet has it; None for other columns."""
    if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
        return f"{field.name}.list.element"
    return field.name if pa.types.is_string(field.type) else None
