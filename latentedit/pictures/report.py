"""One self-contained HTML page with pictures, heat maps and tables."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from latentedit import __version__
from latentedit.files import atomic_write
from latentedit.pictures.headings import families, longest_line, readable


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column is a label."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, which also describes it to those who cannot see it."""

    image: Image.Image
    caption: str

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what it shows."""

    heading: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = field(default=())


def heat_map(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, marked: Sequence[int] = ()
) -> Image.Image:
    """A signed matrix (r, c) in [-1, 1] as a labelled picture: blue falls, red rises.

    Args:
        values: change of the score of the column's tag under the row's edit.
        rows, columns: labels.
        marked: for each row the column of its own target, framed; -1 for none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Plot
    from matplotlib.patches import Rectangle

    r, c = values.shape
    rows, columns = [readable(text) for text in rows], [readable(text) for text in columns]
    fonts: dict[str, Any] = {"fontsize": 8, "fontfamily": families([*rows, *columns])}
    wide, high = (longest_line(texts, 11) / 100 for texts in (rows, columns))  # inches; 8 points are 11 of 100 pixels
    plot = Plot(
        figsize=(1.3 + wide + max(0.34 * c, 0.5 * high), 0.6 + 0.9 * high + 0.34 * max(r, 3)), layout="constrained"
    )
    axes = plot.add_subplot()
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="equal")
    axes.set_xticks(range(c), columns, rotation=60, ha="right", rotation_mode="anchor", **fonts)
    axes.set_yticks(range(r), rows, **fonts)
    axes.tick_params(length=0)
    for i in range(r):
        for j in range(c):
            if abs(values[i, j]) >= 0.05:
                ink = "white" if abs(values[i, j]) > 0.6 else "black"
                axes.text(
                    j, i, f"{values[i, j]:+.1f}".replace("0.", "."), ha="center", va="center", fontsize=6, color=ink
                )
    for i, j in enumerate(marked):
        if j >= 0:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, linewidth=1.5))
    plot.colorbar(shown, ax=axes, shrink=0.8, label="mean change of score")
    buffer = io.BytesIO()
    FigureCanvasAgg(plot).print_figure(buffer, bbox_inches="tight", pad_inches=0.08)  # all of the labels, and no more
    return Image.open(buffer).convert("RGB")


def curve_plot(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], x_label: str, y_label: str
) -> Image.Image:
    """Lines with bands as a picture: name → x, y and the ends of y's interval, (s,) each, y in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(6.4, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(plot)
    axes = plot.add_subplot()
    for (name, (x, y, low, high)), style in zip(lines.items(), "osD^vP*X" * len(lines), strict=False):
        (drawn,) = axes.plot(x, y, marker=style, label=name, markersize=4)
        axes.fill_between(x, low, high, alpha=0.15, color=drawn.get_color(), linewidth=0)
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def write_report(path: str | Path, title: str, sections: Sequence[Section], *, summary: str = "") -> Path:
    """Write sections as one HTML page that needs no other file and no network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("latentedit.pictures"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        title=title, summary=summary, sections=sections, version=__version__
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)
