"""The command line from outside: exit codes, one-line errors, files, interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import TOY, one_error
from PIL import Image
from places import ROOT


@pytest.fixture
def sampled(run):
    code, _, err = run("sample", *TOY, "--tagger", "torch:toy:ToyTagger", "--n", 300, "--quiet")
    assert code == 0, err
    return run


def test_help_is_there_for_every_command_and_imports_no_torch():
    script = (
        "import sys; from latentedit.cli import cli; from click.testing import CliRunner\n"
        "def walk(c, path):\n"
        "    r = CliRunner().invoke(cli, [*path, '--help']); assert r.exit_code == 0 and c.help, path\n"
        "    [walk(s, [*path, n]) for n, s in getattr(c, 'commands', {}).items()]\n"
        "walk(cli, [])\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_sample_fit_list_edit(sampled, tmp_path):
    code, out, err = sampled("fit-directions", "--finder", "linear", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["directions"] == "directions/linear.safetensors"
    code, out, _ = sampled("list", "directions", "directions/linear.safetensors")
    assert code == 0 and "long_hair" in out and "cosine" in out
    described = json.loads(sampled("list", "directions", "directions/linear.safetensors", "--json")[1])
    assert len(described["cosines"]) == len(described["directions"])
    code, out, err = sampled(
        "edit", *TOY, "--directions", "directions/linear.safetensors", "--tag", "long_hair", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["moves"] == {"long_hair": 3.0, "short_hair": -1.0}
    assert Image.open(tmp_path / "edit-long_hair.png").format == "PNG"
    counts = json.loads(sampled("list", "tags", "samples", "--json")[1])
    assert counts["rows"] == 300 and counts["tags"]["long_hair"] > 0


def test_strip_layers_and_opposites(sampled, tmp_path):
    sampled("fit-directions", "--finder", "linear", "--quiet")
    base = ("edit", *TOY, "--directions", "directions/linear.safetensors", "--tag", "red_hair")
    assert sampled(*base, "--strip", "--steps", 5, "-n", 2, "--layers", "b", "--out", "strip.png")[0] == 0
    moves = json.loads(sampled(*base, "--opposite", "smile:0.5", "--strength", 2, "--json", "--out", "o.png")[1])[
        "moves"
    ]
    assert moves == {"red_hair": 2.0, "smile": -1.0}
    alone = json.loads(
        sampled(
            "edit",
            *TOY,
            "--directions",
            "directions/linear.safetensors",
            "--tag",
            "long_hair",
            "--no-opposite",
            "--json",
        )[1]
    )["moves"]
    assert list(alone) == ["long_hair"]
    assert "exclude" in one_error(sampled(*base, "--opposite", "smile", "--no-opposite"))
    assert "0 a" in one_error(sampled(*base, "--layers", "7", "--out", "x.png"))


def test_sefa_needs_no_samples(run):
    code, _, err = run("fit-directions", "nothing", *TOY, "--finder", "sefa", "--quiet")
    assert code == 0, err
    assert "sefa_00" in run("list", "directions", "directions/sefa.safetensors")[1]


def test_unknown_names_list_the_near_ones(sampled):
    assert "did you mean avatar" in one_error(sampled("sample", "s", "--generator", "avatr"))
    assert "did you mean avatar" in one_error(sampled("sample", "s", *TOY, "--tagger", "avatarr"))
    assert "did you mean lasso" in one_error(sampled("fit-directions", "--finder", "laso"))
    assert "did you mean long_hair" in one_error(sampled("fit-directions", "--tag", "long_hiar"))
    assert "cannot import" in one_error(sampled("sample", "s", "--generator", "torch:nowhere:make"))
    assert not Path("s").exists()


def test_what_is_there_is_not_overwritten(sampled):
    assert sampled("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    before = Path("directions/linear.safetensors").read_bytes()
    assert "--force" in one_error(sampled("fit-directions", "--finder", "linear", "--tag", "smile", "--quiet"))
    assert Path("directions/linear.safetensors").read_bytes() == before
    assert sampled("fit-directions", "--finder", "linear", "--tag", "smile", "--quiet", "--force")[0] == 0
    assert Path("directions/linear.safetensors").read_bytes() != before


def test_samples_and_directions_of_another_generator_are_refused(sampled):
    sampled("fit-directions", "--finder", "linear", "--quiet")
    Path("other.py").write_text("from toy import ToyGenerator\ndef make():\n    return ToyGenerator(seed=50)\n")
    other = ("--generator", "torch:other:make")
    message = one_error(sampled("edit", *other, "--directions", "directions/linear.safetensors", "--tag", "smile"))
    assert "another" in message or "fit" in message
    assert (
        sampled(
            "edit", *other, "--directions", "directions/linear.safetensors", "--tag", "smile", "--allow-other-generator"
        )[0]
        == 0
    )
    assert "generator" in one_error(sampled("sample", *other, "--tagger", "none", "--n", 300, "--quiet"))


def test_damaged_files_are_named(sampled):
    sampled("fit-directions", "--finder", "linear", "--quiet")
    Path("cut.safetensors").write_bytes(Path("directions/linear.safetensors").read_bytes()[:500])
    assert "cut.safetensors" in one_error(sampled("edit", *TOY, "--directions", "cut.safetensors", "--tag", "smile"))
    shard = Path("samples/codes-00000.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    assert "codes-00000.parquet" in one_error(sampled("fit-directions", "--finder", "linear", "--force"))
    assert "manifest" in one_error(sampled("list", "tags", "directions"))


def test_places_that_cannot_be_written_to(sampled):
    Path("file").write_text("")
    assert "file" in one_error(sampled("sample", "file/samples", *TOY, "--tagger", "none", "--n", 10, "--quiet"))
    sampled("fit-directions", "--finder", "linear", "--quiet")
    assert "file" in one_error(
        sampled("edit", *TOY, "--directions", "directions/linear.safetensors", "--tag", "smile", "--out", "file/x.png")
    )


def test_wrong_usage_and_devices(run):
    assert run("sample", "--n", "many")[0] == 2
    assert run("edit")[0] == 2
    assert run("smaple")[0] == 2
    assert "there are: cpu" in one_error(run("sample", "--device", "nonsense"))


SLOW = """
import time
from toy import ToyGenerator, ToyTagger
class Slow(ToyTagger):  # from the second shard on
    seen = 0
    def score(self, images):
        Slow.seen += len(images)
        time.sleep(0.02 * (Slow.seen > 2048))
        return super().score(images)
def make():
    return Slow()
"""


def heed_interrupts():
    """What is started in the background ignores Ctrl-C, and so does what that starts; what a user starts does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "how", [signal.SIGINT, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGKILL, signal.SIGTERM))]
)
def test_a_stopped_run_goes_on(tmp_path, how):
    (tmp_path / "slow.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
    command = [
        sys.executable,
        "-m",
        "latentedit",
        "sample",
        "samples",
        *TOY,
        "--tagger",
        "torch:slow:make",
        "--batch-size",
        "8",
    ]
    # 2,048 rows are a shard; the second one is under way when the run is stopped.
    process = subprocess.Popen(
        [*command, "--n", "6000"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "samples" / "codes-00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(how)
    err = process.communicate(timeout=60)[1]
    if how != signal.SIGKILL:
        assert process.returncode == -signal.SIGINT  # what a shell calls 130
        assert "rows are kept in samples; the same command goes on" in err and "Traceback" not in err
        assert not list((tmp_path / "samples").rglob(".tmp-*"))
        assert int(re.search(r"(\d+) rows are kept", err)[1]) > 2048
    first = (tmp_path / "samples" / "codes-00000.parquet").read_bytes()
    kept = sum(shard["rows"] for shard in json.loads((tmp_path / "samples" / "manifest.json").read_text())["shards"])
    done = subprocess.run(
        [*command, "--n", f"{kept + 52}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "samples" / "codes-00000.parquet").read_bytes() == first
    assert f"{kept + 52} samples" in done.stdout
