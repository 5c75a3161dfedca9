"""Where the files of a run are, and whether a file is the one that the manifest lists."""

from __future__ import annotations

from pathlib import Path

from latentedit.errors import DamagedFileError
from latentedit.files import sha256_of
from latentedit.lookalikes import lookalike
from latentedit.samples.manifest import FileRecord, TaggerRecord

SAMPLE = "run the same `latentedit sample` command again"
TAG = "run the same `latentedit sample` or `latentedit tag` command again"


def codes_path(path: Path, number: int, record: FileRecord) -> Path:
    """The file of a listed code shard in the run's folder ``path``."""
    return path / (record.file or f"codes-{number:05d}.parquet")


def vocabulary_path(path: Path, tagger: TaggerRecord) -> Path:
    """The file of a tagger's tag names; not among the shards, for a folder of these is a table to other programs."""
    if tagger.numbered:
        return path / "tags" / tagger.folder / "vocabulary.parquet"
    return path / "tags" / f"_vocabulary-{tagger.folder}.parquet"


def tags_path(path: Path, folder: str, number: int, record: FileRecord) -> Path:
    """The file of a listed tag shard, of the tagger in that folder."""
    return path / "tags" / folder / (record.file or f"tags-{number:05d}.parquet")


def next_name(plain: str, rows: int, old: FileRecord | None, *, stopped: bool) -> str | None:
    """What to call the file of a shard, for :attr:`FileRecord.file`; None for its usual name.

    One that takes another's place is never called as that is, for both are there at once. One that a stop left short
    leaves the usual name to the shard that goes on from it.

    Args:
        plain: the usual name.
        rows: of the shard.
        old: what it takes the place of.
        stopped: before the shard was as long as it was to be.
    """
    if not stopped and (old is None or old.file is not None):
        return None
    return f"{plain.removesuffix('.parquet')}-{rows:05d}.parquet"


def damaged(path: Path, reason: str) -> DamagedFileError:
    """The error of a file that is not what the manifest says."""
    if (found := lookalike(path)) is not None and found.kind != "parquet":
        return DamagedFileError(f"{path}: {found}, or delete it and {_remedy(path)} to redo it")
    return DamagedFileError(f"{path} is damaged: {reason}; delete it and {_remedy(path)} to redo it")


def _remedy(path: Path) -> str:
    return SAMPLE if path.name.startswith("codes-") else TAG


def check_size(path: Path, record: FileRecord) -> None:
    """Check that a file is there and as long as the manifest says.

    Raises:
        DamagedFileError: it is not.
    """
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; {_remedy(path)} to redo it")
    size = path.stat().st_size
    if size != record.bytes:
        raise damaged(path, f"it has {size} bytes where the manifest says {record.bytes}")


def verify(path: Path, record: FileRecord) -> None:
    """Check that a file is what the manifest says, to the bit; it is read as a whole.

    Raises:
        DamagedFileError: it is not.
    """
    check_size(path, record)
    if sha256_of(path) != record.sha256:
        raise damaged(path, "its sha256 is not the manifest's, so it was changed after it was written")


def rows_in(path: Path, record: FileRecord) -> int:
    """Rows of a listed shard; 0 where its file is gone.

    Raises:
        DamagedFileError: the file is there and is not what the manifest says.
    """
    if not path.exists():
        return 0
    verify(path, record)
    return record.rows
