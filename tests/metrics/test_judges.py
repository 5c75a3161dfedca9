"""Who judges where nobody was named, in Python and from outside, on a generator that no tagger ships for."""

import json
import shutil

import pytest
from toy import ToyGenerator, ToyTagger

from latentedit import fit_directions, load_generator, sample
from latentedit.directions.bank import DirectionBank
from latentedit.errors import LatentEditError
from latentedit.metrics.judges import choose_judge, fitted_with
from latentedit.prior.settled import Settled

GENERATOR, TAGGER = "torch:toy:ToyGenerator", "torch:toy:ToyTagger"
FEW = ("--generator", GENERATOR, "--tag", "smile", "-n", 5, "--natural", 0)
FILE = "toys.safetensors"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    samples = sample(
        ToyGenerator(), folder / "samples", tagger=ToyTagger(), n=300, generator_name=GENERATOR, tagger_name=TAGGER
    )
    fit_directions(samples, finder="linear").save(folder / FILE)
    return folder / FILE


def test_a_file_names_the_tagger_that_it_was_fitted_with(fitted):
    bank = DirectionBank.load(fitted)
    assert bank.tagger_name == TAGGER and fitted_with([bank]) == (TAGGER, {ToyTagger().id})
    judge = choose_judge(ToyGenerator(), fitted=fitted_with([bank]))
    assert (judge.name, judge.why, judge.fitted, judge.tagger.id) == (TAGGER, "fitted", True, ToyTagger().id)
    assert "flatters" in str(judge)


def test_what_ships_comes_before_what_was_fitted_and_what_is_named_before_both():
    avatar, fitted = load_generator("avatar"), ("avatar", {"avatar:123"})
    assert choose_judge(avatar, fitted=fitted).name == "judge:avatar"
    named = choose_judge(avatar, TAGGER, fitted=(TAGGER, {ToyTagger().id}))
    assert (named.name, named.why, named.fitted) == (TAGGER, "named", True)
    assert not choose_judge(avatar, TAGGER, fitted=fitted).fitted


def test_no_other_tagger_is_guessed(tmp_path):
    with pytest.raises(LatentEditError, match="no judge ships for toy.*name one with --judge"):
        choose_judge(ToyGenerator())
    (tmp_path / "labels.csv").write_text("seed,smile\n0,1\n1,0\n")
    for given in ({"named": f"csv:{tmp_path / 'labels.csv'}"}, {"fitted": (f"csv:{tmp_path / 'labels.csv'}", ())}):
        with pytest.raises(LatentEditError, match="labels of stored samples.*--judge"):
            choose_judge(ToyGenerator(), **given)
    with pytest.raises(LatentEditError, match="fitted with, cannot be loaded.*--judge"):
        choose_judge(ToyGenerator(), fitted=("onnx:gone", ()))
    with pytest.raises(LatentEditError, match="which is code.*--judge 'torch:toy:ToyTagger'"):
        choose_judge(ToyGenerator(), fitted=(TAGGER, ()), runs_code=False)


def test_settled_lines_are_judged_as_their_lines(fitted):
    settled = object.__new__(Settled)
    settled.bank = DirectionBank.load(fitted)
    assert fitted_with([settled]) == (TAGGER, {ToyTagger().id})


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "rescoring", "--directions", FILE),
        ("evaluate", "curves", "--directions", FILE, "--features", "pixels", "--strengths", "1,3"),
        ("evaluate", "axioms", "--directions", FILE, "--features", "pixels"),
        ("compare", FILE, "other.safetensors"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_asks_before_it_runs_code_as_judge_and_says_who_judged(run, fitted, tmp_path, command):
    shutil.copy(fitted, tmp_path / FILE)
    shutil.copy(fitted, tmp_path / "other.safetensors")
    few = FEW if "--features" not in command else FEW[:-2]
    code, out, err = run(*command, *few)
    assert code == 1 and not out and f"--judge '{TAGGER}'" in err.splitlines()[-1], err
    code, out, err = run(*command, *few, "--judge", TAGGER, "--json")
    assert code == 0 and f"judge: {TAGGER} (" in err and "flatters" in err, err
    told = json.loads(out)
    assert told["judge"] == ToyTagger().id and told["judge_name"] == TAGGER


def test_a_study_of_another_generator_does_not_keep_its_tagger_and_judge(run):
    code, out, err = run("evaluate", "study", "--generator", GENERATOR, "--metric", "rescoring", "--plan")
    assert code == 1 and f"no tagger ships for {GENERATOR}; name one with --tagger" in err
    few = ("--metric", "rescoring", "--plan", "--json", "--batch-size", 2)
    code, out, err = run("evaluate", "study", "--generator", GENERATOR, "--tagger", TAGGER, *few)
    assert code == 0 and json.loads(out)["steps"], err
