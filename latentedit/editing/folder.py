"""One picture and one code a face, in a folder: any number of faces, a batch at a time, and on from where it stopped.

Every picture says in its file what it shows, so that a second run knows which are finished, and mixes nothing: faces
that a file of the same name shows otherwise edited are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentedit.directions.edits import Edit, EditLike
from latentedit.directions.formats import write_codes
from latentedit.editing.editor import Editor, edit
from latentedit.editing.faces import PreparedFaces
from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.files import file_name, only_writer
from latentedit.pictures.images import SUFFIXES, to_pil
from latentedit.pictures.opening import text_in
from latentedit.pictures.writing import write_picture

KEY = "latentedit face"
"""Under which a picture's file says what it shows."""


@dataclass(frozen=True)
class Written:
    """What a folder has now.

    Attributes:
        names: of the faces' files, without suffix, in the order of the faces.
        drawn: how many of them this run made.
    """

    names: tuple[str, ...]
    drawn: int


def write_faces(
    folder: str | Path,
    faces: PreparedFaces,
    editor: Editor | None = None,
    edits: EditLike = (),
    *,
    identity: str = "",
    text: Callable[[int], Mapping[str, str]] | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write ``NAME.png`` and ``NAME.npy`` a face: it after all edits together, and its code then.

    Faces that are finished stay as they are. Nothing is held but a batch and the codes of seeds.

    Args:
        folder: made when it is missing.
        faces: to draw.
        editor: edits them; None: as they are.
        edits: what is changed.
        identity: what tells the editor from others, such as the check sum of its file.
        text: of a face's number, what its picture's file carries beside.
        force: draw all, over whatever is there.
        progress: called with finished faces and all faces.

    Raises:
        LatentEditError: a picture of one of the names shows something else, and no ``force``; another process writes
            there; faces that cannot be edited or decoded.
    """
    folder, whole, n = Path(folder), Edit(edits) if editor else None, len(faces)
    names = file_names(faces)
    shared = {"generator": faces.generator.id, "edit": str(whole or ""), "by": identity}
    marks = [{**shared, **faces.identity(i)} for i in range(n)]
    with only_writer(folder):
        missing = {i for i in range(n) if force or not _finished(folder, names[i], marks[i])}
        done = n - len(missing)
        for rows in faces.batches():
            wanted = [i for i in range(rows.start, rows.stop) if i in missing]
            if not wanted:
                continue
            if progress:
                progress(done, n)
            codes = faces.codes(rows)
            if editor and whole:
                codes = edit(codes, editor, whole)
            pictures = faces.decode(codes, rows)
            for i in wanted:
                j = i - rows.start
                (picture,) = to_pil(pictures[j])
                write_codes(codes[j : j + 1].cpu(), folder / f"{names[i]}.npy")
                carried = {KEY: json.dumps(marks[i]), **(text(i) if text else {})}
                write_picture(folder / f"{names[i]}.png", picture, text=carried)  # last: it says that both are there
            done += len(wanted)
        if progress and missing:
            progress(done, n)
    return Written(tuple(names), len(missing))


def file_names(faces: PreparedFaces) -> list[str]:
    """Names of faces as files have them, all different whatever the case: ``seed-17``, with several contents
    ``seed-17-me``."""
    found, taken = [], set[str]()
    for i, name in enumerate(faces.names):
        plain = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name
        content = faces.content_path(i) if faces.several_contents else None
        given = file_name("-".join([*plain.split(), *([content.stem] if content else [])]))
        unique, number = given, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{given}-{number}"
        taken.add(unique.casefold())
        found.append(unique)
    return found


def read_mark(path: Path) -> dict[str, Any] | None:
    """What a face's picture says that it shows: its generator, edit, editor and seed or code; None for other files."""
    try:
        found = json.loads(text_in(path, KEY) or "null")
    except (UnreadablePictureError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _finished(folder: Path, name: str, mark: Mapping[str, Any]) -> bool:
    """Whether a face's picture and code are there.

    Raises:
        LatentEditError: the picture shows something else.
    """
    path = folder / f"{name}.png"
    if not path.exists():
        return False
    was = read_mark(path)
    if was == mark:
        return (folder / f"{name}.npy").is_file()
    changed = [(key, was.get(key), mark[key]) for key in mark if was.get(key) != mark[key]] if was else []
    why = ", whose {} is {!r} rather than {!r}".format(*changed[0]) if changed else ""
    raise LatentEditError(f"{path} is another picture{why}; name another folder, or overwrite with --force")
