"""What surrounds a command: how its threads wait, and a home folder that cannot be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import latentedit.cli
from latentedit.pictures import headings

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize("own", [None, *NAMES])
def test_waiting_threads_sleep_unless_the_user_says_how(own: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {own: "7"} if own else {})
    monkeypatch.setattr(sys, "argv", ["latentedit", "--version"])
    latentedit.cli.main()
    assert os.environ == ({own: "7"} if own else {"OMP_WAIT_POLICY": "PASSIVE"})


def child(code: str, tmp_path: Path, **environment: str) -> str:
    """What a program prints that sees no settings of ours."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_policy_is_set_before_torch_is_there_and_by_the_program_alone(tmp_path: Path) -> None:
    program = """
import os, sys
before = dict(os.environ)
import latentedit, latentedit.cli
assert dict(os.environ) == before
sys.argv = ["latentedit", "--version"]
latentedit.cli.main()
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
"""
    said = child(program, tmp_path)
    assert said.splitlines()[-1] == "PASSIVE False"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a home folder that cannot be written to is /proc")
def test_a_home_that_cannot_be_written_to_makes_no_noise(tmp_path: Path) -> None:
    program = """
import sys
from latentedit.cli.common import Context
from latentedit.pictures.headings import headings
assert headings(["long_hair +3.00 σ"], 200, 14)[0].size > (1, 1) and "matplotlib" not in sys.modules
Context("cpu", "float32", 1, 1, False, False).prepare()
import matplotlib, matplotlib.font_manager  # as charts do: not a word either
print("drawn")
"""
    said = child(program, tmp_path, HOME="/proc", XDG_CACHE_HOME="/proc", XDG_CONFIG_HOME="/proc")
    assert "atplotlib" not in said and said.startswith("drawn")


def test_letters_of_the_font_are_those_that_matplotlib_finds_in_it() -> None:
    ft2font = pytest.importorskip("matplotlib.ft2font")
    assert headings._letters(headings._dejavu()) == set(ft2font.FT2Font(headings._dejavu()).get_charmap())
    assert {ord(letter) for letter in "σ−é"} <= headings._letters(headings._dejavu())
    assert not headings._letters("/nonexistent.ttf")
