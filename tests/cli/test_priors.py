"""Priors on the command line: fit-prior, what edits by which file, info, list, compare, evaluate."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import TOY, one_error
from PIL import Image
from toy_prior import codes, samples, saved

import latentedit as le
from latentedit.prior import fitting
from latentedit.prior.fitting import PriorRecipe
from latentedit.prior.flow import Lesson

Run = Callable[..., tuple[int, str, str]]
PRIOR, LINES = "directions/prior.safetensors", "directions/linear.safetensors"


@pytest.fixture
def sampled(run: Run, tmp_path: Path) -> Run:
    shutil.copytree(samples().path, tmp_path / "samples")
    return run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are fitted in no time."""
    narrow = partial(PriorRecipe, hidden=32, depth=2, batch_size=64, reading_steps=20)
    monkeypatch.setattr(fitting, "PriorRecipe", narrow)
    monkeypatch.setattr(fitting, "faster_type", lambda device: None)


@pytest.fixture
def both(sampled: Run) -> Run:
    """A prior, and newer directions."""
    Path("directions").mkdir()
    shutil.copy(saved(), PRIOR)
    assert sampled("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    newer(LINES)
    return sampled


def newer(path: str) -> None:
    """Make a file of the two the newer one."""
    for i, name in enumerate(sorted((PRIOR, LINES), key=lambda name: name == path)):
        if Path(name).exists():
            os.utime(name, (1_700_000_000 + i,) * 2)


FIT = ("fit-prior", *TOY, "--steps", 12, "-n", 200, "--pictures", 40)


@pytest.mark.usefixtures("small")
def test_fit_prior(sampled: Run) -> None:
    code, out, err = sampled(*FIT, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["prior"] == PRIOR and told["tags"] == list(samples().tags()) and told["pictures"] == 40
    assert told["codes"] == 1200 and told["loss"] > 0 and told["recipe"]["steps"] == 12
    assert "look at pictures: 40; draw codes: 200" in err and "less than a minute" in err
    for stage in ("look at pictures", "draw codes", "learn to read codes", "learn the flow: 12/12"):
        assert stage in err
    assert sorted(path.name for path in Path("directions").iterdir()) == ["prior.safetensors"]
    found = le.Prior.load(PRIOR)
    assert found.generator_name == "torch:toy:ToyGenerator" and set(told["poor"]) == set(found.about["poor"])
    assert "--force" in one_error(sampled(*FIT, "--quiet"))
    on = (*FIT, "--from", PRIOR, "--out", "on.safetensors", "--quiet")
    assert "nowhere.safetensors" in one_error(sampled(*FIT, "--from", "nowhere.safetensors", "--force"))
    assert sampled(*on, "--tag", "smile")[0] == 0 and le.Prior.load("on.safetensors").tags == ("smile",)
    assert sampled(*on, "--force")[0] == 0 and le.Prior.load("on.safetensors").about["from"]
    code, out, err = sampled(*FIT, "--tag", "Smile", "--tag", "red hair", "--quiet", "--force")
    assert "knows 2 tags and not" in one_error(sampled(*on, "--from", PRIOR, "--force"))
    assert code == 0 and err == "" and "a prior of 2 tags" in out and "latentedit edit --tag smile" in out
    assert sampled("edit", *TOY, "--tag", "smile", "-n", 2, "--quiet")[0] == 0


@pytest.mark.usefixtures("small")
def test_tags_that_are_read_poorly_are_named(sampled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentedit.prior.reading.POOR", 1.01)
    code, out, _ = sampled(*FIT, "--tag", "smile", "--quiet")
    assert code == 0 and "known only from samples: smile" in out
    assert "smile" in (told := sampled("info", PRIOR)[1]) and "known only from samples" in told
    assert "samples alone" in sampled("list", "directions", PRIOR)[1]


@pytest.mark.usefixtures("small")
def test_a_stopped_fit_goes_on(sampled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampled(*FIT, "--quiet", "--out", "whole.safetensors")[0] == 0
    monkeypatch.setattr(fitting, "KEEP_EVERY", 0.0)

    def stop(self: Lesson) -> None:
        if self.step == 7:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        step = Lesson.go_on
        patch.setattr(Lesson, "go_on", stop)
        code, out, err = sampled(*FIT, "--quiet")
        assert (code, out) == (130, "")
        assert err == "error: interrupted; what is done is kept; the same command goes on from there\n"
    assert not Path(PRIOR).exists() and len(list(Path("directions").iterdir())) == 4
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "faster_type", lambda device: torch.bfloat16)  # found again, on a machine that is busy
        code, _, err = sampled(*FIT)
    assert [path.name for path in Path("directions").iterdir()] == ["prior.safetensors"]
    assert code == 0 and "look at pictures: 40/40" not in err and "learn the flow: 8/12" in err
    found, whole = le.Prior.load(PRIOR), le.Prior.load("whole.safetensors")
    assert torch.equal(found.edit(codes(4), "smile"), whole.edit(codes(4), "smile")) and found.about == whole.about


@pytest.mark.usefixtures("small")
def test_a_generator_alone_gives_a_prior_that_settles(both: Run) -> None:
    code, out, err = both(*FIT[:1], "nothing", *FIT[1:], "--out", "bare.safetensors")
    assert code == 0 and "no tags" in out and "--directions FILE" in out, err
    assert "warning" not in err
    base = ("edit", *TOY, "-n", 2, "--force", "--tag")
    code, out, err = both(*base, "smile", "--directions", LINES, "--prior", "bare.safetensors")
    assert code == 0 and "settled lines" in out, err
    told = one_error(both(*base, "smile", "--prior", "bare.safetensors"))
    assert f"unknown tag 'smile'; {LINES} has it" in told and "bare.safetensors knows: none" in told


@pytest.mark.usefixtures("small")
def test_what_fit_prior_refuses(sampled: Run) -> None:
    assert "is code" in one_error(sampled("fit-prior", "--quiet"))
    assert "manifest" in one_error(sampled("fit-prior", "nothing", "--quiet"))
    assert "did you mean smile" in one_error(sampled(*FIT, "--tag", "smlie"))
    assert "did you mean smile" in one_error(sampled(*FIT, "--tag", "smlie", "--quiet"))
    assert "avatar" in one_error(sampled(*FIT, "--tagger", "avatar"))
    assert "load the generator" in one_error(sampled("fit-prior", "--generator", "avatar"))
    assert "no tags" in one_error(sampled("fit-prior", "nothing", *TOY, "--tag", "smile"))
    assert "there are: cpu" in one_error(sampled(*FIT, "--device", "nonsense"))
    assert sampled(*FIT, "--steps", 0)[0] == 2
    Path("file").write_text("")
    assert "file" in one_error(sampled(*FIT, "--quiet", "--out", "file/x.safetensors"))


def test_the_defaults_are_the_recipes() -> None:
    from latentedit.cli.priors import fit_prior

    recipe = PriorRecipe()
    defaults = {option.name: option.default for option in fit_prior.params}
    for name, field in (("steps", "steps"), ("n", "codes"), ("pictures", "pictures"), ("seed", "seed")):
        assert defaults[name] == getattr(recipe, field)


# ---- which editor


def test_what_is_named_wins(both: Run) -> None:
    base = ("edit", *TOY, "--tag", "long_hair", "-n", 2, "--json", "--force")
    cases = {
        ("--prior", PRIOR): ("flow", PRIOR, -3.0),
        ("--directions", PRIOR): ("flow", PRIOR, -3.0),
        ("--directions", LINES): ("lines", LINES, -1.0),
        ("--prior", LINES): ("lines", LINES, -1.0),
        ("--directions", LINES, "--prior", PRIOR): ("settled lines", f"{LINES} and {PRIOR}", -1.0),
        (): ("lines", LINES, -1.0),
    }
    for options, (kind, where, opposite) in cases.items():
        code, out, err = both(*base, *options)
        assert code == 0, err
        told = json.loads(out)
        assert (told["editor"], told["file"]) == (kind, where)
        assert told["moves"] == {"long_hair": 3.0, "short_hair": opposite}
        assert ("fit-prior would keep edits natural" in err) == (kind == "lines")
    assert "both hold priors" in one_error(both(*base, "--directions", PRIOR, "--prior", PRIOR))
    newer(PRIOR)
    code, out, err = both(*base[:-2], "--force")
    assert out == f"wrote edit-long_hair.png: +3.00 long_hair, -3.00 short_hair (flow, {PRIOR})\n" and err == ""
    assert Image.open("edit-long_hair.png").format == "PNG"


def test_without_a_generator_the_newest_file_names_it(both: Run) -> None:
    assert "--generator 'torch:toy:ToyGenerator'" in one_error(both("edit", "--tag", "smile"))
    shutil.rmtree("directions")
    code, out, err = both("edit", "--tag", "long_hair", "-n", 1, "--json")
    assert code == 0 and json.loads(out)["file"] == "shipped" and err == ""
    assert "come" in one_error(both("edit", *TOY, "--tag", "smile"))


def test_a_damaged_newest_file_is_passed_over(both: Run) -> None:
    Path("directions/x.safetensors").write_bytes(saved().read_bytes()[:900])
    code, out, err = both("edit", *TOY, "--tag", "smile", "-n", 2)
    assert code == 0 and LINES in out
    assert err.startswith("passed over: directions/x.safetensors: ") and err.count("\n") == 2
    for command in (("edit", *TOY, "--tag", "smile", "--prior"), ("info",), ("list", "directions")):
        assert "x.safetensors" in one_error(both(*command, "directions/x.safetensors"))


def test_goals_and_what_to_keep(both: Run) -> None:
    base = ("edit", *TOY, "-n", 2, "--force")
    code, out, err = both(*base, "--prior", PRIOR, "--tag", "long_hair>0.7", "--tag", "open_mouth !smile", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["goals"] == {"long_hair": 0.7} and told["moves"] == {"open_mouth": 3.0, "closed_mouth": -3.0}
    assert "!smile" in told["edit"]
    assert "long_hair to 0.7 away from short_hair" in both(*base, "--prior", PRIOR, "--tag", "long_hair>0.7")[1]
    assert "no strip" in one_error(both(*base, "--prior", PRIOR, "--tag", "smile>0.7", "--strip"))
    for text in ("smile>0.7", "open_mouth !smile"):
        assert "only a prior" in one_error(both(*base, "--directions", LINES, "--tag", text))
    assert "cannot be kept" in one_error(both(*base, "--prior", PRIOR, "--tag", "smile !smile"))
    assert "cannot keep 'hat'" in one_error(both(*base, "--prior", PRIOR, "--tag", "smile !hat"))
    assert "no coefficients" in one_error(both(*base, "--prior", PRIOR, "--tag", "smile", "--raw"))
    assert "did you mean smile" in one_error(both(*base, "--prior", PRIOR, "--tag", "smlie"))


def test_files_of_another_generator_are_refused(both: Run) -> None:
    Path("others.py").write_text("from toy import ToyGenerator\ndef make():\n    return ToyGenerator(seed=50)\n")
    other = ("edit", "--generator", "torch:others:make", "--tag", "smile", "-n", 2)
    assert "fit-prior" in one_error(both(*other, "--prior", PRIOR))
    assert "fit" in one_error(both(*other, "--prior", PRIOR, "--directions", LINES))
    assert "come with latentedit" in one_error(both(*other))  # neither file of ./directions fits it
    assert both(*other, "--prior", PRIOR, "--allow-other-generator", "--quiet")[0] == 0


# ---- other commands


def test_an_area_that_is_not_known_is_called_that(both: Run) -> None:
    found = le.Prior.load(PRIOR)
    found.about["reading"]["area"][found.tags[0]] = float("nan")  # no held-out sample had the tag
    found.save("rare.safetensors")
    assert f"{found.tags[0]}: area under the ROC curve not known" in both("info", "rare.safetensors")[1]
    assert "not known" in both("list", "directions", "rare.safetensors")[1]
    assert json.loads(both("info", "rare.safetensors", "--json")[1])["reading"][0]["area"] is None


def test_info_and_list(both: Run) -> None:
    code, out, _ = both("info", PRIOR)
    assert code == 0 and "a prior" in out and "toytags:" in out and "steps 300" in out and "loss" in out
    assert out.count("area under the ROC curve") == 5
    told = json.loads(both("info", PRIOR, "--json")[1])
    assert told["holds"] == "a prior" and len(told["tags"]) == len(told["reading"]) == 6
    areas = [one["area"] for one in told["reading"]]
    assert areas == sorted(areas) and told["fitted"]["recipe"]["steps"] == 300
    code, out, _ = both("info", LINES)
    assert code == 0 and "directions" in out and "linear" in out
    assert json.loads(both("info", LINES, "--json")[1])["fitted"] == {"finders": ["linear"]}
    code, out, _ = both("list", "directions", PRIOR)
    assert code == 0 and "known from" in out and out.index("long_hair") < out.index("smile")
    assert json.loads(both("list", "directions", PRIOR, "--json")[1])["tags"] == list(samples().tags())


def test_measuring(both: Run) -> None:
    judge = ("--judge", "torch:toy:ToyTagger")
    few = (*TOY, *judge, "-n", 12, "--tag", "smile", "--natural", 0, "--json", "--quiet")
    code, out, err = both("compare", PRIOR, LINES, *few)
    assert code == 0, err
    told = json.loads(out)
    assert told["editors"] == {"prior": "flow", "linear": "lines"} and told["cosines"] == {"smile": {}}
    assert told["finders"]["prior"]["params"]["steps"] == 300 and told["judge_fitted_directions"]
    assert "no strip" in one_error(both("compare", PRIOR, LINES, *few, "--tag", "smile>0.5", "--force"))
    code, out, err = both("evaluate", "rescoring", *few, "--prior", PRIOR)
    assert code == 0, err
    told = json.loads(out)
    assert told["judge_fitted_directions"] and told["provenance"]["editor"] == "flow"
    assert told["provenance"]["file"] == PRIOR and told["among_lacking"]["smile"]["target"]["value"] > 0.3
