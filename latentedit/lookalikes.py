"""What a file is that came in place of another: a web page, a pointer to a file, a cut download, an archive.

Every reader says it in the same words: :func:`named` puts them into the error of one that failed, and readers of text,
which could take a page for what it is not, call :func:`refuse_lookalike` with what they have read.
"""

from __future__ import annotations

import codecs
import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from latentedit.errors import DamagedFileError, LatentEditError

HEAD = 65_536  # bytes that are looked at
_UNPACK = "unpack it and give the file inside"
_AGAIN = "download it again"


class Lookalike(NamedTuple):
    """What a file is.

    Attributes:
        kind: a short name, such as ``page`` or ``png``.
        what: in words, such as ``a PNG picture``.
        advice: what to do; empty where that depends on what is needed.
        never: nobody needs such a file, so it is never what is asked for.
    """

    kind: str
    what: str
    advice: str = ""
    never: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


_MAGIC = (
    (0, b"\x89PNG\r\n", "png", "a PNG picture", ""),
    (0, b"\xff\xd8\xff", "jpeg", "a JPEG picture", ""),
    (0, b"GIF8", "gif", "a GIF picture", ""),
    (8, b"WEBP", "webp", "a WebP picture", ""),
    (4, b"ftyp", "mp4", "a video or picture in an MP4 container", ""),
    (0, b"\x1a\x45\xdf\xa3", "webm", "a WebM or Matroska video", ""),
    (8, b"AVI ", "avi", "an AVI video", ""),
    (0, b"II*\0", "tiff", "a TIFF picture", ""),
    (0, b"MM\0*", "tiff", "a TIFF picture", ""),
    (0, b"8BPS", "psd", "a Photoshop picture", "save it as PNG"),
    (0, b"%PDF-", "pdf", "a PDF document", ""),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1", "office", "an old Office document", "save it as CSV (UTF-8)"),
    (0, b"\x1f\x8b", "gzip", "compressed by gzip", _UNPACK),
    (0, b"BZh", "bzip2", "compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "xz", "compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "compressed by zstd", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "rar", "a RAR archive", _UNPACK),
    (0, b"PK\x05\x06", "zip", "an empty zip archive", _AGAIN),
    (0, b"\x89HDF\r\n", "hdf5", "HDF5, as Keras writes (.h5)", ""),
    (0, b"\x93NUMPY", "npy", "a numpy array (.npy)", ""),
    (0, b"PAR1", "parquet", "a Parquet table", ""),
    (0, b"SQLite format 3", "sqlite", "an SQLite database", ""),
    (0, b"GGUF", "gguf", "GGUF, a quantised language or diffusion model", ""),
    (4, b"TFL3", "tflite", "a TensorFlow Lite model", ""),
    (0, b"MZ", "exe", "a program of Windows", ""),
    (0, b"\x7fELF", "exe", "a program of Linux", ""),
)
_NEVER = (
    (b"\0\x05\x16\x07", "notes that macOS keeps beside a file", "give the file whose name lacks the leading ._"),
    (b"\x4c\0\0\0\x01\x14\x02\0", "a shortcut of Windows to a file", "give the file that it leads to"),
    (b"[InternetShortcut]", "a shortcut to a web page", "download the file that it leads to"),
)
_UNFINISHED = (
    ".part",
    ".crdownload",
    ".download",
    ".partial",
    ".opdownload",
    ".aria2",
    ".filepart",
    ".!ut",
    ".incomplete",
)
_ANSWER = re.compile(
    r"(error )?[45]\d\d:? (not|forb|unau|bad|too|gone|int|serv|gate)|entry not found|repository not found|not found|"
    r"file not found|access (to|denied)|"
    r"invalid (username|credentials|token)|unauthori[sz]ed|forbidden|too many requests|rate limit|"
    r"(this|the) (above content|file) (does not|doesn't|could not)|you (need|must) (to )?(log|sign|be logged)",
    re.IGNORECASE,
)  # fmt: skip


def lookalike(path: str | Path, head: bytes | None = None) -> Lookalike | None:
    """What a file is, by its first bytes, its size and its name; None when there is no telling.

    Args:
        path: the file.
        head: its first bytes, where they have been read.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return None
        size = path.stat().st_size
        if head is None:
            with open(path, "rb") as file:
                head = file.read(HEAD)
    except (OSError, ValueError):
        return None
    return _by_content(path, head[:HEAD], size) or _by_name(path)


def _by_content(path: Path, head: bytes, size: int) -> Lookalike | None:
    if not size:
        return Lookalike("empty", "the file is empty", _AGAIN, never=True)
    if not head.strip(b"\0") and (size <= len(head) or len(head) >= 4096):
        return Lookalike("zeros", f"nothing but zeros where {size} bytes should be, as a download that was cut leaves",
                         _AGAIN, never=True)  # fmt: skip
    for magic, what, advice in _NEVER:
        if head.startswith(magic):
            return Lookalike("shortcut", what, advice, never=True)
    for start, magic, kind, what, advice in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return Lookalike(kind, what, advice)
    if head[:2] == b"BM" and int.from_bytes(head[2:6], "little") == size:
        return Lookalike("bmp", "a BMP picture")
    if head[:4] == b"PK\x03\x04":
        return _zip(path, head, size)
    if head[257:262] == b"ustar":
        return Lookalike("tar", "a tar archive", _UNPACK)
    if head[8:9] == b"{" and 8 < int.from_bytes(head[:8], "little") < 2**40:
        return Lookalike("safetensors", "safetensors")
    return _text(head, size)


def _zip(path: Path, head: bytes, size: int) -> Lookalike:
    with open(path, "rb") as file:
        file.seek(max(0, size - 65_557))  # the longest comment, and the record before it
        whole = b"PK\x05\x06" in file.read()
    if not whole:
        return Lookalike("cut", f"a zip archive that is truncated: {size} bytes are there and the end is missing",
                         _AGAIN, never=True)  # fmt: skip
    if b"[Content_Types].xml" in head:
        return Lookalike("office", "an Office document (.xlsx, .docx)", "save it as CSV (UTF-8)")
    return Lookalike("zip", "a zip archive", _UNPACK)


def _text(head: bytes, size: int) -> Lookalike | None:
    """Pages, pointers and what servers answer; no other text."""
    wide = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = head.decode("utf-16" if wide else "utf-8", "replace").lstrip("\ufeff \t\r\n")
    if re.match(r"<(!doctype|html|head|body|\?xml|script|!--|error>|svg)", text, re.IGNORECASE):
        return _page(text)
    if text.startswith("version https://git-lfs"):
        stated = re.search(r"^size (\d{1,15})\r?$", text, re.MULTILINE)
        of = f" of {stated[1]} bytes" if stated else ""
        return Lookalike("pointer", f"a git-lfs pointer, not the file{of}", "run: git lfs pull", never=True)
    if size < 4096 and re.match(r"(/annex/objects/|(\.\./)*\.git/annex/objects/)\S+\s*$", text):
        return Lookalike("pointer", "a git-annex pointer, not the file", "run: git annex get FILE", never=True)
    if size < 4096 and re.match(r"(outs:\s*\n|md5: )", text) and re.search(r"^[- ]*md5: ", text, re.MULTILINE):
        return Lookalike("pointer", "a DVC pointer, not the file", "run: dvc pull", never=True)
    return _answer(text, size)


def _page(text: str) -> Lookalike:
    code = re.search(r"<Code>(.{1,100}?)</Code>", text) if "<html" not in text[:2000].lower() else None
    if code is not None:
        return Lookalike("page", f"a web page with a server's error ({_shown(code[1], 80)!r}), not the file",
                         f"check the link, and {_AGAIN}", never=True)  # fmt: skip
    if re.match(
        r"(<\?xml[^>]*>\s*)?(<!--.{0,1000}?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", text, re.IGNORECASE | re.DOTALL
    ):
        return Lookalike("svg", "an SVG drawing", "save it as PNG")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    name = f" ({_shown(' '.join(html.unescape(title[1]).split()), 80)!r})" if title else ""
    return Lookalike(
        "page", f"a web page{name}, not the file",
        "the link leads to a page, such as Google Drive's virus-scan notice or a login; download it with the browser, "
        "or take the raw link (GitHub: ?raw=true, Hugging Face: resolve in place of blob)", never=True,
    )  # fmt: skip


def _answer(text: str, size: int) -> Lookalike | None:
    """A short text in which a server says that it gives no file."""
    if size > 2000:
        return None
    said = re.match(r'\{\s*"(error|message|errors|detail)"\s*:\s*(.{1,200})', text, re.DOTALL)
    if said is None and not (size < 300 and text.count("\n") < 4 and _ANSWER.match(text)):
        return None
    start = _shown(" ".join(text[:200].split()), 80)
    return Lookalike(
        "answer", f"a server's error message ({start!r}), not the file", f"check the link, and {_AGAIN}", never=True
    )


def _by_name(path: Path) -> Lookalike | None:
    if path.suffix.lower() not in _UNFINISHED:
        return None
    return Lookalike("cut", f"a download that was not finished, as its name says ({path.suffix})", _AGAIN, never=True)


def refuse_lookalike(path: str | Path, held: bytes, *, may_be_empty: bool = False) -> None:
    """Refuse what was read as text where it is a page, a pointer or the like.

    Raises:
        DamagedFileError: what it is, and what to do.
    """
    found = lookalike(path, held)
    if found is not None and found.never and found.kind != "cut" and not (may_be_empty and found.kind == "empty"):
        raise DamagedFileError(f"{path}: {found}")


@contextmanager
def named(path: str | Path, *own: str) -> Iterator[None]:
    """Says in the errors of a reader what the file is, where it is none of what the reader takes.

    Args:
        path: the file that is read.
        own: kinds that the reader takes, whose errors are its own to tell.
    """
    try:
        yield
    except LatentEditError as error:
        found, said = lookalike(path), str(error)
        if found is None or found.kind in own or found.what in said:
            raise
        error.args = (f"{os.fspath(path)}: {found}" if found.never else f"{said}; it is {found}",)
        raise


def _shown(text: str, most: int) -> str:
    """Text of a file as an error message can have it: short, in one line, nothing that steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:most]) + ("..." if len(text) > most else "")
