"""Style codes + an editor + edits → style codes.

An *editor* is what moves codes: a :class:`~latentedit.directions.bank.DirectionBank` along straight lines, a
:class:`~latentedit.prior.prior.Prior` along a flow, :class:`~latentedit.prior.settled.Settled` lines carried to where
codes lie. A user's own needs two names, and nothing that edits asks which one it has::

    class Nudge:
        tags = ("smile",)

        def edit(self, codes, edits):
            return codes + 0.1 * sum(one.strength or 3 for one in le.Edit(edits).parts)

Where an edit moves other tags, or by other amounts, than lines do, ``moves(edits) -> {tag: strength}`` says which.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from latentedit.directions.edits import Edit, EditLike


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
        for tag, strength in (own(one) if own else one.strengths(editor.tags)).items():
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
        LatentEditError: unknown tag, layer or unit; codes that do not fit.
    """
    return editor.edit(codes, Edit(edits))
