"""Style codes + an editor + edits → style codes.

An *editor* is what moves codes: a :class:`~latentedit.directions.bank.DirectionBank` along straight lines, a
:class:`~latentedit.prior.prior.Prior` along a flow, :class:`~latentedit.prior.settled.Settled` lines carried to where
codes lie. A user's own needs two names, and nothing that edits asks which one it has::

    class Nudge:
        tags = ("smile",)

        def edit(self, codes, edits):
            return codes + 0.1 * sum(one.strength or 3 for one in le.Edit(edits).parts)

Where an edit moves other tags, or by other amounts, than lines do, ``moves(edits) -> {tag: strength}`` says which. Tags
whose usual strength is their own stand in ``usual_strengths``, ``{tag: strength}``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.edits import Edit, EditLike, usual_strengths
from latentedit.directions.pairs import TagRelations
from latentedit.errors import LatentEditError


@runtime_checkable
class Editor(Protocol):
    """Moves style codes."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What it can be asked for."""
        ...

    def edit(self, codes: Tensor, edits: EditLike) -> Tensor:
        """Codes (n, d) or (n, layers, d) moved as an edit says; the input is left alone."""
        ...


def moves_of(editor: Editor, edits: EditLike) -> dict[tuple[str, str], float]:
    """(Tag, unit) to how far an editor moves it; an edit with a goal has no such number, so its tag is left out.

    The unit is "σ", "long" or "" for lines, and "" for editors that say themselves what they move.

    Raises:
        UnknownNameError: a tag that the editor does not know.
        LatentEditError: something to keep, where the editor is one that keeps nothing.
    """
    found: dict[tuple[str, str], float] = {}
    own = getattr(editor, "moves", None)
    for one in Edit(edits).parts:
        if one.goal is not None:
            continue
        unit = "" if own else {"sigma": "σ", "latent": "long", "raw": ""}[one.unit]
        for tag, strength in (own(one) if own else one.strengths(editor.tags, usual=usual_strengths(editor))).items():
            found[tag, unit] = found.get((tag, unit), 0.0) + strength
    return found


def edit(codes: Tensor, editor: Editor, edits: EditLike) -> Tensor:
    """Move codes by one or several edits.

    Args:
        codes: style codes (n, d) or (n, layers, d).
        editor: of the same generator, such as a bank of directions.
        edits: an :class:`~latentedit.directions.edits.Edit`; a tag, whose opposite comes from the shipped pairs;
            explicit strengths ``{tag: strength}``, to which nothing is added; or a list of these, which are added up.

    Returns:
        Edited codes, (n, d); (n, layers, d) when an edit names layers or codes are per slot.

    Raises:
        LatentEditError: unknown tag, layer or unit; codes that do not fit; strengths that leave no finite code.
    """
    moved = editor.edit(codes, whole := Edit(edits))
    if not torch.isfinite(moved).all():
        raise LatentEditError(f"{whole} goes so far that its codes are not finite; take a smaller strength")
    return moved


def explicit_for(editor: Editor, edits: EditLike, relations: TagRelations | None = None) -> Edit:
    """Edits with nothing left open, for this editor: opposites by these relations, and the usual strength of each tag.

    Raises:
        UnknownNameError: a tag that the editor does not know.
    """
    return Edit(edits).explicit(editor.tags, relations, usual_strengths(editor))


FAR = 10.0
"""σ from which on an edit is far outside the codes that a generator was made for: of its own none goes half as far."""


def far_moves(editor: Editor, edits: EditLike, relations: TagRelations | None = None) -> dict[str, float]:
    """Tag to how far it is moved, in σ, of those that edits move by more than :data:`FAR`."""
    found: dict[str, float] = {}
    own, lines = getattr(editor, "moves", None), getattr(editor, "bank", editor)
    for one in Edit(edits).parts:
        if one.goal is not None:
            continue
        strengths = own(one) if own else one.strengths(editor.tags, relations, usual=usual_strengths(editor))
        for tag, strength in strengths.items():
            length = 1.0
            if one.unit != "sigma" and not own:
                direction = lines[tag]  # type: ignore[index]
                size = 1.0 if one.unit == "latent" else direction.coefficient_norm or 0.0
                length = size / direction.sigma if direction.sigma else 1.0
            found[tag] = found.get(tag, 0.0) + strength * length
    return {tag: strength for tag, strength in found.items() if abs(strength) > FAR}


def lines_of(editor: Editor, edits: EditLike) -> list[Direction]:
    """The directions that edits move codes along, in their order; none where the editor has no lines."""
    lines = getattr(editor, "bank", editor)
    if not isinstance(lines, DirectionBank):
        return []
    parts = Edit(edits).spelled_as(lines.tags).parts
    tags = [tag for one in parts for tag in (one.tag, one.opposite) if tag in lines]
    return [lines[str(tag)] for tag in dict.fromkeys(tags)]
