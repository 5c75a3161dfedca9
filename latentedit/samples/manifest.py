"""The manifest of stored samples: what was sampled, and rows, bytes and sha256 of every file.

``manifest.json`` is the only place that says which shards count; this module is the only one that
knows its keys, which are the fields of :class:`Manifest` and of the records in it. Keys that an older
version lacks take their defaults here; a newer version is refused.

* 1: tag shards hold numbers of tags.
* 2: they hold names, the tags that are present, and a status; those of version 1 are ``numbered``.
* 3: files may have names of their own, and the last shard of a tagger may be shorter than that of the codes. Written
  only where that is so.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentedit import __version__
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.files import atomic_write, read_text
from latentedit.lookalikes import lookalike

SCHEMA_VERSION = 3
NAME = "manifest.json"
UNREADABLE = "#unreadable"
"""Ends the mark of a content picture that could not be read."""


@dataclass(frozen=True)
class FileRecord:
    """What the manifest knows of a file."""

    rows: int
    bytes: int
    sha256: str
    device: str | None = None
    """Of a shard: where its pictures were decoded; None where none were, or that is not known."""
    dtype: str | None = None
    """What they were decoded in."""
    file: str | None = None
    """Of a shard that took the place of a shorter one: its file's name, where that is not the usual one."""


@dataclass(frozen=True)
class TaggerRecord:
    """A tagger whose scores are stored; its tag shards are the first ``len(shards)`` ones of the run, the last of them
    perhaps not to its end."""

    id: str
    name: str | None
    """As it was typed, if it was."""
    folder: str
    threshold: float
    vocabulary: FileRecord
    shards: tuple[FileRecord, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """How it prepares pictures, in words."""
    numbered: bool = False
    """Its shards are of version 1: numbers of tags."""


@dataclass(frozen=True)
class ContentSource:
    """Pictures that an image-to-image generator took its contents from."""

    folder: str
    """Where they were, or ``shipped:`` and the name of a folder that ships."""
    pictures: tuple[str, ...]
    """``relative name#12 hex of the sha256 of its bytes``, in name order; ``#unreadable`` of one that could not be read
    when its rows were sampled. Such a one keeps its place, and its rows have neither picture nor tags."""
    beside: str | None = None
    """The folder as seen from that of the samples; None where it ships, or that is not known."""

    @cached_property
    def readable(self) -> np.ndarray:
        """Which of the pictures could be read, (m,) bool."""
        return np.array([not mark.endswith(UNREADABLE) for mark in self.pictures])

    def __str__(self) -> str:
        digest = hashlib.sha256("\n".join(self.pictures).encode()).hexdigest()[:12]
        return f"{len(self.pictures)} pictures of {self.folder} (together {digest})"


@dataclass(frozen=True)
class Manifest:
    """What was sampled; the fields are the keys of ``manifest.json``."""

    generator_id: str
    generator: str | None
    """Name as it was typed, if it was."""
    dim: int
    layers: tuple[str, ...]
    """Slot names of the generator; they travel to the directions."""
    seed: int
    truncation: float
    label: int | None
    noise: str | int
    contents: ContentSource | None
    """None when the generator has no content, or its default one was used."""
    styles_per_content: int
    shard_size: int
    images: bool
    shards: tuple[FileRecord, ...] = ()
    taggers: tuple[TaggerRecord, ...] = ()
    wanted: int | None = None
    """Rows that the last run was to end with; None where that is not known."""
    generator_weights: str | None = None
    """Which weights of its file it is made of, where the file holds others beside them or lacks their average."""
    generator_probe: str | None = None
    """What the generator draws, where its id does not say all; see :mod:`latentedit.generators.probe`."""

    @property
    def rows(self) -> int:
        """Finished rows."""
        return sum(shard.rows for shard in self.shards)

    def seeds(self, number: int, rows: int) -> np.ndarray:
        """Seeds (rows,) int64 of the first rows of a shard."""
        return self.seed + number * self.shard_size + np.arange(rows, dtype=np.int64)

    def content_indices(self, seeds: np.ndarray) -> np.ndarray | None:
        """Index (n,) int64 of the content of each seed, None without contents."""
        if self.contents is None:
            return None
        return seeds // self.styles_per_content % len(self.contents.pictures)

    def contents_taken(self) -> set[int]:
        """Indices of the content pictures that rows have."""
        indices = self.content_indices(self.seed + np.arange(min(self.rows, self._period)))
        return set() if indices is None else set(np.unique(indices).tolist())

    @property
    def _period(self) -> int:
        """Rows after which contents come again."""
        return self.styles_per_content * (1 if self.contents is None else len(self.contents.pictures))

    def pictures_among(self, n: int) -> int:
        """How many of the first n rows have a picture."""
        period = self._period
        whole = self.has_picture(self.seed + np.arange(min(n, period)))
        return int(whole.sum()) * max(n // period, 1) + int(whole[: n % period].sum()) * (n > period)

    def has_picture(self, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which seeds (n,) have a picture, (n,) bool: all but those whose content could not be read."""
        indices = self.content_indices(np.asarray(seeds))
        if indices is None or self.contents is None:
            return np.ones(len(seeds), bool)
        return self.contents.readable[indices]

    def tagger(self, name: str) -> TaggerRecord:
        """The tagger of that id, or the last one of that name.

        Raises:
            UnknownNameError: there is none.
        """
        found = [t for t in self.taggers if t.id == name] or [t for t in self.taggers if t.name == name]
        if not found:
            raise UnknownNameError("tagger", name, [t.id for t in self.taggers])
        return found[-1]

    def check_same_run(self, wanted: Manifest, path: Path) -> None:
        """Check that a folder's run may be resumed or extended as ``wanted``.

        Raises:
            MismatchError: something that decides what rows hold differs.
        """
        fields = ["generator_id", "dim", "seed", "truncation", "label", "noise", "contents", "shard_size", "images"]
        if self.contents is not None and wanted.contents is not None:
            fields.append("styles_per_content")
        for name in fields:
            there, here = getattr(self, name), getattr(wanted, name)
            if isinstance(there, ContentSource) and isinstance(here, ContentSource) and self._are_contents(here):
                continue  # the same pictures may lie elsewhere by now
            if name == "label" and {there, here} == {None, 0}:
                continue  # earlier versions wrote down only a class that was named; without a name it was the first
            if there != here:
                raise MismatchError(
                    f"{path} holds another run: its {name} is {there}, this one's is {here}; "
                    "choose another folder, or delete it"
                )

    def _are_contents(self, here: ContentSource) -> bool:
        """Whether pictures are those of this run; one that no row has taken yet may have turned out unreadable."""
        assert self.contents is not None
        there, now = self.contents.pictures, here.pictures
        differ = [i for i, mark in enumerate(there) if i >= len(now) or mark != now[i]]
        if not differ or len(there) != len(now):
            return there == now
        lost = [unreadable_mark(there[i]) for i in differ]
        if any(
            one not in (there[i], now[i]) or one != unreadable_mark(now[i]) for i, one in zip(differ, lost, strict=True)
        ):
            return False
        return not set(differ) & self.contents_taken()


def unreadable_mark(mark: str) -> str:
    """What a manifest calls a picture, of any mark, that cannot be read."""
    return mark.rpartition("#")[0] + UNREADABLE


def tagger_folder(tagger_id: str, taken: Sequence[str]) -> str:
    """A folder name for a tagger's id, such as ``avatar-0123abcd4567``, safe on every system and not taken."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", tagger_id).strip(".-")[:80] or "tagger"
    if name.casefold() in {other.casefold() for other in taken}:
        name = f"{name}-{hashlib.sha256(tagger_id.encode()).hexdigest()[:8]}"
    return name


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of the run in folder ``path``, atomically.

    Raises:
        LatentEditError: it cannot be written.
    """
    document = {"schema_version": _needed_version(manifest), "written_by": f"latentedit {__version__}"} | asdict(
        manifest
    )
    with atomic_write(path / NAME) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _needed_version(manifest: Manifest) -> int:
    """The oldest version that can say what this manifest says."""
    lists = (manifest.shards, *(tagger.shards for tagger in manifest.taggers))
    named = any(shard.file is not None for shards in lists for shard in shards)
    ends = (t.shards[-1].rows < manifest.shards[len(t.shards) - 1].rows for t in manifest.taggers if t.shards)
    return SCHEMA_VERSION if named or any(ends) else SCHEMA_VERSION - 1


def read_manifest(path: Path) -> Manifest:
    """The manifest of the run in folder ``path``.

    Raises:
        DamagedFileError: it is missing, is no manifest, or contradicts itself.
        LatentEditError: a newer version of latentedit wrote it.
    """
    file = path / NAME
    if not file.exists():
        raise DamagedFileError(f"{file} is missing, so {path} holds no samples; make some with `latentedit sample`")
    try:
        document = json.loads(read_text(file))
    except (LatentEditError, ValueError, RecursionError) as error:
        raise _unusable(file, f"it cannot be read ({error})") from error
    schema = document.get("schema_version") if isinstance(document, dict) else None
    if type(schema) is not int or schema < 1:
        raise _unusable(file, "it is not a manifest of samples")
    if schema > SCHEMA_VERSION:
        raise LatentEditError(
            f"{file} has schema version {schema}; this latentedit reads up to {SCHEMA_VERSION}: install a newer one"
        )
    try:
        manifest = _parse(document)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _unusable(file, f"a key is missing or has a wrong value ({type(error).__name__}: {error})") from error
    return manifest


def _unusable(file: Path, reason: str) -> DamagedFileError:
    reason = str(found) if (found := lookalike(file)) is not None and found.never else reason
    return DamagedFileError(f"{file} is damaged: {reason}; put back a copy, or delete {file.parent} and sample again")


def _parse(document: dict[str, Any]) -> Manifest:
    contents = document["contents"]
    if contents is not None:
        contents = ContentSource(
            _text(contents["folder"]),
            tuple(_text(p) for p in contents["pictures"]),
            _text(contents.get("beside"), optional=True),
        )
        if not contents.pictures:
            raise ValueError("contents without pictures")
    noise = document["noise"]
    manifest = Manifest(
        generator_id=_text(document["generator_id"]),
        generator=_text(document["generator"], optional=True),
        dim=_whole(document["dim"], 1),
        layers=tuple(_text(name) for name in document["layers"]),
        seed=_whole(document["seed"], 0),
        truncation=float(document["truncation"]),
        label=None if document["label"] is None else _whole(document["label"], 0),
        noise=_text(noise) if isinstance(noise, str) else _whole(noise, 0),
        contents=contents,
        styles_per_content=_whole(document["styles_per_content"], 1),
        shard_size=_whole(document["shard_size"], 1),
        images=bool(document["images"]),
        shards=tuple(map(_parse_file, document["shards"])),
        taggers=tuple(_parse_tagger(record, document["schema_version"]) for record in document["taggers"]),
        wanted=None if document.get("wanted") is None else _whole(document["wanted"], 1),
        generator_weights=_text(document.get("generator_weights"), optional=True),
        generator_probe=_text(document.get("generator_probe"), optional=True),
    )
    if any(shard.rows != manifest.shard_size for shard in manifest.shards[:-1]):
        raise ValueError("a shard before the last one is not full")
    rows = [shard.rows for shard in manifest.shards]
    for tagger in manifest.taggers:
        tagged = [shard.rows for shard in tagger.shards]
        if tagged[:-1] != rows[: max(len(tagged) - 1, 0)] or len(tagged) > len(rows):
            raise ValueError("tag shards do not match code shards")
        if tagged and tagged[-1] > rows[len(tagged) - 1]:
            raise ValueError("a tag shard has more rows than the code shard")
    return manifest


def _parse_tagger(record: dict[str, Any], version: int) -> TaggerRecord:
    folder, threshold = _text(record["folder"]), float(record["threshold"])
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", folder):  # nothing that leads out of the run
        raise ValueError(f"folder {folder!r}")
    if not math.isfinite(threshold):
        raise ValueError(f"threshold {threshold}")
    return TaggerRecord(
        _text(record["id"]),
        _text(record["name"], optional=True),
        folder,
        threshold,
        _parse_file(record["vocabulary"]),
        tuple(map(_parse_file, record["shards"])),
        {_text(key): _text(value) for key, value in record.get("settings", {}).items()},
        bool(record.get("numbered", version == 1)),
    )


def _parse_file(record: dict[str, Any]) -> FileRecord:
    return FileRecord(
        _whole(record["rows"], 1),
        _whole(record["bytes"], 1),
        _text(record["sha256"]),
        _text(record.get("device"), optional=True),
        _text(record.get("dtype"), optional=True),
        None if record.get("file") is None else _file(record["file"]),
    )


def _file(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"(codes|tags)-\d+-\d+\.parquet", name, re.ASCII):
        raise ValueError(f"file {name!r}")  # nothing that leads out of the run
    return name


def _whole(value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} where a whole number from {least} on belongs")
    return value


def _text(value: Any, *, optional: bool = False) -> Any:
    if not isinstance(value, str) and not (optional and value is None):
        raise ValueError(f"{value!r} where text belongs")
    return value
