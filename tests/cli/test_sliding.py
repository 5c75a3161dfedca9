"""``evaluate curves`` and ``evaluate axioms`` from outside, on toys; wrong options on the bundled generator."""

import json

import pytest
import torch
from toy import TAGS, ToyGenerator, ToyTagger

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction

TOYS = ["--directions", "toy.safetensors", "--generator", "torch:toy:ToyGenerator", "-n", 40]
JUDGED = ["--judge", "torch:toy:ToyTagger", "--features", "pixels"]


@pytest.fixture()
def toys(tmp_path):
    """Directions along the judge's own gradient: each raises its tag."""
    g, judge = ToyGenerator(), ToyTagger()
    codes = g.sample_codes(range(200)).requires_grad_()
    directions = []
    for i, tag in enumerate(TAGS):
        (slope,) = torch.autograd.grad(judge.score(g.decode(codes))[:, i].sum(), codes)
        vector = slope.sum(0) / slope.sum(0).norm()
        directions.append(Direction(tag=tag, vector=vector, sigma=1.0, generator_id=g.id, layers=("a", "b")))
    DirectionBank(directions).save(tmp_path / "toy.safetensors")


def test_curves(run, toys):
    mine = [*TOYS, *JUDGED, "--tag", "long_hair -"]
    code, out, err = run("evaluate", "curves", *mine, "--strengths", "1,3")
    assert code == 0 and "curves" in err, err
    assert all(word in out for word in ("carry it at 3", "gain", "monotone", "unevenness", "long_hair"))
    told = json.loads(run("evaluate", "curves", *mine, "--strengths", "3,1", "--json", "--quiet")[1])
    assert told["strengths"] == [1, 3] and told["share"]["value"][0][1] > 0.5 and told["among"] == "lacking"
    assert 0.3 < told["gain"]["value"][0] < 3 and told["monotone"]["value"][0] > 0.8
    assert told["unevenness"]["value"][0] > 0 and told["step_distance"] == "pixels"
    assert told["provenance"]["edits"] == ["long_hair=3 -"] and told["unedited"]["value"] == [0]
    everyone = json.loads(run("evaluate", "curves", *mine, "--strengths", "1,3", "--json", "--all-pictures")[1])
    assert everyone["pictures"] == [40] and 0 < told["pictures"][0] < 40


def test_axioms(run, toys):
    code, out, err = run("evaluate", "axioms", *TOYS, *JUDGED, "--row", "long_hair", "--row", "red_hair=2")
    assert code == 0 and "axioms" in err, err
    assert out.count("the code") == len(TAGS) and "opposite sign" in out and "red_hair=2" in out
    told = json.loads(run("evaluate", "axioms", *TOYS, *JUDGED, "--tag", "long_hair", "--json", "--quiet")[1])
    assert told["identical"] == [True] and 0 < told["jump"][0] < 0.02 and told["back"]["value"][0] < 1e-4
    assert told["row"] == ["long_hair", "open_mouth", "red_hair"]
    assert told["lackers"][0] + told["carriers"][0] == told["pictures"] == 40
    assert 0 <= told["cld"]["value"][0] <= 1 and told["distance"] == "pixels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["curves", "--strengths", "1,many"], "strengths are '1,many'; write numbers with commas"),
        (["curves", "--strengths", "0"], "give finite numbers, each once, not 0 alone"),
        (["curves", "--features", "nothing"], "unknown feature network 'nothing'"),
        (["axioms", "--tag", "long_hair", "--row", "wings"], "unknown tag of the judge 'wings'"),
        (["axioms", "--tag", "wings"], "unknown tag 'wings'"),
    ],
)
def test_what_is_wrong_is_one_line(run, options, message):
    code, out, err = run("evaluate", *options, "-n", 2, "--quiet")
    assert code == 1 and message in err and err.count("\n") == 1 and not out, err
