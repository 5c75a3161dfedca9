"""Where the files of a run are, and whether a file is the one that the manifest lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentedit.errors import DamagedFileError
from latentedit.files import sha256_of
from latentedit.samples.manifest import FileRecord, TaggerRecord

SAMPLE = "run the same `latentedit sample` command again"
TAG = "run the same `latentedit sample` or `latentedit tag` command again"


def codes_path(path: Path, number: int) -> Path:
    """A code shard's file in the run's folder ``path``."""
    return path / f"codes-{number:05d}.parquet"


def vocabulary_path(path: Path, tagger: TaggerRecord) -> Path:
    """The file of a tagger's tag names; not among the shards, for a folder of these is a table to other programs."""
    if tagger.numbered:
        return path / "tags" / tagger.folder / "vocabulary.parquet"
    return path / "tags" / f"_vocabulary-{tagger.folder}.parquet"


def tags_path(path: Path, folder: str, number: int) -> Path:
    """A tag shard's file, of the tagger in that folder."""
    return path / "tags" / folder / f"tags-{number:05d}.parquet"


def damaged(path: Path, reason: str) -> DamagedFileError:
    """The error of a file that is not what the manifest says."""
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


def is_stored(path: Path, records: Sequence[FileRecord], number: int, rows: int) -> bool:
    """Whether a shard is listed with that many rows and its file is there.

    Raises:
        DamagedFileError: the file is there and is not what the manifest says.
    """
    if number >= len(records) or records[number].rows != rows or not path.exists():
        return False
    verify(path, records[number])
    return True
