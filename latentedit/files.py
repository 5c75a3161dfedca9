"""Writing files so that a file is whole or not there, hashing them, and numbers as JSON has them."""

from __future__ import annotations

import codecs
import hashlib
import io
import math
import os
import re
import secrets
import stat
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.lookalikes import named, refuse_lookalike

_CAN_LOCK = os.name == "posix"
if _CAN_LOCK:
    import fcntl

_TEMPORARY = ".tmp-"


def destination(path: str | Path) -> Path:
    """Where a file of that name is written: what a link leads to, for a link is never replaced.

    Raises:
        LatentEditError: a device, a pipe or a socket is in its place, or a link that leads in a circle.
    """
    path = Path(path)
    try:
        target = Path(os.path.realpath(path, strict=path.exists())) if path.is_symlink() else path
        kind = path.stat().st_mode if path.exists() else stat.S_IFREG
    except OSError as error:
        raise LatentEditError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    if path.is_symlink() and target.is_symlink():
        raise LatentEditError(f"{path} is a link that leads in a circle; name a file")
    of_system = target.parts[1:2] in (("proc",), ("dev",)) and target.parts[2:3] != ("shm",)
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) or of_system:
        what = next((name for is_one, name in _KINDS if is_one(kind)), "a device")
        raise LatentEditError(f"{path} is {what}, and no file can take its place; name a file")
    return target


_KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends without an error.

    The folder is made when it is missing; the temporary file keeps the suffix, has the permissions that any new file
    gets, whichever library writes it, is flushed to the disk before it takes the name, and is removed when anything
    goes wrong, Ctrl-C included. A link stays, and what it leads to is written. Libraries that may lose what a full
    disk refuses write by :func:`write_bytes`.

    Raises:
        LatentEditError: the disk is full, the folder cannot be written to, a file is in its place, or
            :func:`destination` refuses it.
    """
    path = destination(path)
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        permissions = temporary.stat().st_mode  # as the umask has it; safetensors writes for the owner alone
        yield temporary
        os.chmod(temporary, permissions)
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> LatentEditError:
    reason = error.strerror or str(error)
    return LatentEditError(f"cannot write {path}: {reason}; make room, or choose another place")


def write_bytes(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write what a function writes into a binary file, by way of memory.

    Libraries that write in C, such as numpy and Pillow, do not hear of a full disk when what they write is small.

    Raises:
        LatentEditError: as :func:`atomic_write`.
    """
    buffer = io.BytesIO()
    write(buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows flushes only what is open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    # The new name itself is on the disk only after this; some systems cannot open a folder.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporary_files(folder: Path, pattern: str) -> None:
    """Remove what killed runs of :func:`atomic_write` left of the files in ``folder`` that fit a glob pattern."""
    for left in folder.glob(f"{_TEMPORARY}????????-{pattern}"):
        with suppress(OSError):
            left.unlink()


def temporary_files(folder: Path) -> list[Path]:
    """What running or killed runs of :func:`atomic_write` have in a folder."""
    return [path for path in folder.glob(f"{_TEMPORARY}????????-*") if path.is_file()]


def visible_files(folder: Path, pattern: str = "*") -> list[Path]:
    """Files of a folder that fit a glob pattern, in name order.

    Hidden ones, whose names begin with a dot, are passed over: notes that macOS keeps beside files, what was thrown
    away, what is being written; and so are folders, and links that lead nowhere.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(".") and path.is_file())


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with a byte order mark or without, or in UTF-16 with one.

    Raises:
        DamagedFileError: there is no such file, it is in another encoding, or a web page, a pointer and the like.
    """
    path = Path(path)
    try:
        held = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror})") from error
    refuse_lookalike(path, held, may_be_empty=True)
    with named(path):
        try:
            return decoded(held)
        except UnicodeDecodeError as error:
            came = f"byte {held[error.start]:#04x} at {error.start} is not {error.encoding.upper()}"
            raise DamagedFileError(f"{path}: {came}; save it as UTF-8") from error


def decoded(held: bytes) -> str:
    """Text in UTF-8, with a byte order mark or without, or in UTF-16 with one; lines end as Python ends them.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    wide = held[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = held.decode("utf-16") if wide else held.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        DamagedFileError: there is no such file, or it is not TOML.
    """
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # lists in lists without end recurse
        raise DamagedFileError(f"{path}: cannot be read as TOML ({error})") from error


def home_of(path: str) -> str:
    """A path whose ``~`` or ``~user`` no shell has made a home folder; a file that is called so is meant itself."""
    return path if not path.startswith("~") or os.path.exists(path) else os.path.expanduser(path)


_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")})
"""Names that Windows keeps for devices, whatever suffix follows."""
_LONGEST = 100
"""Bytes of :func:`file_name`, before what tells it from others: room for a suffix, and for what writers put before."""


def file_name(text: str) -> str:
    """A name without suffix that every file system takes: visible, no path, no device, 107 bytes at most.

    Letters and digits of any script stay. Different texts stay different, by a few digits of their sum where one was
    changed.
    """
    composed = unicodedata.normalize("NFC", text)
    plain = "".join(c if _is_plain(c, before) else "_" for before, c in zip(" " + composed, composed, strict=False))
    plain = re.sub(r"^[.-]|\.$", "_", plain)
    disk = sys.getfilesystemencoding()
    plain = plain.encode(disk, "replace").replace(b"?", b"_")[:_LONGEST].decode(disk, "ignore") or "_"
    if plain.partition(".")[0].casefold() in _DEVICES:
        plain = f"_{plain}"
    return plain if plain == text else f"{plain}-{_sum_of(text)}"


def _is_plain(character: str, before: str) -> bool:
    """Whether a file's name may have a character: a letter or digit, a mark on one, or one of ``-_.``."""
    if unicodedata.category(character)[0] == "M":  # a mark alone, as of an emoji, is not seen
        return unicodedata.category(before)[0] in "LMN"
    return character.isalnum() or character in "-_."


def _sum_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make a folder when it is missing, and keep other processes from writing to it; reading stays free.

    Nothing is left behind, whatever ends the process. Systems without ``flock`` are not guarded.

    Raises:
        LatentEditError: another process is writing there, or the folder cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise LatentEditError(f"{folder} is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatentEditError(f"cannot make folder {folder}: {error.strerror}; choose another place") from error
    descriptor = os.open(folder, os.O_RDONLY) if _CAN_LOCK else None
    try:
        if descriptor is not None and not _lock(descriptor):
            raise LatentEditError(f"another process is writing to {folder}; wait for it to end")
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_being_written(folder: Path) -> bool:
    """Whether another process holds :func:`only_writer` of a folder; always False without ``flock``."""
    if not _CAN_LOCK or not folder.is_dir():
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_writer_of(path: Path) -> Iterator[None]:
    """Keep other processes from writing a file, by a lock beside it; its folder is made when it is missing.

    The lock and a folder that nothing came into are removed in the end; a killed process leaves a lock that holds
    nobody up. Systems without ``flock`` are not guarded.

    Raises:
        LatentEditError: another process is writing it, or the folder cannot be written to.
    """
    if not _CAN_LOCK:
        yield
        return
    missing = [folder for folder in path.parents if not folder.exists()]
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _cannot_write(path, error) from error
    held = False
    try:
        # A lock that its holder has removed meanwhile holds nobody up: then it is another file.
        held = _lock(descriptor) and lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat())
        if not held:
            raise LatentEditError(f"another process is writing {path}; wait for it to end, or name another file")
        yield
    finally:
        with suppress(OSError):
            if held:
                lock.unlink()
            os.close(descriptor)
            for folder in missing:
                folder.rmdir()


def _lock(descriptor: int) -> bool:
    """Whether this process alone may write now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def jsonable(thing: Any) -> Any:
    """The same for ``json.dumps``: dataclasses become objects, arrays lists, and what is not finite null.

    JSON has no NaN; null stands for what is not known or was not reached.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        thing = asdict(thing)
    if isinstance(thing, Mapping):
        return {str(key): jsonable(value) for key, value in thing.items()}
    if isinstance(thing, np.ndarray):
        return jsonable(thing.tolist())
    if isinstance(thing, (list, tuple)):
        return [jsonable(value) for value in thing]
    if isinstance(thing, np.generic):
        thing = thing.item()
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else None
    return str(thing) if isinstance(thing, Path) else thing
