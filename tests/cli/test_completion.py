"""What a shell completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from commands import TOY
from made_directions import lines
from places import ROOT

import latentedit as le
from latentedit.cli.completion import BUILT_IN
from latentedit.directions import FINDERS
from latentedit.generators import GENERATORS
from latentedit.taggers import TAGGERS
from latentedit.tensorfile import tags_in

ASK = """
import sys, json
from click.shell_completion import BashComplete
from latentedit.cli import cli
ask = BashComplete(cli, {}, "latentedit", "_LATENTEDIT_COMPLETE").get_completions
found = {text: [one.value for one in ask(text.split()[1:-1], text.split()[-1].strip("'"))] for text in sys.argv[1:]}
print(json.dumps(found | {"torch": "torch" in sys.modules}))
"""


def test_names_tags_and_files_complete_without_torch(run, tmp_path):
    lines("directions/mine.safetensors", "short_hair", "smile", "smoke")
    assert run("sample", *TOY, "--tagger", "torch:toy:ToyTagger", "-n", 3, "--quiet")[0] == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asked = [
        "latentedit sa", "latentedit sample --generator st", "latentedit evaluate curves --judge ju",
        "latentedit fit-directions --finder l", "latentedit edit --tag short_hair=2,sm",
        "latentedit edit --directions d",
        "latentedit fit-directions --tag red", f"latentedit edit --directions {shipped_lines()} --tag lon",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASK, *asked], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    found = json.loads(done.stdout)
    assert not found.pop("torch")
    assert list(found.values()) == [
        ["sample"], ["stylegan2:"], ["judge:"], ["lasso", "linear"],
        [f"short_hair=2,{tag}" for tag in ("smile", "smoke")], ["directions/mine.safetensors"], ["red_hair"],
        ["long_hair"],
    ]  # fmt: skip


def shipped_lines():
    return ROOT / "directions" / "avatar.safetensors"


def test_what_is_built_in_is_what_the_registries_hold():
    for kind, registry in (("generators", GENERATORS), ("taggers", TAGGERS), ("finders", FINDERS)):
        assert [name.rstrip(":") for name in BUILT_IN[kind]] == sorted(registry._targets)
    generator = le.load_generator("avatar")
    assert tags_in(shipped_lines()) == le.DirectionBank.load_default(generator).tags
    assert tags_in(ROOT / "directions" / "avatar.prior.safetensors") == le.Prior.load_default(generator).tags
    assert tags_in(Path(__file__)) == ()


def test_help_says_how(run):
    assert "_LATENTEDIT_COMPLETE=bash_source latentedit" in run("--help")[1]
