"""What files and folders that commands write are, but for editors: samples, moments, re-scorings, recipes, studies."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentedit.directions.moments import FORMAT as MOMENTS
from latentedit.directions.moments import Moments
from latentedit.editing.folder import read_mark
from latentedit.editing.recipe import KEY, Recipe
from latentedit.errors import DamagedFileError, LatentEditError, UnreadablePictureError
from latentedit.files import read_text, visible_files
from latentedit.metrics.rescoring import FORMAT as RESCORING
from latentedit.metrics.rescoring import Rescoring
from latentedit.pictures.opening import text_in, use_picture
from latentedit.prior.fitting import STATE as PRIOR_STATE
from latentedit.samples.manifest import NAME as MANIFEST
from latentedit.samples.manifest import read_manifest
from latentedit.samples.progress import progress_of
from latentedit.study.run import FORMAT as MEASURED
from latentedit.study.run import RECORD
from latentedit.taggers.training import STATE as JUDGE_STATE
from latentedit.tensorfile import header


@dataclass(frozen=True)
class StoredInfo:
    """A file or folder in words and numbers.

    Attributes:
        name: its path.
        holds: what it is, such as "samples".
        facts: what there is to say, by a short name; JSON values.
        size: bytes, of a folder all files in it.
    """

    name: str
    holds: str
    facts: Mapping[str, Any]
    size: int

    def document(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


def inspect_stored(name: str | Path) -> StoredInfo | None:
    """What a file or folder is that a command wrote; None for anything else.

    Raises:
        DamagedFileError: it is one of ours, and damaged.
    """
    path = Path(name)
    read: Callable[[Path], tuple[str, dict[str, Any]]] | None
    if os.path.isdir(path):  # a name with options may be longer than pathlib takes
        read = next((read for mark, read in _FOLDERS.items() if (path / mark).is_file()), None)
        if read is None or (read is _demo and not (path / "samples" / MANIFEST).is_file()):
            read = _faces
    elif path.suffix == ".json" and path.is_file():
        read = _json
    elif path.suffix.lower() == ".png" and path.is_file():
        read = _picture
    else:
        read = _FILES.get(header(path).get("format", ""))
    if read is None:
        return None
    holds, facts = read(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return StoredInfo(str(name), holds, facts, sum(file.stat().st_size for file in files)) if holds else None


def _samples(path: Path) -> tuple[str, dict[str, Any]]:
    manifest = read_manifest(path)
    facts: dict[str, Any] = {
        "generator": manifest.generator_id + (f" ({manifest.generator})" if manifest.generator else ""),
        "rows": manifest.rows, "seeds": f"{manifest.seed} to {manifest.seed + max(manifest.rows, 1) - 1}",
        "code": f"{manifest.dim} numbers", "truncation": manifest.truncation, "label": manifest.label,
        "contents": None if manifest.contents is None else str(manifest.contents), "pictures": manifest.images or None,
        "taggers": [f"{one.id} ({sum(s.rows for s in one.shards)} rows)" for one in manifest.taggers],
        "failed": [
            f"{part.name}: {rows} rows without tags: {why}"
            for part in progress_of(path).parts for why, rows in part.failed.items()
        ],
    }  # fmt: skip
    return "samples", _known(facts)


def _study(path: Path) -> tuple[str, dict[str, Any]]:
    facts = _read_json(path / RECORD)
    edits = [str(one.get("name")) for one in facts.pop("edits", []) if isinstance(one, dict)] or None
    finished = "yes, see report.html" if (path / "report.html").is_file() else "not yet; the same command goes on"
    return "a study", _known({**facts, "edits": edits, "finished": finished})


def _demo(path: Path) -> tuple[str, dict[str, Any]]:
    return "a demo", {"rows": read_manifest(path / "samples").rows, "report": str(path / "report.html")}


def _faces(path: Path) -> tuple[str, dict[str, Any]]:
    marks = {file: mark for file in visible_files(path, "*.png") if (mark := read_mark(file)) is not None}
    told = {key: sorted({str(mark.get(key)) for mark in marks.values()}) for key in ("generator", "edit")}
    facts = {
        "faces": len(marks), "codes": sum(file.with_suffix(".npy").is_file() for file in marks),
        **{key: values[0] if len(values) == 1 else values for key, values in told.items()},
    }  # fmt: skip
    return ("pictures and codes of faces", _known(facts)) if marks else ("", {})


def _moments(path: Path) -> tuple[str, dict[str, Any]]:
    moments = Moments.load(path)
    facts = {
        "generator": moments.generator_id, "tagger": moments.tagger_id, "rows": moments.count,
        "code": f"{moments.dim} numbers", "target": moments.target, "tags": list(moments.tags),
    }  # fmt: skip
    return "moments, a cache of sums over samples", _known(facts)


def _rescoring(path: Path) -> tuple[str, dict[str, Any]]:
    found = Rescoring.load(path)
    facts = {
        **{key: found.provenance.get(key) for key in ("generator", "judge", "editor", "file")},
        "pictures": len(found.before), "edits": list(found.labels), "tags": list(found.tags),
        "looks": "scores alone" if found.looks is None else None,
    }  # fmt: skip
    return "a re-scoring", _known(facts)


def _measured(path: Path) -> tuple[str, dict[str, Any]]:
    return "measurements of a study, which goes on from them", {}


def _state(path: Path) -> tuple[str, dict[str, Any]]:
    return "what a stopped fit has done; the same command goes on from it", {}


def _json(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(read_text(path))
    except (LatentEditError, ValueError, RecursionError):
        return "", {}
    if not isinstance(document, dict):
        return "", {}
    if path.name == MANIFEST and "schema_version" in document:
        return _samples(path.parent)
    if "recipe" in document:
        return _recipe(path)
    if "comparison" in document:
        kept = {key: document.get(key) for key in ("generator", "judge", "edits", "pictures", "latentedit")}
        return "a comparison", _known({"files": list(document.get("files", {})), **kept})
    if "numbers" in document and "provenance" in document:
        return "numbers of a study", {}
    return "", {}


def _picture(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        size, known = use_picture(path, lambda image: image.size), text_in(path, KEY) is not None
    except UnreadablePictureError:
        return "", {}
    if not known:
        return "a picture without a recipe", {"size": f"{size[0]} x {size[1]}"}
    holds, facts = _recipe(path)
    return f"a picture with {holds}", {"size": f"{size[0]} x {size[1]}", **facts}


def _recipe(path: Path) -> tuple[str, dict[str, Any]]:
    recipe = Recipe.load(path)
    told = recipe.document()
    facts = {
        "edit": str(recipe.edit), "seeds": told["faces"].get("seeds"),
        "generator": f"{recipe.generator_id} ({recipe.generator})", "editor": recipe.editor,
        "files": [one.name for one in recipe.ingredients], "layout": recipe.layout.kind,
        "device": recipe.device, "latentedit": recipe.version, "again by": f"latentedit edit --recipe {path}",
    }  # fmt: skip
    return "a recipe", _known(facts)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise DamagedFileError(f"{path}: damaged ({error}); delete it, or name another folder") from error
    return dict(found) if isinstance(found, dict) else {}


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value not in (None, "", [])}


_FOLDERS: dict[str, Callable[[Path], tuple[str, dict[str, Any]]]] = {
    MANIFEST: _samples, RECORD: _study, "report.html": _demo,
}  # fmt: skip
"""By a file in it."""
_FILES: dict[str, Callable[[Path], tuple[str, dict[str, Any]]]] = {
    MOMENTS: _moments, RESCORING: _rescoring, MEASURED: _measured, PRIOR_STATE: _state, JUDGE_STATE: _state,
}  # fmt: skip
"""By the format that a safetensors file says it has."""
