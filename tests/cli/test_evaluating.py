"""``evaluate`` from outside, on the bundled generator."""

import json

import pytest
import torch
from PIL import Image
from toy import ToyGenerator

from latentedit import Direction, DirectionBank
from latentedit.pictures.images import list_pictures
from latentedit.shipped import shipped

FEW = ["-n", 12, "--threads", 1]
ALONE = [*FEW, "--natural", 0]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A few of the real pictures; features of all 200 would take most of the tests' time."""
    folder = tmp_path_factory.mktemp("real")
    for path in list_pictures(shipped("data/targets"))[:12]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_rescoring(run, tmp_path):
    code, out, err = run("evaluate", "rescoring", "--tag", "long_hair", "--tag", "open_mouth", *ALONE, "--out", "m.png")
    assert code == 0, err
    assert "target rises by" in out and "judge: judge:avatar (" in err and "flatters" not in err
    assert Image.open(tmp_path / "m.png").width > 300
    code, out, err = run("evaluate", "rescoring", "--tag", "long_hair", *ALONE, "--json")
    document = json.loads(out)
    assert document["judge_name"] == "judge:avatar" and not document["judge_fitted_directions"]
    j = document["tags"].index("long_hair")
    assert document["mean"][0][j] > 0.2 and document["low"][0][j] <= document["mean"][0][j] <= document["high"][0][j]
    assert document["among_lacking"]["long_hair"]["target"]["value"] > 0.8
    code, out, err = run("evaluate", "rescoring", "--tag", "long_hair", *ALONE, "--out", "m.png")
    assert code == 1 and "--force" in err
    code, out, err = run("evaluate", "rescoring", "--tag", "wings", *FEW)
    assert code == 1 and "unknown tag 'wings'" in err.splitlines()[-1]


def test_rescoring_says_how_natural_the_pictures_are(run, monkeypatch):
    generator = ToyGenerator()
    vectors = zip(("long_hair", "red_hair"), torch.eye(16), strict=False)
    DirectionBank(
        [Direction(tag=t, vector=v, sigma=0.2, generator_id=generator.id, layers=("a", "b")) for t, v in vectors],
        generator_name="torch:toy:ToyGenerator",
    ).save("toys.safetensors")
    toys = ["--directions", "toys.safetensors", "--generator", "torch:toy:ToyGenerator", "--judge", "torch:seeing:Toy"]
    options = [*toys, "--tag", "long_hair", "--tag", "red_hair", "-n", 20, "--natural", 150]
    monkeypatch.setattr("latentedit.metrics.features.efficientnet.PACKAGE", "no_such_package")  # and it is slow
    code, out, err = run("evaluate", "rescoring", *options)
    assert code == 0, err
    assert "natural (judge)" in out and "gap (judge)" in out and "ceiling" in out and "above 0.08" in out
    assert "60 pictures to decode, and up to 150 of the generator's own" in err and "--natural 0" in err
    assert "naturalness by judge alone" in out and "pip install 'latentedit[metrics]'" in out  # under the table
    assert "red_hair: " in err and "naturalness needs 60: draw more" in err
    told = json.loads(run("evaluate", "rescoring", *options, "--json", "--quiet")[1])
    hair, red = (told["among_lacking"][tag] for tag in ("long_hair", "red_hair"))
    assert 0.1 < hair["natural"]["judge"]["natural"]["value"] < 2 and hair["natural"]["judge"]["reference"] >= 40
    assert red["natural"]["judge"]["natural"]["value"] is None and 0.3 < hair["ceiling"]["value"] <= 1
    assert set(told["least_natural_seeds"]["long_hair"]["judge"]) <= set(range(1_000_000, 1_000_020))
    assert told["own_pictures"]["networks"]["judge"].startswith("toytags:")
    assert told["own_pictures"]["pictures"] == 150 and "by judge alone" in told["naturalness_note"]
    code, out, err = run("evaluate", "rescoring", *options[:-1], 0)
    assert code == 0 and "natural (" not in out and "60 pictures to decode; no own pictures" in err
    code, out, err = run("evaluate", "rescoring", *toys, "-n", 5)  # of all tags it would take too long
    assert code == 0 and "natural (" not in out and "15 pictures to decode; no own pictures" in err
    blind = [one.replace("torch:seeing:Toy", "torch:toy:ToyTagger") for one in map(str, options)]
    code, out, err = run("evaluate", "rescoring", *blind)
    assert code == 0 and "natural (" not in out and "no naturalness: " in out and "gives no features" in out


def test_fid_of_edits_and_of_folders(run, real):
    code, out, err = run("evaluate", "fid", "--tag", "long_hair", *FEW, "--json", "--target", real)
    assert code == 0, err
    told = json.loads(out)
    assert told["metric"] == "FD-efficientnet-lite0" and "does not compare" in told["note"] and "does not" in err
    edited = told["numbers"]["long_hair"]
    original = told["numbers"]["original"]["estimate"]["value"]
    assert edited["difference"]["value"] == pytest.approx(edited["estimate"]["value"] - original, rel=1e-6)
    code, out, err = run("evaluate", "fid", real, "--target", real, "--json", "--quiet")
    assert code == 0 and abs(json.loads(out)["numbers"][str(real)]["estimate"]["value"]) < 1e-6
    code, out, err = run("evaluate", "fid", real)
    assert code == 2 and "--target" in err
    code, out, err = run("evaluate", "fid", "--features", "inception:nothing.pth")
    assert code == 1 and "nothing.pth" in err.splitlines()[-1]


def test_dfid(run, real):
    options = ["--tag", "open_mouth", "-n", 2, "--augmentations", 6, "--quiet", "--json", "--target", real]
    code, out, err = run("evaluate", "dfid", *options)
    assert code == 0, err
    told = json.loads(out)
    assert told["metric"] == "DFD-efficientnet-lite0" and set(told["numbers"]) == {"original", "open_mouth"}
    code, out, err = run("evaluate", "dfid", "--generator", "torch:toy:ToyGenerator", "-n", 2)
    assert code == 1 and err.count("\n") == 1


def test_lpips_of_edits_and_of_folders(run):
    code, out, err = run("evaluate", "lpips", "--tag", "long_hair", "-n", 2, "--styles", 3, "--quiet", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["metric"] == "PD-efficientnet-lite0" and told["numbers"]["long_hair"]["disturbance"]["value"] > 0
    contents, tests = shipped("data/contents"), shipped("data/test-contents")
    code, out, err = run("evaluate", "lpips", contents, tests)
    assert code == 1 and "64 pictures" in err
    code, out, err = run("evaluate", "lpips", contents)
    assert code == 2


def test_the_plan_of_a_study(run):
    code, out, err = run("evaluate", "study", "--plan", "--metric", "rescoring", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert [s["name"] for s in told["steps"]] == ["sample", "re-score"] and told["seconds"] > 0
    code, out, err = run("evaluate", "study", "--metric", "rescorin")
    assert code == 1 and "did you mean rescoring" in err


def test_a_study_does_not_choose_code(run, tmp_path):
    text = shipped("data/study.toml").read_text(encoding="utf-8")
    named = text.replace('judge = "judge:avatar"', 'judge = "torch:toy:ToyTagger"')
    (tmp_path / "theirs.toml").write_text(named, "utf-8")
    code, out, err = run("evaluate", "study", "theirs.toml", "--plan")
    assert code == 1 and "which is code" in err and err.count("\n") == 1
    code, out, err = run("evaluate", "study", "theirs.toml", "--plan", "--judge", "avatar", "--metric", "rescoring")
    assert code == 0, err


TOY_STUDY = """
title = "toys"
generator = "torch:toy:ToyTranslator"
tagger = "torch:toy:ToyTagger"
judge = "torch:toy:ToyTagger"
metrics = ["rescoring"]

[pictures]
train = "train"
test = "train"

[[edit]]
name = "hair"
positive = "short_hair"
negative = "long_hair"

[[method]]
finder = "linear"

[sizes]
samples = 100
rescoring_pictures = 20
n_boot = 50
"""


def test_a_study_on_toys_tells_its_tables_and_where_the_report_is(run, tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    for i, colour in enumerate(("white", "black", "red")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / "train" / f"{i}.png")
    (tmp_path / "toys.toml").write_text(TOY_STUDY, "utf-8")
    mine = [f"--{part}" for part in ("generator", "tagger", "judge")]
    named = ["torch:toy:ToyTranslator", "torch:toy:ToyTagger", "torch:toy:ToyTagger"]
    options = [one for pair in zip(mine, named, strict=True) for one in pair]
    code, out, err = run("evaluate", "study", "toys.toml", *options, "--pictures", "toys")
    assert code == 1 and "'toys': there is no such folder" in err
    code, out, err = run("evaluate", "study", "toys.toml", *options)
    assert code == 0 and "pictures to decode" in err and "re-score linear: " in err, err
    assert "Re-scoring" in out and "short_hair" in out and "wrote study/report.html and study/results.json" in out
    told = json.loads(run("evaluate", "study", "toys.toml", *options, "--json", "--quiet")[1])
    assert told == json.loads((tmp_path / "study" / "results.json").read_text())
    assert (tmp_path / "study" / "report.html").read_text().count("<img") >= 2
    more = TOY_STUDY.replace('["rescoring"]', '["rescoring", "natural"]').replace(
        "n_boot", "natural_pictures = 300\nn_boot"
    )
    (tmp_path / "natural.toml").write_text(more, "utf-8")
    seeing = [one.replace("torch:toy:ToyTagger", "torch:seeing:Toy") for one in options]
    monkeypatch.setattr("latentedit.metrics.features.efficientnet.PACKAGE", "no_such_package")
    code, out, err = run("evaluate", "study", "natural.toml", *seeing, "--out", "natural")
    assert code == 0 and "natural (judge)" in out and "own pictures: " in err and "by judge alone" in out, err
    told = json.loads((tmp_path / "natural" / "results.json").read_text())
    (row,) = told["rescoring"]["linear"]["summary"]
    assert row["natural"]["judge"]["natural"]["value"] > 0 and row["ceiling"]["value"] > 0
    assert row["elsewhere"]["low"] < row["elsewhere"]["value"] and "judge alone" in told["notes"]["natural"]
    page = (tmp_path / "natural" / "report.html").read_text()
    assert "The least natural pictures" in page and "natural, matched (judge)" in page
    again = run("evaluate", "study", "natural.toml", *seeing, "--out", "natural", "--json")
    assert json.loads(again[1]) == told and "own pictures" not in again[2]
    code, out, err = run("evaluate", "study", "natural.toml", *seeing, "--metric", "natural")
    assert code == 1 and "add rescoring to metrics" in err


@pytest.mark.slow
def test_a_small_study_agrees_with_itself_on_other_threads(run, tmp_path, real):
    """Slow: three whole studies on the bundled generator, with real features."""
    text = shipped("data/study.toml").read_text(encoding="utf-8").replace("shipped:data/targets", str(real))
    head, _, rest = text.partition("\n[sizes]")
    sizes = "[sizes]\nsamples = 80\nrescoring_pictures = 12\nfid_pictures = 5\ndfid_pictures = 1\n"
    sizes += "dfid_augmentations = 4\nlpips_pictures = 1\nlpips_styles = 3\nn_boot = 50\n"
    published = "[published]" + rest.partition("[published]")[2]
    first, linear = head.index("[[method]]"), head.index('[[method]]\nname = "linear"')  # SeFa draws 4,096 codes more
    method = head[linear : head.index("[[method]]", linear + 1)]
    (tmp_path / "mine.toml").write_text(head[:first] + method + "\n" + sizes + published, "utf-8")
    metrics = ["--metric", "rescoring", "--metric", "fid", "--metric", "dfid", "--metric", "lpips"]
    found = {}
    for name, threads in (("one", 1), ("again", 1), ("two", 2)):
        code, out, err = run("evaluate", "study", "mine.toml", "--out", name, "--threads", threads, *metrics, "--quiet")
        assert code == 0, err
        found[name] = json.loads((tmp_path / name / "results.json").read_text())
    assert "FD-efficientnet-lite0" in out and "the 2022 study: FID" in out and "report.html" in out
    assert found["one"]["numbers"] == found["again"]["numbers"]
    for a, b in zip(found["one"]["numbers"], found["two"]["numbers"], strict=True):
        assert a["estimate"]["value"] == pytest.approx(b["estimate"]["value"], rel=1e-3)
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<img") >= 3 and "What every number depends on" in page
