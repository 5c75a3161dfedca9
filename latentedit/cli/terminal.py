"""What people see in a terminal: progress and tables, by rich, imported when needed; on any code page."""

from __future__ import annotations

import atexit
import codecs
import io
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

_SPELT = {"σ": "sigma", "−": "-", "→": "->", "×": "x", "─": "-", "━": "-", "≥": ">=", "≤": "<=", "’": "'"}


def speak_any_code_page() -> None:
    """Where the code page of a console lacks a sign, such as σ, write what stands for it; never fail."""
    codecs.register_error("latentedit.spelt", _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="latentedit.spelt")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = (_SPELT.get(sign, unicodedata.normalize("NFKD", sign)[0]) for sign in error.object[error.start : error.end])
    return "".join(sign if sign.isascii() else "?" for sign in signs), error.end


class Progress:
    """Progress on stderr: a bar with rate and time left on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, what: str) -> None:
        self.what, self.started, self.first, self.shown = what, time.monotonic(), 0, 0.0
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if not self.shown:
            self.first = done
        (self._draw if sys.stderr.isatty() else self._log)(done, total)

    def _draw(self, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if self.bar is None:
            rate = TextColumn("{task.fields[rate]}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(stderr=True))
            self.task = self.bar.add_task(self.what, total=total, completed=done, rate="")
            self.bar.start()
            atexit.register(self.bar.stop)  # an interrupted bar would leave the cursor hidden
        self.shown = time.monotonic()
        self.bar.update(self.task, completed=done, total=total, rate=self._rate(done))
        if done >= total:
            self.bar.stop()

    def _log(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and self.shown and now - self.shown < 10:
            return
        self.shown = now
        speed = (done - self.first) / max(now - self.started, 1e-9)
        left = f", {(total - done) / speed:.0f} s left" if speed and done < total else ""
        print(f"{self.what}: {done}/{total} {self._rate(done)}{left}".rstrip(), file=sys.stderr, flush=True)

    def _rate(self, done: int) -> str:
        if done == self.first:
            return ""
        return f"{(done - self.first) / max(time.monotonic() - self.started, 1e-9):.1f}/s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under a header, the first column to the left; as wide as the terminal, or as needed elsewhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(header):
        drawn.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    console = Console(width=10_000 if not sys.stdout.isatty() else None, color_system=None)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def file_size(size: float) -> str:
    """A number of bytes for people, as disks count them: 1 MB is a million."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"
