"""Style codes + an editor + edits → style codes.

An *editor* is what moves codes. Today that is a :class:`~latentedit.directions.bank.DirectionBank`, which moves them
along straight lines; a user's own needs two names, and nothing that edits asks which one it has::

    class Nudge:
        tags = ("smile",)

        def edit(self, codes, edits):
            return codes + 0.1 * sum(one.strength or 3 for one in le.Edit(edits).parts)
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
