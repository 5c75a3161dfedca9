"""What commands write: for whom, on a full disk, two at once, to standard output, on any console."""

import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from commands import TOY, one_error
from PIL import Image
from torch import nn

from latentedit.cli import cli
from latentedit.files import only_writer, only_writer_of
from latentedit.generators.vae import write_vae

LINES = "directions/linear.safetensors"
EDIT = ("edit", *TOY, "--directions", LINES, "--tag", "smile", "-n", 1)
MEASURE = ("evaluate", "rescoring", *TOY, "--directions", LINES, "--tag", "smile", "-n", 4, "--natural", 0)
TOY_JUDGE = ("--judge", "torch:toy:ToyTagger")
TAGGER = ("--tagger", "torch:toy:ToyTagger")


@pytest.fixture
def fitted(run):
    assert run("sample", *TOY, *TAGGER, "-n", 60, "--quiet")[0] == 0
    assert run("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    return run


def test_every_file_follows_the_umask(fitted):
    before = {path for path in Path().rglob("*") if path.is_file()}
    old = os.umask(0o027)
    try:
        for command in (
            ("sample", "s", *TOY, *TAGGER, "-n", 20, "--keep-images", "--quiet"),
            ("fit-directions", "--finder", "linear", "--out", "mine.safetensors", "--quiet"),
            ("convert", LINES, "smile.npy", "--tag", "smile"),
            ("convert", LINES, "smile.pt", "--tag", "smile"),
            (*EDIT, "--out", "e.png"),
            (*EDIT, "--out", "e.jpg"),
        ):
            code, _, err = fitted(*command)
            assert code == 0, err
        write_vae("vae.safetensors", nn.Sequential(nn.Linear(4, 48), nn.Unflatten(1, (3, 4, 4))), range="-1..1")
    finally:
        os.umask(old)
    modes = {
        str(path): path.stat().st_mode & 0o777 for path in Path().rglob("*") if path.is_file() and path not in before
    }
    assert len(modes) >= 9 and set(modes.values()) == {0o640}, modes


@contextmanager
def full_disk():
    """The system refuses files of more than 100 bytes, as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_whichever_library_writes(fitted):
    smile = ("fit-directions", "--finder", "svd", "--tag", "smile")  # others are no better than chance, a line more
    assert fitted(*smile, "--out", "smile.safetensors", "--quiet")[0] == 0  # and its moments are kept
    before = sorted(Path().rglob("*"))
    commands = {
        "safetensors": smile,
        "safetensors, what a fit keeps": ("fit-prior", *TOY, "--steps", 1, "-n", 0, "--pictures", 4, "--tag", "smile"),
        "json": ("sample", "s", *TOY, *TAGGER, "-n", 3),
        "numpy, which writes so little that its error is lost": ("convert", LINES, "smile.npy", "--tag", "smile"),
        "torch": ("convert", LINES, "smile.pt", "--tag", "smile"),
        "PIL": (*EDIT, "--out", "e.png"),
        "PIL, as JPEG": (*EDIT, "--out", "e.jpg"),
        "matplotlib": (*MEASURE, *TOY_JUDGE, "--out", "m.png"),
    }
    for what, command in commands.items():
        with full_disk():
            code, out, err = fitted(*command, *(() if command[0] == "convert" else ("--quiet",)))
        assert (code, out) == (1, "") and "Traceback" not in err, (what, err)
        said = err.splitlines()[-1]
        assert said.startswith("error: cannot write") and "make room" in said, (what, err)
    left = [path for path in sorted(Path().rglob("*")) if path not in before]
    assert [path.name for path in left if path.is_file()] == [], left


def test_the_second_of_two_with_one_out_is_told(fitted):
    pytest.importorskip("fcntl")
    for command, out in (
        (("fit-directions", "--finder", "svd"), "directions/svd.safetensors"),
        (("fit-prior", *TOY), "directions/prior.safetensors"),
        (EDIT, "new/e.png"),
        ((*MEASURE, *TOY_JUDGE), "m.png"),
        (("compare", LINES, LINES), "compare.png"),
        (("train-judge", "."), "judge.safetensors"),
        (("convert", LINES), "x.npy"),
    ):
        with only_writer_of(Path(out)):
            named = (out,) if command[0] == "convert" else ("--out", out)
            assert f"another process is writing {out};" in one_error(fitted(*command, *named)), command
    for folder in ("demo", "study"):
        with only_writer(Path(folder)):
            command = ("demo",) if folder == "demo" else ("evaluate", "study")
            assert f"another process is writing to {folder}" in one_error(fitted(*command, "--quiet"))
    assert not list(Path().rglob("*.lock")) and not Path("new").exists()
    assert fitted(*EDIT, "--out", "new/e.png", "--quiet")[0] == 0
    assert [path.name for path in Path("new").iterdir()] == ["e.png"]


@pytest.mark.usefixtures("fitted")
def test_a_dash_is_standard_output():
    def piped(*command):
        done = CliRunner().invoke(cli, [str(one) for one in command], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout_bytes, done.stderr

    there = sorted(Path().rglob("*"))
    picture, text = piped(*EDIT, "--out", "-", "--quiet")
    assert Image.open(io.BytesIO(picture)).format == "PNG" and text.startswith("wrote -: ")
    picture, text = piped(*MEASURE, *TOY_JUDGE, "--out", "-", "--quiet")
    assert Image.open(io.BytesIO(picture)).format == "PNG" and "lack it" in text
    direction, text = piped("convert", LINES, "-", "--to", "npy", "--tag", "smile")
    assert np.load(io.BytesIO(direction)).shape == (1, 16) and text.startswith("wrote -: 1 direction")
    directions, _ = piped("fit-directions", "--finder", "linear", "--out", "-", "--quiet")
    assert len(directions) == Path(LINES).stat().st_size and sorted(Path().rglob("*")) == there


def test_a_code_page_never_ends_in_a_traceback(fitted, monkeypatch):
    for page, sigma in (("cp1252", b"sigma"), ("ascii", b"sigma"), ("utf-8", "σ".encode())):
        raw = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=page, errors="strict"))
            assert fitted("list", "directions", LINES)[0] == 0
            sys.stdout.flush()
            assert sigma in raw.getvalue() or page == "ascii" and "σ".encode() in raw.getvalue(), page
