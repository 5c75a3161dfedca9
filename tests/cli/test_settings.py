"""``latentedit.toml`` in the current folder."""

import json
import os
from pathlib import Path

import pytest
from commands import TOY, one_error
from torch import nn

from latentedit.generators.vae import write_vae

MINE = """generator = "torch:toy:ToyGenerator"
tagger = "torch:toy:ToyTagger"
judge = "torch:toy:ToyTagger"
device = "cpu"
"""
LINES = "directions/linear.safetensors"


@pytest.fixture
def mine(run):
    Path("latentedit.toml").write_text(MINE)
    return run


def test_names_are_typed_once_and_each_command_says_so(mine):
    code, out, err = mine("sample", "-n", 60, "--json")
    assert code == 0 and json.loads(out)["generator"].startswith("toy:") and json.loads(out)["tags"], err
    said = "latentedit.toml: generator = torch:toy:ToyGenerator, tagger = torch:toy:ToyTagger, device = cpu\n"
    assert err.startswith(said)
    code, _, err = mine("fit-directions", "--finder", "linear")
    assert code == 0 and "latentedit.toml: generator = torch:toy:ToyGenerator, device = cpu\n" in err
    measure = ("evaluate", "rescoring", "--directions", LINES, "--tag", "smile", "-n", 4, "--natural", 0)
    code, out, err = mine(*measure, "--json")
    assert code == 0 and json.loads(out)["judge"].startswith("toytags:"), err
    assert "generator = torch:toy:ToyGenerator, judge = torch:toy:ToyTagger" in err
    assert "latentedit.toml" not in mine("list", "directions", LINES)[2]


def test_what_is_typed_wins_and_what_a_named_file_records(mine):
    network = nn.Sequential(nn.Linear(4, 48), nn.Unflatten(1, (3, 4, 4)), nn.Tanh())
    write_vae("v.safetensors", network, range="-1..1")
    vae = ("--generator", "vae:v.safetensors")
    code, out, err = mine("sample", "s", "-n", 3, *vae, "--tagger", "none", "--json")
    assert code == 0 and json.loads(out)["generator"].startswith("vae:"), err
    assert "latentedit.toml: device = cpu\n" in err and "torch:" not in err
    assert mine("fit-directions", "no", *vae, "--finder", "sefa?k=2", "--out", "sefa.safetensors", "--quiet")[0] == 0
    edit = ("edit", "--directions", "sefa.safetensors", "--tag", "sefa_00", "-n", 1, "--quiet", "--out", "e.png")
    assert "toy:" in one_error(mine(*edit, *TOY))
    code, _, err = mine(*edit)  # by the generator that the file names
    assert code == 0, err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('genrator = "avatar"', "unknown key of latentedit.toml 'genrator'; did you mean generator"),
        ("device = 1", "device is 1; write a name in quotes"),
        ("device cpu", "latentedit.toml: cannot be read as TOML"),
    ],
)
def test_what_it_cannot_hold(run, text, words):
    Path("latentedit.toml").write_text(text)
    assert words in one_error(run("list", "finders"))
    assert run("--help")[0] == 0


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away")
def test_code_of_another_user_is_not_run(mine):
    os.chown("latentedit.toml", 12_345, -1)
    assert "another user's and names code" in one_error(mine("sample", "-n", 3, "--quiet"))
    Path("latentedit.toml").write_text('device = "cpu"')
    assert mine("list", "finders")[0] == 0
