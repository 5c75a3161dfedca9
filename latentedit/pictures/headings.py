"""Headings of pictures: wrapped, made smaller and at last broken, so that none is cut or reaches its neighbour."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SMALLEST, _LINES = 9, 3
_BREAKS = re.compile(r"(?<=[\s_/:,;])|(?<=\w-)(?=\w)")
_ruler = ImageDraw.Draw(Image.new("1", (1, 1)))


@dataclass(frozen=True)
class Heading:
    """Lines of text in a font."""

    text: str
    font: ImageFont.FreeTypeFont

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels that its ink takes at most."""
        left, top, right, _ = _ruler.multiline_textbbox((0, 0), self.text, font=self.font, anchor="md")
        return math.ceil(right - left) + 1, math.ceil(max(-top, sum(self.font.getmetrics())))


def headings(texts: Sequence[str], width: int, size: int) -> list[Heading]:
    """Texts of one size in a width: in up to three lines, else smaller, else in as many lines as it takes.

    Args:
        texts: broken after spaces, underscores, hyphens and the like; inside words only where nothing else helps.
        width: pixels that no line exceeds.
        size: of the letters, in pixels.
    """
    shown = [readable(text) for text in texts]
    for smaller in range(size, _SMALLEST - 1, -1):
        wrapped = [_wrap(text, width, _font_of(text, smaller), breaks_words=False) for text in shown]
        if all(lines is not None and len(lines) <= _LINES for lines in wrapped):
            return [Heading("\n".join(lines or []), _font_of(t, smaller)) for t, lines in zip(shown, wrapped)]  # noqa: B905
    smallest = min(size, _SMALLEST)
    fonts = [_font_of(text, smallest) for text in shown]
    return [
        Heading("\n".join(_wrap(text, width, font, breaks_words=True) or []), font)
        for text, font in zip(shown, fonts, strict=True)
    ]


def readable(text: str) -> str:
    """A text as it can be shown: composed, on one line, letters that no font of this machine has as ``\\u521d``.

    A warning names these letters.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if _file_for(frozenset(plain)) is not None:
        return plain
    known = _letters(_dejavu())
    missing = "".join(dict.fromkeys(c for c in plain if ord(c) not in known))
    said = missing[:8].encode("ascii", "backslashreplace").decode()
    warnings.warn(
        f"no font here has the letters {missing[:8]!r}: pictures show {said}; "
        "install a font that has them, such as Noto Sans CJK for Chinese, Japanese and Korean",
        stacklevel=2,
    )
    return "".join(c if ord(c) in known else c.encode("ascii", "backslashreplace").decode() for c in plain)


def families(texts: Sequence[str]) -> list[str]:
    """Names of the fonts that readable texts need, the usual one first, as matplotlib takes them."""
    files = [_dejavu(), *(_file_for(frozenset(text)) or _dejavu() for text in texts)]
    return [name for name, _ in dict.fromkeys(_font(file, 9).getname() for file in files) if name]


def longest_line(texts: Sequence[str], size: int) -> int:
    """Pixels of the longest of readable texts, each on one line."""
    return max((math.ceil(_font_of(text, size).getlength(text)) for text in texts), default=0)


def longest_word(texts: Sequence[str], size: int) -> int:
    """Pixels of the longest part of texts that is not broken unless nothing else helps."""
    parts = [(part.strip(), _font_of(text, size)) for text in map(readable, texts) for part in _BREAKS.split(text)]
    return max((int(font.getlength(part)) + 1 for part, font in parts), default=0)


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont, *, breaks_words: bool) -> list[str] | None:
    """Lines no longer than a width; None when a word is, and words are not to be broken."""
    lines, line = [], ""
    for part in _BREAKS.split(text):
        if font.getlength((line + part).strip()) <= width:
            line += part
            continue
        if line.strip():
            lines.append(line.strip())
        while font.getlength(part.strip()) > width:
            if not breaks_words:
                return None
            fits = max(1, next(i for i in range(1, len(part) + 1) if font.getlength(part[:i]) > width) - 1)
            if len(part) == fits:
                break  # one letter that is wider than the width
            lines.append(part[:fits])
            part = part[fits:]
        line = part
    return [*lines, line.strip()] if line.strip() or not lines else lines


def _font_of(text: str, size: int) -> ImageFont.FreeTypeFont:
    return _font(_file_for(frozenset(text)) or _dejavu(), size)


@functools.lru_cache(64)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@functools.cache
def _dejavu() -> str:
    """DejaVu Sans, which comes with matplotlib and has Greek letters, unlike Pillow's own font.

    Found without importing matplotlib, which takes time and wants a folder of its own in the home folder.
    """
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.lru_cache(256)
def _letters(file: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(file, fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (OSError, TTLibError, KeyError, AssertionError):  # listed once, since removed or damaged
        return frozenset()


@functools.lru_cache(1024)
def _file_for(letters: frozenset[str]) -> str | None:
    """DejaVu Sans when it has these letters, else the first font of this machine that has; None when none has."""
    wanted = {ord(letter) for letter in letters}
    if wanted <= _letters(_dejavu()):
        return _dejavu()
    from matplotlib.font_manager import fontManager

    others = {font.fname for font in fontManager.ttflist if font.style == "normal"}
    for file in sorted(others, key=lambda name: (Path(name).name, name)):
        if "lastresort" in file.lower():  # it has every letter, as the name of its block
            continue
        if wanted <= _letters(file):
            return file
    return None
