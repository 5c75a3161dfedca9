"""Codes + directions + strengths → codes.

An *edit* is a tag (its opposite comes from the shipped pairs), a :class:`TagPair`, or explicit
strengths ``{tag: strength}``. Strength is in σ, the standard deviation of the sampled codes'
projection on the direction, so that one number means about the same for every tag and finder::

    codes += s * σ_a * v_a  +  s * r * σ_b * v_b      (a: the tag, b: its opposite, r: the pair's ratio)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.pairs import TagKnowledge, TagPair
from latentedit.errors import LatentEditError

DEFAULT_STRENGTH = 3.0
"""σ that every tag and finder is moved by when nothing is said; chosen by ``benchmarks/edits.py``."""

DEFAULT_RATIO = -1 / 3
"""How far an opposite named by the user moves, as a share of the strength."""

Edit = str | TagPair | Mapping[str, float]


def parse_opposite(text: str) -> tuple[str, float]:
    """``TAG`` or ``TAG:ratio`` to (tag, ratio); a ratio without a sign of its own is turned negative.

    Raises:
        LatentEditError: the ratio is no number.
    """
    tag, _, ratio = text.partition(":")
    try:
        return tag, -abs(float(ratio)) if ratio else DEFAULT_RATIO
    except ValueError as error:
        raise LatentEditError(f"{text!r} is no opposite; write TAG or TAG:ratio, as in short_hair:0.5") from error


def label_of(edit: Edit) -> str:
    """What the edit is called in pictures and tables."""
    if isinstance(edit, TagPair):
        return edit.positive
    return edit if isinstance(edit, str) else " + ".join(edit)


def strengths_of(
    bank: DirectionBank,
    edit: Edit,
    *,
    strength: float | None = None,
    opposite: str | None = "auto",
    knowledge: TagKnowledge | None = None,
) -> dict[str, float]:
    """Strength of each direction that one edit moves along.

    Args:
        bank: where the directions come from.
        edit: a tag, a pair, or explicit strengths (to which nothing is added).
        strength: of the tag; the default is :data:`DEFAULT_STRENGTH`.
        opposite: for a tag: ``"auto"`` takes the shipped pair's when the bank holds it, None takes
            none, anything else is ``TAG`` or ``TAG:ratio``.
        knowledge: pairs and groups; the shipped ones when None.

    Raises:
        UnknownNameError: a tag that the bank does not hold.
        LatentEditError: a tag opposed to itself.
    """
    if isinstance(edit, Mapping):
        return {bank[tag].tag: float(value) for tag, value in edit.items()}
    strength = DEFAULT_STRENGTH if strength is None else strength
    if isinstance(edit, TagPair):
        return {bank[edit.positive].tag: strength, bank[edit.negative].tag: strength * edit.ratio}
    moves = {bank[edit].tag: strength}
    if opposite == "auto":
        pair = (knowledge or TagKnowledge.load()).opposite_of(edit)
        if pair is not None and pair.negative in bank:
            moves[pair.negative] = strength * pair.ratio
    elif opposite is not None:
        tag, ratio = parse_opposite(opposite)
        if tag == edit:
            raise LatentEditError(f"{edit!r} cannot be its own opposite; name another tag")
        moves[bank[tag].tag] = strength * ratio
    return moves


def edit(
    codes: Tensor,
    bank: DirectionBank,
    edits: Edit | Sequence[Edit],
    *,
    strength: float | None = None,
    opposite: str | None = "auto",
    layers: Sequence[int | str] | str | None = None,
    unit: str = "sigma",
    knowledge: TagKnowledge | None = None,
) -> Tensor:
    """Move codes along one or several edits; what ``latentedit edit`` does.

    Args:
        codes: style codes (n, d) or (n, layers, d).
        bank: directions of the same generator.
        edits: an edit, or a list of edits that are added up.
        strength: in ``unit``; of every tag and pair, not of explicit strengths.
        opposite: see :func:`strengths_of`; applies to every tag that is given as text.
        layers: slots to move (indices, names or ``"0-3,5"``); all when None.
        unit: ``sigma``, ``latent`` (length in code space) or ``raw`` (times the regression's own
            coefficients, as the study does it).
        knowledge: pairs and groups; the shipped ones when None.

    Returns:
        Edited codes, (n, d); (n, layers, d) when ``layers`` is given or codes are per slot.

    Raises:
        LatentEditError: unknown tag, layer or unit; codes that do not fit.
    """
    if isinstance(edits, str | TagPair | Mapping):
        edits = [edits]
    for one in edits:
        moves = strengths_of(bank, one, strength=strength, opposite=opposite, knowledge=knowledge)
        codes = bank.edit(codes, moves, layers=layers, unit=unit)
    return codes
