"""The text of edits, read and written.

Edits stand one after the other with ``", "`` between them. Each is a tag, then what is said of it, in any
order, after spaces::

    [+]TAG        what is added; with =S the strength in σ (=2latent, =2raw: see the module direction),
                  or with >G the goal: the tagger's score, 0 to 1, or a percentile of the generator's own pictures, >p90
    -TAG[/N]      its opposite, moved by -1/N of the strength; without /N by the usual share. Of the usual opposite /N
                  alone is enough, as in -/2; a minus alone: no opposite
    @LAYERS       slots to move: indices, ranges and names, as in @0-3,5; it may follow a tag or strength directly
    !TAG          what must not change

Tags are text. In a known tag (those of ``directions/pairs.toml``, and those that the reader is given) spaces and case
do not matter, the longest one wins, and it needs no quotes. Another one with a sign of the syntax is quoted as JSON
quotes it: ``"fate/stay_night"=2``. What is quoted is taken to the letter. ``str(edit)`` is the text of an edit, and
``Edit.parse(str(edit)) == edit``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, cast

from latentedit.errors import LatentEditError
from latentedit.taggers.tag_names import folded, spellings, tag_index

_PLAIN = re.compile(r'[^\s=>/@,"!+−-][^\s=>/@,"]*')
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
PERCENTILE = re.compile(r"p((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_ENDS = ' =>@/,"'
"""Signs that may follow a tag."""

# ---- writing


def written(one: Any) -> str:
    """The text of one edit."""
    text = quoted(one.tag)
    if one.strength is not None:
        text += f"={decimal(one.strength)}{'' if one.unit == 'sigma' else one.unit}"
    if one.goal is not None:
        text += f">{one.goal if isinstance(one.goal, str) else decimal(one.goal)}"
    share = "" if one.ratio is None else f"/{_divisor(one.ratio)}"
    if one.opposite is None:
        text += " -"
    elif one.opposite != "auto" or share:
        text += f" -{'' if one.opposite == 'auto' else quoted(one.opposite)}{share}"
    if one.layers is not None:
        text += f" @{','.join(quoted(layer, _LAYER) for layer in one.layers)}"
    return text + "".join(f" !{quoted(tag)}" for tag in one.keep)


_LAYER = re.compile(r'[^\s,"]+')


def quoted(tag: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """A tag as the text has it; in quotes unless it is read back as it is, whatever tags are known."""
    unchanged = plain.fullmatch(tag) and (plain is not _PLAIN or folded(tag) == tag)
    return tag if unchanged else json.dumps(tag, ensure_ascii=False)


def decimal(number: float) -> str:
    """A number as Python writes it, whole ones without a point."""
    return repr(number).removesuffix(".0")


def _divisor(ratio: float) -> str:
    """The shortest N with -1/N equal to a ratio, to the last bit."""
    exact = -1 / Fraction(ratio)
    for digits in range(1, 25):
        text = decimal(float(f"{float(exact):.{digits}g}")) if digits < 17 else f"{_rounded(exact, digits)}"
        if float(-1 / Fraction(text)) == ratio:
            return text
    raise AssertionError(f"no divisor for {ratio!r}")


def _rounded(exact: Fraction, digits: int) -> str:
    """A fraction in decimal with that many digits."""
    return str(Context(prec=digits).divide(Decimal(exact.numerator), Decimal(exact.denominator)))


# ---- reading


class Reader:
    """Reads the text of edits from the left.

    Args:
        text: of one edit or more.
        known: tags that may be written with spaces and in capitals.
    """

    def __init__(self, text: str, known: Iterable[str]) -> None:
        self.text, self.place = text, 0
        self.exact, self.alike = tag_index(tuple(known))

    def edits(self) -> list[dict[str, Any]]:
        """What is said of each edit, under the names of its fields.

        Raises:
            LatentEditError: it is no edit; the message says where it stops being one.
        """
        found = [self.one()]
        while self.sign(", "):
            found.append(self.one())
        if self.place < len(self.text):
            raise self.error(
                "expected =S, >G, -OPPOSITE, @LAYERS, !KEPT, or ', ' and another edit (what belongs to a tag itself "
                "stands in quotes with it)"
            )
        return found

    def one(self) -> dict[str, Any]:
        self.spaces()
        start = self.place
        if self.known() is None and self.sign("+"):
            self.spaces()
        tag = self.tag("a tag")
        if (
            self.text.startswith("+", start)
            and "+" in tag
            and tag not in self.exact
            and '"' not in self.text[start : self.place]
        ):
            self.place = start
            raise self.error("a tag with a sign of the syntax stands in quotes")
        said: dict[str, Any] = {}
        if self.sign("="):
            said["strength"], said["unit"] = self.number("a strength"), self.word("latent", "raw", "sigma") or "sigma"
        elif self.sign(">"):
            percent = self.match(PERCENTILE)
            said["goal"] = percent[0] if percent else self.number("a goal, a score in [0, 1] or pN,")
        keep: list[str] = []
        while (gap := self.spaces()) or self.at("@"):
            if self.sign("@"):
                self.once(said, "layers")
                said["layers"] = self.layers()
            elif gap and (self.sign("-") or self.sign("−")):
                self.once(said, "opposite")
                said["opposite"], ratio = self.opposite()
                said |= {} if ratio is None else {"ratio": ratio}
            elif gap and self.sign("!"):
                keep.append(self.tag("a tag to keep"))
            else:
                break
        return {"tag": tag, "keep": keep} | said

    def opposite(self) -> tuple[str | None, float | None]:
        before = self.place
        self.spaces()
        if (
            self.place == len(self.text)
            or any(self.at(sign) for sign in ("@", "!", ", ", "-", "−"))
            and not self.known()
        ):
            self.place = before
            return None, None
        tag = "auto" if self.at("/") and not self.known() else self.tag("an opposite")
        if tag == "auto" and not self.at("/"):
            raise self.error("'auto' is no tag to name; leave the opposite out for the usual one")
        if not self.sign("/"):
            return tag, None
        text = self.match(NUMBER)
        try:
            return tag, float(-1 / Fraction(text[0] if text else 0))
        except (ZeroDivisionError, OverflowError) as error:
            raise self.error("expected the number N of a ratio -1/N") from error

    def layers(self) -> list[str]:
        found = [self.layer()]
        while not self.at(", ") and self.sign(","):
            found.append(self.layer())
        return found

    def layer(self) -> str:
        found = self.string() or (match[0] if (match := self.match(_LAYER)) else None)
        if found is None:
            raise self.error("expected slots, as in @0-3,5")
        return found

    def tag(self, what: str) -> str:
        """A tag: in quotes, known, or without a sign of the syntax."""
        if (quoted := self.string()) is not None:
            return quoted
        if (found := self.known()) is not None:
            self.place += found[1]
            return found[0]
        match = _PLAIN.match(self.text, self.place)
        end = match.end() if match else self.place
        if match is None or self.text[end : end + 1] == '"':
            raise self.error(f"expected {what}; a tag with a sign of the syntax ({_ENDS[1:]}+-!) stands in quotes")
        self.place = end
        return match[0]

    def known(self) -> tuple[str, int] | None:
        """The longest known tag from here, and its length in the text."""
        rest = self.text[self.place :]
        for length in range(len(rest), 0, -1):
            if length < len(rest) and rest[length] not in _ENDS:
                continue
            if rest[:length].endswith(" ") and length < len(rest):
                continue  # the space before what is said of a tag
            if rest[:length] in self.exact:
                return rest[:length], length
            if not rest[:length].endswith(" ") and (found := spellings(rest[:length], self.alike)):
                if len(found) > 1:
                    raise self.error(f"that may be {' or '.join(map(repr, found))}; write one of them")
                return found[0], length
        return None

    def string(self) -> str | None:
        if not self.at('"'):
            return None
        try:
            found, self.place = json.JSONDecoder().raw_decode(self.text, self.place)
        except ValueError as error:
            raise self.error("expected a closing quote") from error
        return cast(str, found)

    def number(self, what: str) -> float:
        match = self.match(NUMBER)
        if match is None:
            raise self.error(f"expected {what} as a number")
        return float(match[0])

    def word(self, *words: str) -> str | None:
        return next((word for word in words if self.sign(word)), None)

    def once(self, said: Mapping[str, Any], name: str) -> None:
        if name in said:
            raise self.error(f"{name} stands here twice")

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.place)
        if found:
            self.place = found.end()
        return found

    def spaces(self) -> int:
        before = self.place
        while self.at(" "):
            self.place += 1
        return self.place - before

    def at(self, sign: str) -> bool:
        return self.text.startswith(sign, self.place)

    def sign(self, sign: str) -> bool:
        if not self.at(sign):
            return False
        self.place += len(sign)
        return True

    def error(self, expected: str) -> LatentEditError:
        rest = self.text[self.place :]
        return LatentEditError(f"{self.text!r} is no edit at {rest!r}: {expected}, as in long_hair=2 -short_hair @0-3")
