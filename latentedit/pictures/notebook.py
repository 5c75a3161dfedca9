"""Parts of what things show of themselves in a notebook: tables, and a row of small pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 96
"""Of a picture on the screen, in pixels."""
SHOWN = 12


def few(words: Sequence[str], most: int = SHOWN) -> str:
    """The first of some words, and how many more there are."""
    more = f", ... {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """A table of two columns under a title, as HTML; what stands in it is escaped."""
    cell = '<td style="text-align: left">'
    rows = [
        f"<tr>{cell}{html.escape(name)}</td>{cell}{html.escape(str(fact))}</td></tr>" for name, fact in facts.items()
    ]
    return f"<table><caption>{html.escape(title)}</caption>{''.join(rows)}</table>"


def table_html(rows: Sequence[Sequence[object]], headings: Sequence[str] | None = None) -> str:
    """Rows under headings, as HTML; what stands in them is escaped."""
    import pandas as pd

    table: str = pd.DataFrame(rows, columns=headings).to_html(index=False, header=headings is not None, border=0)
    return table


def pictures_html(pictures: Tensor) -> str:
    """Pictures (n, 3, H, W) in [-1, 1] beside each other, small, as HTML that needs no file."""
    from latentedit.pictures.images import to_pil  # it needs torch

    found = []
    for picture in to_pil(pictures):
        sharp = "; image-rendering: pixelated" if max(picture.size) < SIDE else ""
        picture.thumbnail((2 * SIDE, 2 * SIDE))  # enough for screens of two dots a pixel
        file = io.BytesIO()
        picture.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode("ascii")
        style = f"display: inline; margin: 2px; height: {SIDE}px{sharp}"
        found.append(f'<img src="data:image/png;base64,{data}" style="{style}">')
    return f"<div>{''.join(found)}</div>"
