"""What people see while a command works, and how it ends when something goes wrong that is nobody's mistake."""

import io
import sys

import pytest

from latentedit.cli.common import cli
from latentedit.cli.terminal import Progress, table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = Progress("sample")
        for done in (0, 5, 10):
            progress(done, 10)
        assert "sample" in stream.getvalue() and "10/10" in stream.getvalue()
        assert ("━" in stream.getvalue()) == drawn


def test_a_table_lines_up():
    lines = table(["name", "count"], [["a", "1"], ["long", "20"]]).splitlines()
    assert len({line.rindex(end) + len(end) for line, end in zip(lines[2:], ("1", "20"), strict=True)}) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "--batch-size"),
        (OSError(28, "No space left on device", "there"), "cannot use there: No space left"),
        (KeyboardInterrupt(), "interrupted; nothing was written"),
    ],
)
def test_what_nobody_did_wrong_ends_in_a_line(run, monkeypatch, error, words):
    def fail(**options):
        raise error

    monkeypatch.setattr(cli, "main", fail)
    code, out, err = run("sample")
    assert (
        code == (130 if isinstance(error, KeyboardInterrupt) else 1)
        and out == ""
        and words in err
        and err.startswith("error: ")
        and err.count("\n") == 1
    )
