"""One file to another format: what ``latentedit convert`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from latentedit.directions.bank import DirectionBank
from latentedit.directions.formats.codes import codes_of_generator, named_codes, write_codes
from latentedit.directions.formats.containers import Held, read_file
from latentedit.directions.formats.reading import Rows
from latentedit.directions.formats.recognition import FORMATS, check_format, format_of_suffix, guess_format
from latentedit.directions.formats.transfer import export_directions, import_held
from latentedit.errors import DamagedFileError, LatentEditError, UnsafeFileError
from latentedit.generators.base import Generator, per_slot


class Converted(NamedTuple):
    """What was converted."""

    holds: Literal["directions", "codes"]
    source_format: str
    target_format: str
    names: tuple[str, ...]
    """Tags of directions, names of codes."""
    shape: tuple[int, ...]
    """Of one direction, or of all codes."""


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    generator: Generator | None = None,
    tags: Sequence[str] | None = None,
    source_format: str | None = None,
    target_format: str | None = None,
    rows: Rows | Literal["faces"] | None = None,
    generator_name: str = "",
) -> Converted:
    """Read directions or codes of one format, write another.

    Args:
        source: the file to read.
        target: the file to write.
        generator: the one that the directions or codes are of; needed for directions of others. Codes are checked
            against it.
        tags: which directions; of a source that names none, its direction's tag, or a tag for each.
        source_format: a name in :data:`latentedit.directions.formats.FORMATS`; by contents when None. An array of two
            dimensions is a direction unless one of the formats, or the suffix ``.npz`` of the target, is of codes.
        target_format: the same; by the target's suffix when None.
        rows: what the rows of an array (k, d) are, "directions" or the "slots" of one; an array of three dimensions is
            then of directions as well; "faces": they are codes, one a face, and (n, 1, d) is written. None: what only
            fits; of codes as many as the generator has slots, :func:`codes_of_generator` says what is taken for what.
        generator_name: what the generator was loaded by; stays in ``.safetensors``.

    Raises:
        DamagedFileError: the source cannot be read.
        LatentEditError: what the source holds does not fit the generator or the target's format.
    """
    held = read_file(source)
    for name in (source_format, target_format):
        if name is not None:
            check_format(name, FORMATS[name].holds if name in FORMATS else "directions")
    found = source_format or guess_format(held)
    of_codes = target_format is not None and FORMATS[target_format].holds == "codes"
    faces = rows == "faces"
    rows = None if rows == "faces" else rows
    if target_format is None:
        of_codes = faces or Path(target).suffix.lower() == ".npz" and rows is None
    if rows is not None and source_format is None:
        found = found.removeprefix("latents-")
    if of_codes and source_format is None and found in ("interfacegan", "npy", "pt"):
        found = f"latents-{FORMATS[found].suffix[1:]}"
    holds = FORMATS[found].holds
    name = target_format or format_of_suffix(target, holds)
    check_format(name, holds, to_write=True)
    if holds == "codes":
        return _convert_codes(held, found, target, name, generator, tags, faces=faces)
    bank = _bank(held, found, generator, tags, rows, generator_name)
    if len(bank) > 1 and name in ("npy", "pt", "interfacegan"):
        codes = f", or say --to latents-{FORMATS[name].suffix[1:]} if they are codes" * (found in ("npy", "pt"))
        raise LatentEditError(
            f"{held.path} holds {len(bank)} directions and {name} files hold one direction; choose one by its tag, of "
            f"{', '.join(bank.tags[:8])}{', ...' * (len(bank) > 8)}, or write .npz or .safetensors{codes}"
        )
    export_directions(bank, target, format=name)
    return Converted("directions", found, name, bank.tags, tuple(next(iter(bank)).vector.shape))


def _bank(
    held: Held, name: str, generator: Generator | None, tags: Sequence[str] | None, rows: Rows | None,
    generator_name: str,
) -> DirectionBank:  # fmt: skip
    if generator is not None:
        return import_held(held, generator, format=name, tags=tags, rows=rows, generator_name=generator_name)
    if name != "latentedit":
        raise LatentEditError(
            f"{held.path} ({FORMATS[name].title}) does not say which generator it is of; name it, as in "
            "--generator stylegan2:PATH"
        )
    bank = DirectionBank.load(held.path)
    return bank if tags is None else bank.only(tags)


def _convert_codes(
    held: Held, found: str, target: str | Path, name: str, generator: Generator | None, tags: Sequence[str] | None,
    *, faces: bool,
) -> Converted:  # fmt: skip
    if tags is not None:
        raise LatentEditError(f"{held.path} holds codes ({FORMATS[found].title}), which have no tags; leave --tag out")
    names, codes = named_codes(held, format=found)
    layers = None
    if generator is not None:
        layers = len(generator.layers)
        names, codes = codes_of_generator(
            names, codes, layers=layers, dim=generator.dim, where=str(held.path), faces=faces
        )
        per_slot(codes, layers, generator.dim)
    if faces and codes.ndim == 2 and name != "projected-w":
        codes = codes[:, None]  # which no generator's slots can be taken for
    write_codes(codes, target, format=name, layers=layers)
    return Converted("codes", found, name, names, tuple(codes.shape))


_CONTAINERS = {"npy": "a NumPy file", "npz": "a NumPy archive", "csv": "a table", "pickle": "a pickle"}


def foreign(path: str | Path) -> str | None:
    """What a file of another project is and what to do with it, in words; None where it is not one that is read here.

    Raises:
        UnsafeFileError: it asks for code, or holds Python objects.
    """
    try:
        held = read_file(path)
        name = guess_format(held)
    except UnsafeFileError:
        raise
    except DamagedFileError:
        return None
    if name == "latentedit":
        return None
    kind = _CONTAINERS.get(held.container, "a safetensors file" if held.container == "safetensors" else "a torch file")
    use = "makes directions of it" if FORMATS[name].holds == "directions" else "reads it, and `edit --codes` takes it"
    return f"{kind} ({FORMATS[name].title}); `latentedit convert` {use}"
