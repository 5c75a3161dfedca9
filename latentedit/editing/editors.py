"""Editors in files, which of several is meant, and the best one that ships for a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from latentedit.directions.bank import FORMAT as DIRECTIONS
from latentedit.directions.bank import DirectionBank
from latentedit.directions.edits import Edit
from latentedit.directions.formats import foreign
from latentedit.editing.editor import Editor
from latentedit.editing.ingredients import SHIPPED
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import visible_files
from latentedit.generators.base import Generator
from latentedit.prior.prior import Prior
from latentedit.prior.prior_file import FORMAT as PRIOR
from latentedit.prior.settled import Settled
from latentedit.prior.transport import Transport
from latentedit.shipped import shipped
from latentedit.taggers.tag_names import known_tag
from latentedit.tensorfile import header

EditorFile: TypeAlias = DirectionBank | Prior
OwnEditor: TypeAlias = DirectionBank | Prior | Settled


def editor_format(path: str | Path) -> str | None:
    """What a file says that it holds, "latentedit.directions" or "latentedit.prior"; None for anything else."""
    kind = header(path).get("format")
    return kind if kind in (DIRECTIONS, PRIOR) else None


def open_editor(path: str | Path) -> EditorFile:
    """The editor in a file, whichever it is: directions, or a prior.

    Raises:
        DamagedFileError: missing, damaged, or neither, such as a file that ``latentedit convert`` reads.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedFileError(f"{path}: there is no such file")
    if editor_format(path) is None and (said := foreign(path)):
        raise DamagedFileError(f"{path}: {said}")
    return Prior.load(path) if editor_format(path) == PRIOR else DirectionBank.load(path)


def open_both(directions: str | Path, prior: str | Path) -> Settled:
    """Lines of one file, settled on the prior of another, whichever is which.

    Raises:
        DamagedFileError: missing, damaged, or neither.
        LatentEditError: two files of one kind.
        MismatchError: of two generators.
    """
    return settle(open_editor(directions), open_editor(prior), names=f"{directions} and {prior}")


def settle(one: EditorFile, other: EditorFile, *, names: str) -> Settled:
    """Lines settled on a prior, whichever is which.

    Args:
        one, other: directions and a prior.
        names: of their files, for messages.

    Raises:
        LatentEditError: two of one kind.
        MismatchError: of two generators.
    """
    if isinstance(one, DirectionBank) and isinstance(other, Prior):
        return Settled(one, other)
    if isinstance(one, Prior) and isinstance(other, DirectionBank):
        return Settled(other, one)
    kind = "priors" if isinstance(one, Prior) else "directions"
    raise LatentEditError(f"{names} both hold {kind}; settling takes directions and a prior")


def newest_editor(
    folder: str | Path, generator: Generator | None = None, *, say: Callable[[str], None] | None = None
) -> tuple[EditorFile, Path] | None:
    """The newest readable editor's file in a folder, and the editor; None when there is none.

    Of files of one date the first in name order. What ships is not looked at where it lies in that folder, as in a
    checkout.

    Args:
        folder: looked into, not below.
        generator: only files that fit it.
        say: told of files that cannot be read and were newer, a line each.
    """
    for path in _files(Path(folder)):
        try:
            found = open_editor(path)
        except LatentEditError as error:
            if say:
                say(f"passed over: {error}")
            continue
        if generator is None or found.generator_id == generator.id:
            return found, path
    return None


def check_tags(edits: Iterable[Edit], editor: OwnEditor, where: str, *, folder: str | Path) -> None:
    """Refuse tags that an editor does not know; the message says what has them, else which ones are nearest.

    Args:
        edits: that are asked of it.
        editor: which one is in use.
        where: its files as messages name them, or "shipped".
        folder: of one's own files, which may have the tag.

    Raises:
        LatentEditError: there is one.
    """
    for one in (part for edit in edits for part in edit.parts):
        for tag in (one.tag, one.opposite):
            if tag not in (None, "auto") and known_tag(tag, editor.tags) not in editor.tags:
                raise _unknown(str(tag), editor, where, Path(folder))


def _unknown(tag: str, editor: OwnEditor, where: str, folder: Path) -> LatentEditError:
    own = where != SHIPPED
    known = ", ".join(editor.tags[:40]) + (f", ... ({len(editor.tags)} in all)" if len(editor.tags) > 40 else "")
    of = where if own else "what ships"
    for path in [*_files(folder), *(shipped_files(editor.generator_id) if own else ())]:
        try:
            found = open_editor(path)
        except LatentEditError:
            continue
        if known_tag(tag, found.tags) in found.tags:
            option = "prior" if isinstance(found, Prior) else "directions"
            name = SHIPPED if _ships(path) else str(path)
            other = "" if found.generator_id == editor.generator_id else f", of {found.generator_name or 'another'}"
            has = f"{'what ships' if name == SHIPPED else name} has it{other}: --{option} {name}"
            return LatentEditError(f"unknown tag {tag!r}; {has}; {of} knows: {known or 'none'}")
    # Of what ships only what is spelt alike is worth a guess: the tag may be of a generator of one's own.
    near = get_close_matches(tag, editor.tags, n=3, cutoff=0.0 if own else 0.7)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return LatentEditError(f"unknown tag {tag!r}; {guess}known: {known or 'none'} ({of})")


def _files(folder: Path) -> list[Path]:
    """Files of one's own in a folder, the newest first."""
    files = sorted(visible_files(folder, "*.safetensors"), key=lambda path: (-path.stat().st_mtime_ns, path.name))
    return [path for path in files if not _ships(path)]


def shipped_files(generator_id: str) -> list[Path]:
    """Files of editors that ship for a generator, in name order."""
    files = visible_files(shipped("directions"), "*.safetensors")
    return [path for path in files if header(path).get("generator_id") == generator_id]


def shipped_file(editor: Editor) -> Path:
    """The file of an editor that ships."""
    kind = PRIOR if isinstance(editor, Prior) else DIRECTIONS
    files = shipped_files(getattr(editor, "generator_id", ""))
    return next(path for path in files if editor_format(path) == kind)


def load_default(generator: Generator) -> EditorFile:
    """The best editor that ships for a generator: its prior, else its directions.

    Raises:
        LatentEditError: none comes with latentedit.
    """
    try:
        return Prior.load_default(generator)
    except DamagedFileError:
        raise
    except LatentEditError:
        return DirectionBank.load_default(generator)


def kind_of(editor: Editor) -> str:
    """What an editor is in words: "lines", "flow", "settled lines", "transport", or the name of its class."""
    kinds = {DirectionBank: "lines", Prior: "flow", Settled: "settled lines", Transport: "transport"}
    return kinds.get(type(editor), type(editor).__name__)


def side_names(first: tuple[Editor, str], second: tuple[Editor, str]) -> tuple[str, str]:
    """What two editors are called beside each other: in words, by their files where they are of one kind.

    Args:
        first, second: an editor, and its files as messages name them.

    Raises:
        LatentEditError: they are the same.
    """
    (one, here), (other, there) = first, second
    kinds = kind_of(one), kind_of(other)
    stems = f"{kinds[0]}, {Path(here).stem}", f"{kinds[1]}, {Path(there).stem}"
    for names in (kinds, stems, (here, there)):
        if names[0] != names[1]:
            return names
    raise LatentEditError(f"--against {there} is what edits already; name another file")


def taggers_of(editor: Editor) -> frozenset[str]:
    """Ids of the taggers that an editor was fitted with; none where that is not known."""
    if isinstance(editor, Settled):
        return taggers_of(editor.bank)
    found = {d.tagger_id for d in editor} if isinstance(editor, DirectionBank) else {getattr(editor, "tagger_id", None)}
    return frozenset(one for one in found if one)


def tagger_name_of(editor: Editor) -> str:
    """What the tagger that an editor was fitted with was loaded by; empty where that is not known."""
    return str(getattr(editor.bank if isinstance(editor, Settled) else editor, "tagger_name", ""))


def _ships(path: Path) -> bool:
    return path.name.startswith("avatar.") and path.resolve().parent == shipped("directions").resolve()
