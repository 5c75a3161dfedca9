"""What all commands share: how many, old spellings, what help says, Ctrl-C."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import click
import pytest
import torch
from commands import TOY, one_error
from made_directions import lines
from places import ROOT
from toy import ToyGenerator

import latentedit as le
from latentedit.cli import cli
from latentedit.generators.vae import write_vae
from latentedit.shipped import shipped


def every_command(command=cli, path=()):
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from every_command(one, (*path, name))


def options_of(command):
    return {spelling: p for p in command.params if isinstance(p, click.Option) for spelling in p.opts}


def test_n_is_how_many_everywhere_and_old_spellings_are_hidden():
    counted = {path for path, command in every_command() if "-n" in options_of(command)}
    assert {("sample",), ("demo",), ("edit",), ("compare",), ("fit-prior",)} <= counted
    assert {("evaluate", one) for one in ("rescoring", "curves", "axioms", "fid", "dfid", "lpips")} <= counted
    for path, command in every_command():
        known = options_of(command)
        assert ("-n" in known) == ("--n" in known), path
        assert "--count" not in known or known["--count"].hidden, path


def test_old_spellings_go_on_working_with_a_line(run):
    lines("mine.safetensors", "smile")
    mine = ("--directions", "mine.safetensors", "--tag", "smile")
    edit = ("edit", *TOY, *mine, "--quiet", "--json", "--force", "--out", "e.png")
    code, new, said = run(*edit, "-n", 2)
    assert code == 0 and "--count" not in said
    picture = Path("e.png").read_bytes()
    code, old, err = run(*edit, "--count", 2)
    assert (code, old) == (0, new) and Path("e.png").read_bytes() == picture
    assert err == f"--count is called -n now; the old spelling goes with 1.0\n{said}"
    code, _, err = run(*edit, "--count", 0)
    assert code == 2 and "--count" in err


def test_demo_says_where_with_out(run):
    Path("file").write_text("")
    new, old = run("demo", "--out", "file/x", "-n", 200), run("demo", "file/x", "-n", 200)
    assert "file" in one_error(new)
    assert old[2] == f"demo file/x is demo --out file/x now; the old spelling goes with 1.0\n{new[2]}"
    assert "[PLACE]" not in run("demo", "--help")[1]


def test_no_summary_is_cut(run):
    for path, command in every_command():
        if isinstance(command, click.Group):
            code, out, _ = run(*path, "--help")
            listed = out[out.index("Commands:") :]
            assert code == 0 and "..." not in listed, path
            assert all(f"  {name} " in listed for name in command.commands)


def test_it_runs_as_a_module(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "latentedit", "list", "--help"], cwd=tmp_path, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "python -m latentedit list" in done.stdout


STOPPING = """
from toy import ToyGenerator, ToyTagger

class Stopping(ToyTagger):
    def score(self, images):
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (("evaluate", "rescoring", "--directions", "mine.safetensors", "-n", 4, "--judge"), "nothing is kept"),
        (("sample", "s", *TOY, "-n", 4, "--tagger"), "no rows are kept in s yet"),
        (("tag", "few", *TOY, "--tagger"), "no rows are kept in few yet"),
    ],
)
def test_ctrl_c_says_what_is_kept(run, monkeypatch, command, kept):
    Path("stopping.py").write_text(STOPPING)
    monkeypatch.delitem(sys.modules, "stopping", raising=False)
    lines("mine.safetensors", "smile")
    assert run("sample", "few", *TOY, "--tagger", "none", "-n", 3, "--quiet")[0] == 0
    more = TOY if command[0] == "evaluate" else ()
    code, out, err = run(*command, "torch:stopping:Stopping", *more, "--quiet")
    assert (code, out) == (130, "") and err.splitlines()[-1] == f"error: interrupted; {kept}"


def test_a_missing_file_is_called_missing(run):
    for command, missing in (
        (("evaluate", "study", "no.toml"), "no.toml"),
        (("tag", "no.png", "--tagger", "torch:toy:ToyTagger"), "no.png"),
        (("info", "no.safetensors"), "no.safetensors"),
    ):
        assert missing in (err := one_error(run(*command))) and "there is no such file" in err, command
    assert "'no': there is no such folder" in one_error(run("evaluate", "fid", "no", "--target", "no"))


def test_a_decompression_bomb_says_what_is_allowed(run):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    Path("bomb.png").write_bytes(png + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    err = one_error(run("tag", "bomb.png", "--tagger", "torch:toy:ToyTagger"))
    assert "up to 178,956,970 are read, such as 13,377 x 13,377: make it smaller" in err


def test_advice_names_options(run):
    tagger = ("--tagger", "torch:toy:ToyTagger")
    assert run("sample", "s", *TOY, *tagger, "-n", 5, "--quiet")[0] == 0
    draw = ("sample", "t", *TOY, "-n", 3, "--quiet")
    refused = {
        ("sample", "s", *TOY, *tagger, "-n", 3, "--quiet"): "ask for more (-n)",
        ("tag", "s", *TOY, *tagger, "--contents", "."): "leave them out (--contents)",
        (*draw, "--seed", 2**32 - 1, "--tagger", "none"): "choose another seed (--seed) or fewer rows (-n)",
        ("fit-prior", "none", *TOY, "--tag", "smile"): "leave tags out (--tag)",
        ("fit-directions", "none", *TOY, "--finder", "lasso"): "make them with `latentedit sample`",
    }
    for command, advice in refused.items():
        assert advice in one_error(run(*command)), command


def test_a_generator_is_looked_for_near_the_file_that_names_it(run, monkeypatch):
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(8, 48), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 4, 4)))
    Path("job/models").mkdir(parents=True)
    write_vae("job/models/mine.safetensors", decoder, range="-1..1")
    there = Path.cwd()
    monkeypatch.chdir("job")
    own = "vae:models/mine.safetensors"
    assert run("sample", "samples", "--generator", own, "--tagger", "none", "-n", 40, "--quiet")[0] == 0
    assert run("fit-directions", "samples", "--finder", "sefa", "--quiet")[0] == 0
    monkeypatch.chdir(there)
    code, _, err = run("fit-directions", "job/samples", "--finder", "sefa")
    assert code == 0 and f"{own}, the generator of job/samples, is " in err and "job/models/mine.safetensors now" in err
    edit = ("edit", "--tag", "sefa_00", "--directions", "job/directions/sefa.safetensors", "--out", "a.png", "--force")
    assert run(*edit)[0] == 0
    Path("job/models/mine.safetensors").rename("job/directions/mine.safetensors")  # beside the file that names it
    assert run(*edit)[0] == 0
    Path("job/directions/mine.safetensors").rename("away.safetensors")
    err = one_error(run(*edit))
    assert f"the generator of job/directions/sefa.safetensors is {own}" in err and "--generator vae:PATH" in err
    assert run(*edit, "--generator", "vae:away.safetensors")[0] == 0
    lost = one_error(run("edit", "--recipe", run_recipe(own)))
    assert "the generator of lost.json is " + own in lost and "--generator vae:PATH" in lost


def run_recipe(generator):
    """The recipe of a.png as it would be had its generator been named otherwise."""
    document = json.loads(le.Recipe.load("a.png").to_json())
    document["generator"]["name"] = generator
    Path("lost.json").write_text("\ufeff" + json.dumps(document))
    return "lost.json"


def test_a_judge_is_looked_for_near_the_file_that_names_it(run, tmp_path):
    generator = ToyGenerator()
    (tmp_path / "job").mkdir()
    file = lines("job/lines.safetensors", "smile", of=generator)
    bank = le.DirectionBank.load(file)
    bank.tagger_name = "judge:mine?.safetensors"
    bank.save(file)
    curves = ("evaluate", "curves", "--directions", file, "--tag", "smile", "-n", 2, "--features", "pixels", *TOY)
    said = one_error(run(*curves, "--quiet"))
    assert "judge:mine?.safetensors, the tagger that what edits was fitted with, cannot be loaded" in said
    shutil.copy(shipped("data/avatar-judge.safetensors"), "job/mine?.safetensors")
    code, _, err = run(*curves)
    assert code == 0 and "judge: judge:job/mine?.safetensors (judge:" in err


def test_home_is_known_where_no_shell_has_said_so(run, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    lines("home/lines.safetensors", "smile")
    Path("home/pairs.toml").write_bytes("[[pair]]\npositive = 'smile'\nnegative = 'frown'\n".encode("utf-16"))
    edit = ("edit", *TOY, "--tag=smile", "--directions=~/lines.safetensors", "--pairs=~/pairs.toml", "-n", 1)
    assert run(*edit, "--out=~/a.png")[0] == run(*edit, "--out=~/faces/", "--sheet=~/b.png")[0] == 0
    assert run("edit", *TOY, "--recipe=~/a.png", "--out=~/c.png")[0] == 0
    assert {path.name for path in home.iterdir()} >= {"a.png", "b.png", "c.png", "faces"}
    assert (home / "faces/seed-0.npy").is_file()
    assert run("info", "~/a.png")[0] == run("info", "~/lines.safetensors")[0] == 0
    assert run("sample", "~/s", *TOY, "--tagger", "none", "-n", 2)[0] == run("status", "~/s")[0] == 0
    assert not Path("~").exists()
    Path("~").mkdir()
    shutil.move(home / "a.png", "~/moved.png")  # a file that is there is meant itself
    assert run("edit", *TOY, "--recipe=~/moved.png", "--out=~/d.png")[0] == 0 and (home / "d.png").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_every_text_file_may_begin_with_a_byte_order_mark(run, encoding):
    def write(name, text):
        Path(name).write_bytes(text.replace("\n", "\r\n").encode(encoding))

    assert run("edit", *TOY, "--tag=smile", "--directions", lines("l.safetensors", "smile"), "-n", 1)[0] == 0
    write("recipe.json", le.Recipe.load("edit-smile.png").to_json())
    assert run("edit", *TOY, "--recipe", "recipe.json", "--out", "a.png")[0] == 0
    assert "recipe" in run("info", "recipe.json")[1]
    write("study.toml", 'generator = "torch:toy:ToyGenerator"\n[[edit]]\npositive = 1\n')
    assert "positive of an [[edit]] is 1" in one_error(run("evaluate", "study", "study.toml"))
    write("labels.csv", "seed,smile\n0,1\n1,0\n")
    write("latentedit.toml", 'generator = "torch:toy:ToyGenerator"\ntagger = "csv:labels.csv"\n')
    code, out, err = run("sample", "s", "-n", 2)
    assert code == 0 and "most frequent: smile 1" in out and "latentedit.toml: generator = " in err
