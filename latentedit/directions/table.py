"""What is known of directions as a table: for ``list directions`` and for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentedit.pictures.notebook import table_html

if TYPE_CHECKING:
    from latentedit.directions.bank import DirectionBank
    from latentedit.directions.direction import Direction


def table_of(bank: DirectionBank, *, nearest: bool = True) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row a direction.

    Args:
        bank: directions.
        nearest: with the other direction that each is most alike.
    """
    component = any("component" in d.params for d in bank)
    headings = ["tag", "finder", "σ", "held-out R²", "support", *["component", "correlation"] * component]
    rows = [_row(d, component=component) for d in bank]
    if nearest:
        headings += ["nearest", "cosine"]
        for row, more in zip(rows, _nearest(bank), strict=True):
            row += more
    return headings, rows


def html_of(bank: DirectionBank) -> str:
    """The table as HTML, without the nearest ones."""
    headings, rows = table_of(bank, nearest=False)
    return table_html(rows, headings)


def _row(d: Direction, *, component: bool) -> list[str]:
    score = "" if d.score is None else f"{d.score:.3f}"
    row = [d.tag, d.finder, f"{d.sigma:.3f}", score, "" if d.support is None else str(d.support)]
    if component:
        correlation = d.params.get("correlation")
        row += [str(d.params.get("component", "")), "" if correlation is None else f"{correlation:+.2f}"]
    return row


def _nearest(bank: DirectionBank) -> list[list[str]]:
    """Of each direction, the other one of the largest cosine, and that."""
    if len(bank) < 2:
        return [["", ""]]
    cosines = bank.cosines()
    apart = cosines.clone().fill_diagonal_(0).abs()
    return [[bank.tags[j], f"{float(cosines[i, j]):+.2f}"] for i, j in enumerate(apart.argmax(1).tolist())]
