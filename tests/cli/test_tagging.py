"""``tag`` and ``compare-tags`` from outside."""

import json

import numpy as np
import pytest
from commands import TOY, one_error
from PIL import Image
from sklearn.linear_model import LinearRegression
from toy import ToyGenerator

from latentedit import DirectionBank, open_samples
from latentedit.pictures.images import to_uint8


@pytest.fixture
def sampled(run, tmp_path):
    code, _, err = run("sample", *TOY, "--tagger", "torch:toy:ToyTagger", "--n", 60, "--quiet")
    assert code == 0, err
    rows = "".join(f"{seed},{seed % 2},{seed % 3 == 0:d}\n" for seed in range(40))
    (tmp_path / "labels.csv").write_text("seed,smile,red_hair\n" + rows)
    return run


def test_a_second_tagger_and_how_they_agree(sampled, tmp_path):
    code, out, err = sampled("tag", "samples", *TOY, "--tagger", "csv:labels.csv", "--json", "--quiet")
    assert code == 0, err
    told = json.loads(out)
    assert told["tags"] == {"smile": 20, "red_hair": 14} and told["taggers"][1] == told["tagger"]
    assert open_samples(tmp_path / "samples").manifest.taggers[1].name == "csv:labels.csv"
    code, out, err = sampled("compare-tags", "--json")
    compared = json.loads(out)
    assert compared["rows"] == 40 and set(compared["tags"]) == {"smile", "red_hair"}
    smile = compared["tags"]["smile"]
    assert smile["both"] + smile["only_second"] == 20 and -1 <= smile["kappa"] <= 1
    assert "long_hair" in compared["missing_second"] and compared["picture"] is None
    code, out, err = sampled("compare-tags", "--tagger", "torch:toy:ToyTagger", "--tagger", "csv:labels.csv")
    assert code == 0 and "40 samples" in out and "red_hair" in out and "4 tags are known to one of them alone" in out
    code, out, err = sampled("list", "tags", "samples", "--tagger", "csv:labels.csv", "--json")
    assert json.loads(out)["rows"] == 40
    code, out, err = sampled("fit-directions", "--tagger", "csv:labels.csv", "--finder", "linear", "--json", "--quiet")
    assert code == 0 and set(json.loads(out)["tags"]) == {"smile", "red_hair"}, err


def test_labels_with_holes_are_fitted_from_the_rows_that_have_them(run, tmp_path):
    run("sample", "s", *TOY, "--tagger", "torch:toy:ToyTagger", "-n", 3000, "--quiet")
    stored = open_samples("s")
    truth = np.concatenate([b.scores for b in stored.iter_batches()]) >= 0.5
    smile, hair = truth[:, stored.tags().index("smile")], truth[:, stored.tags().index("long_hair")]
    random = np.random.default_rng(0).random((3000, 2))
    parts = [str(int(is_there)) if known else "" for is_there, known in zip(smile, random[:, 0] < 0.4, strict=True)]
    kinds = [("none", "long")[int(h)] if known else "" for h, known in zip(hair, random[:, 1] < 0.7, strict=True)]
    rows = [f"{seed};{parts[seed]};{kinds[seed]};{int(smile[seed])}\n" for seed in range(3000)]
    (tmp_path / "l.csv").write_text(f"index;grin;hair;smile\n{''.join(rows)}3000;1;;1\n")
    code, _, err = run("tag", "s", *TOY, "--tagger", "csv:l.csv", "--quiet")
    assert code == 0 and err == (
        "warning: l.csv: index is the seed; cells are separated by semicolons; "
        "hair holds 2 classes (hair=long, hair=none)\n"
        "warning: l.csv: 1 of 3001 labelled rows name no sample of this run: seed 3000\n"
    )
    labelled = {"grin": int((random[:, 0] < 0.4).sum()), "hair=long": int((random[:, 1] < 0.7).sum())}
    code, out, _ = run("list", "tags", "s", "--tagger", "csv:l.csv", "--json")
    counts = json.loads(out)
    assert counts["rows"] == 3000 and counts["labelled"]["smile"] == 3000
    assert {tag: counts["labelled"][tag] for tag in labelled} == labelled
    code, out, err = run("fit-directions", "s", "--finder", "linear", "--tagger", "csv:l.csv", "--quiet", "--json")
    assert code == 0 and set(json.loads(out)["tags"]) == {"grin", "hair=long", "hair=none", "smile"}
    code, _, err = run("fit-directions", "s", "--finder", "linear", "--tagger", "csv:l.csv", "--force")
    assert (
        f"by chance: grin {labelled['grin']}, hair=long {labelled['hair=long']}, hair=none" in err
        and "smile" not in err
    )
    bank = DirectionBank.load(tmp_path / "directions/linear.safetensors")
    codes = np.concatenate([b.codes for b in stored.iter_batches(scores=False)])
    for tag, column, known in (("grin", smile, random[:, 0] < 0.4), ("hair=long", hair, random[:, 1] < 0.7)):
        there = LinearRegression().fit(codes[known], column[known]).coef_
        along = np.corrcoef(codes @ bank[tag].vector.numpy(), codes @ there)[0, 1]
        assert along > 0.98, (tag, along)
    assert bank["hair=long"].params["labelled_rows"] == labelled["hair=long"]
    code, out, err = run("edit", *TOY, "--tag", "hair=long=2 -hair=none", "-n", 1)
    assert code == 0 and "+2.00 σ hair=long, -0.67 σ hair=none" in out, (out, err)
    assert Image.open(next(tmp_path.glob("edit-hair_long-*.png"))).format == "PNG"


def test_the_picture_shows_what_they_disagree_on(sampled, tmp_path):
    sampled("tag", *TOY, "--tagger", "csv:labels.csv", "--quiet")
    code, out, err = sampled("compare-tags", *TOY, "--picture", "apart.png")
    assert code == 0 and "wrote apart.png" in out, err
    sheet = np.array(Image.open(tmp_path / "apart.png"))
    shown = next(seed for seed in range(0, 40) if is_in(sheet, picture(seed)))
    assert seed_scores(tmp_path, shown)
    assert not any(is_in(sheet, picture(seed)) for seed in range(40, 60))  # without labels
    assert "exists" in one_error(sampled("compare-tags", *TOY, "--picture", "apart.png"))
    assert sampled("compare-tags", *TOY, "--picture", "apart.png", "--force")[0] == 0


def picture(seed):
    """As sheets show it: 16 pixels a side become 128."""
    pixels = to_uint8(ToyGenerator().decode(ToyGenerator().sample_codes([seed])))[0]
    return pixels.repeat(8, 0).repeat(8, 1)


def seed_scores(folder, seed):
    """Whether the two taggers say something else of a common tag on this row."""
    stored = open_samples(folder / "samples")
    first, second = (stored.to_pandas(t).loc[seed, ["smile", "red_hair"]] >= 0.5 for t in stored.taggers)
    return bool((first != second).any())


def is_in(sheet, tile):
    """Whether a picture is somewhere in another, to the pixel."""
    height, width, _ = tile.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (height, width), axis=(0, 1))  # (y, x, 3, h, w)
    starts = np.argwhere((windows[..., 0, 0] == tile[0, 0]).all(-1))
    return any((windows[y, x] == tile.transpose(2, 0, 1)).all() for y, x in starts)


def test_pictures_get_their_tags_printed(run, tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for i, brightness in enumerate((40, 220)):
        Image.new("RGB", (30, 20), (brightness,) * 3).save(faces / f"{i}.png")
    code, out, err = run("tag", faces, "--tagger", "avatar", "--json", "--quiet")
    told = json.loads(out)
    assert code == 0 and [p["file"] for p in told["pictures"]] == [f"{faces}/0.png", f"{faces}/1.png"], err
    assert told["tagger"].startswith("avatar:") and all(s >= 0.5 for p in told["pictures"] for s in p["tags"].values())
    code, out, err = run("tag", faces / "0.png", faces / "1.png", "--tagger", "avatar", "--threshold", "0", "--quiet")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 2 * 43 and lines[0].endswith("0.png") and lines[1].startswith("  (")
    scores = [float(line.split("(")[1][:5]) for line in lines[1:43]]
    assert scores == sorted(scores, reverse=True)


def test_mistakes_take_one_line(sampled, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for arguments, words in (
        (("tag", "nowhere", "--tagger", "avatar"), "nothing at nowhere"),
        (("tag", "nowhere.png", "--tagger", "avatar"), "no picture at"),
        (("tag", "samples", "a.png", "--tagger", "avatar"), "tag them by themselves"),
        (("tag", "samples", "--tagger", "avatar", "--threshold", "0.3"), "--threshold is for pictures"),
        (("tag", "a.png", "--tagger", "avatar", "--generator", "avatar"), "are for stored samples, and a.png is none"),
        (("tag", "a.png", "--tagger", "csv:labels.csv"), "cannot score other pictures"),
        (("tag", "samples", "--tagger", "csv:labels.csv"), "which is code"),
        (("tag", "a.png", "--tagger", "csv:none.csv"), "no labels at none.csv"),
        (("tag", "labels.csv", "--tagger", "avatar"), "cannot read"),
        (("compare-tags",), "has to hold tags of two taggers"),
        (("compare-tags", "--tagger", "avatar"), "1 taggers given; give --tagger twice"),
        (("compare-tags", "elsewhere"), "holds no samples"),
        (("fit-directions", "--keep-tag", "nonsense"), "unknown tag 'nonsense'"),
    ):
        assert words in one_error(sampled(*arguments)), arguments
    assert len(open_samples(tmp_path / "samples").taggers) == 1


def test_what_is_dropped_is_said_and_can_be_kept(sampled, tmp_path):
    rows = "".join(f"{seed},{seed % 2},{seed % 3 == 0:d},{seed % 5 == 0:d}\n" for seed in range(60))
    (tmp_path / "marks.csv").write_text("seed,smile,watermark,rating:safe\n" + rows)
    assert sampled("tag", *TOY, "--tagger", "csv:marks.csv", "--quiet")[0] == 0
    fit = ("fit-directions", "--tagger", "csv:marks.csv", "--finder", "linear", "--json", "--force")
    code, out, err = sampled(*fit)
    assert code == 0 and json.loads(out)["tags"] == ["smile"]
    assert "not fitted, for what they are: watermark, rating:safe; --keep-tag TAG fits one" in err
    code, out, err = sampled(*fit, "--keep-tag", "rating:")
    assert json.loads(out)["tags"] == ["smile", "rating:safe"] and "not fitted, for what they are: watermark;" in err
    code, out, err = sampled(*fit, "--keep-tag", "rating:safe", "--keep-tag", "watermark")
    assert json.loads(out)["tags"] == ["smile", "watermark", "rating:safe"] and "not fitted" not in err
    assert "not fitted" not in sampled(*fit, "--tag", "watermark")[2]


def test_pairs_of_ones_own(sampled, tmp_path):
    assert sampled("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    (tmp_path / "mine.toml").write_text('[[pair]]\npositive = "smile"\nnegative = "red_hair"\nratio = -0.5\n')
    edit = ("edit", *TOY, "--directions", "directions/linear.safetensors", "--tag", "smile", "--json", "--force")
    assert json.loads(sampled(*edit)[1])["moves"] == {"smile": 3.0}
    assert json.loads(sampled(*edit, "--pairs", "mine.toml")[1])["moves"] == {"smile": 3.0, "red_hair": -1.5}
    (tmp_path / "mine.toml").write_text("[[pair]]\npositive = 3\n")
    assert "mine.toml" in one_error(sampled(*edit, "--pairs", "mine.toml"))
    assert "there is no such file" in one_error(sampled(*edit, "--pairs", "nothing.toml"))
