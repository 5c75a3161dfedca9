"""Comparing editors: no difference between equals, a real one found, intervals that cover, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_world import TAGS, Linear, Reader, along, bank
from PIL import Image

from latentedit import DirectionBank, load_generator
from latentedit.directions.direction import Direction
from latentedit.directions.edits import Edit
from latentedit.errors import LatentEditError, MismatchError
from latentedit.metrics.carriers import draw_own
from latentedit.metrics.intervals import estimate
from latentedit.study.comparison import MEASURES, compare, gap, unique_names
from latentedit.study.report import against_zero

weaker = DirectionBank([along("long_hair", 0, extra=0.9), along("short_hair", 1), along("smile", 2, extra=0.3)])


def run_it(editors, tags=("long_hair", "smile"), **rest):
    edits = [Edit(tag, opposite=None) for tag in tags]
    return compare(Linear(), Reader(), editors, edits, range(80), n_boot=200, **rest)


def test_equals_show_no_difference():
    found = run_it({"a": bank, "b": bank})
    for row in found.rows:
        for one in row.differences["b"].values():
            assert one.value == one.low == one.high == 0 and not one.shows_difference


def test_a_real_difference_is_found_with_its_size():
    found = run_it({"a": bank, "b": weaker}, ["smile"])
    (row,) = found.rows
    others = row.differences["b"]["others change by"]
    assert others.shows_difference and others.value > 0 and set(row.others) >= {"hat"}
    a, b = (row.summaries[name] for name in "ab")
    assert others.value == pytest.approx(b.off_target.value - a.off_target.value, abs=1e-6)
    target = row.differences["b"]["target rises by"]
    assert target.value == pytest.approx(b.target.value - a.target.value, abs=1e-6)
    assert found.comparisons == 4 and found.level == pytest.approx(1 - 0.05 / 4)
    elsewhere = row.differences["b"]["elsewhere"]
    assert elsewhere.value == pytest.approx(b.elsewhere.value - a.elsewhere.value, abs=1e-6)


def test_naturalness_is_compared_in_pairs():
    def read(images):
        return images[:, 0, :, 0] * 2

    own = draw_own(Linear(), Reader(), ["smile"], range(4), networks={"x": read}, most=400)
    onto, far = (DirectionBank([along("smile", 2, sigma=by / 3)]) for by in (0.5, 0.8))  # far leaves the codes' cube
    found = run_it({"a": onto, "far": far, "again": onto}, ["smile"], own=own)
    (row,) = found.rows
    difference = row.differences["far"]["natural (x)"]
    values = [row.summaries[name].natural["x"]["natural"].value for name in ("far", "a")]
    assert difference.value == pytest.approx(values[0] - values[1], abs=1e-9) and difference.shows_difference
    assert row.differences["again"]["natural (x)"].high == 0 and found.comparisons == 10
    assert row.summaries["a"].ceiling.value == pytest.approx(0.5, abs=0.05)
    few = draw_own(Linear(), Reader(), ["smile"], range(4), networks={"x": read}, most=100)
    without = run_it({"a": onto, "far": far}, ["smile"], own=few)
    assert "natural (x)" not in without.rows[0].differences["far"]


def test_paired_intervals_cover_and_unpaired_ones_are_far_too_wide():
    covered, unpaired = [], []
    for repeat in range(400):
        random = np.random.default_rng(repeat)
        shared = random.normal(size=100)
        a = np.stack([0.3 + shared, np.full(100, 0.1)], 1)
        b = np.stack([0.35 + shared + 0.1 * random.normal(size=100), np.full(100, 0.1)], 1)
        from functools import partial

        one = estimate(np.concatenate([b, a], 1), partial(gap, MEASURES["target rises by"]), n_boot=400)
        covered.append(one.low <= 0.05 <= one.high)
        reach = 1.96 * np.sqrt(a[:, 0].var() / 100 + b[:, 0].var() / 100)
        unpaired.append(abs(one.value - 0.05) <= reach)
    assert 0.92 <= np.mean(covered) <= 0.98 and np.mean(unpaired) == 1


def test_edits_that_one_bank_lacks_are_left_out():
    small = DirectionBank([along("smile", 2)])
    found = run_it({"a": bank, "small": small}, ["smile", "long_hair"])
    assert [row.label for row in found.rows] == ["smile -"] and found.left_out == {"long_hair -": "not in small"}
    with pytest.raises(LatentEditError, match="no edit is left.*not in small"):
        run_it({"a": bank, "small": small}, ["long_hair"])
    wings = DirectionBank([along("wings", 0)])
    with pytest.raises(LatentEditError, match="does not measure"):
        run_it({"a": wings, "b": wings}, ["wings"])


def test_editors_of_any_kind_are_compared():
    class Nudge:
        """No bank: it has the two names that an editor has."""

        tags = ("smile",)

        def edit(self, codes, edits):
            return codes + torch.eye(4)[2] * 0.1 * Edit(edits).at(1).strength

    found = run_it({"a": bank, "nudge": Nudge()}, ["smile"])
    (row,) = found.rows
    assert row.summaries["nudge"].target.value < row.summaries["a"].target.value / 2


def test_mistakes():
    with pytest.raises(LatentEditError, match="two files"):
        run_it({"a": bank})
    other = DirectionBank([Direction(tag="smile", vector=bank["smile"].vector, sigma=1.0, generator_id="other:2")])
    with pytest.raises(MismatchError, match="fits the generator"):
        run_it({"a": bank, "b": other}, ["smile"])
    assert TAGS  # the judge's


def test_names_are_unique(tmp_path):
    paths = [tmp_path / "a" / "lasso.safetensors", tmp_path / "b" / "lasso.safetensors"]
    assert unique_names(paths) == ["a/lasso", "b/lasso"]
    assert unique_names([paths[0], paths[0]]) == ["a/lasso (1)", "a/lasso (2)"]
    assert unique_names([tmp_path / "x.safetensors", tmp_path / "y.safetensors"]) == ["x", "y"]


def test_the_command(run, tmp_path):
    shipped = DirectionBank.load_default(load_generator("avatar"))
    shipped.save(tmp_path / "ours.safetensors")
    turned = [-d if d.tag == "long_hair" else replace(d, score=0.0) for d in shipped]
    DirectionBank([d if d.tag in shipped.tags else Direction(**{**vars(d), "tag": "long_hair"}) for d in turned]).save(
        tmp_path / "turned.safetensors"
    )
    common = ["--tag", "long_hair", "--tag", "open_mouth", "-n", 12, "--faces", 1, "--natural", 0]
    code, out, err = run("compare", "ours.safetensors", "turned.safetensors", *common)
    assert code == 0, err
    assert "none shown [" in out and "minus ours" in out and "which ships for this" in err
    assert Image.open(tmp_path / "compare.png").width > 7 * 128 and max(map(len, out.splitlines())) <= 80
    assert len(json.loads((tmp_path / "compare.json").read_text())["comparison"]["rows"]) == 2
    assert "over 12 pictures alone" in err and "turned: open_mouth is no better than chance" in err
    code, out, err = run("compare", "ours.safetensors", "turned.safetensors", *common)
    assert code == 1 and "--force" in err
    judged = ["--judge", "avatar", "--json", "--force"]
    code, out, err = run("compare", "ours.safetensors", "turned.safetensors", *common, *judged)
    told = json.loads(out)
    hair, mouth = told["comparison"]["rows"]
    assert hair["differences"]["turned"]["target rises by"]["high"] < 0
    assert told["cosines"]["long_hair"]["turned"] < -0.99 and told["cosines"]["open_mouth"]["turned"] > 0.99
    assert told["edits"] == ["long_hair", "open_mouth"]
    assert mouth["differences"]["turned"]["target rises by"]["value"] == 0
    assert told["judge_fitted_directions"] and "flatters" in err
    code, out, err = run("compare", "ours.safetensors", "--quiet", "--force")
    assert code == 1 and "two files" in err and err.count("\n") == 1
    code, out, err = run("compare", "ours.safetensors", "nothing.safetensors", "--force")
    assert code == 1 and "no such file" in err


def test_of_many_files_a_terminal_has_the_first_the_best_and_the_worst(run):
    """Seven files of one direction at seven lengths: 0.2 ... 1.4 of what moves a smile; the names are long."""
    for i in range(7):
        one = DirectionBank([replace(bank["smile"], sigma=bank["smile"].sigma * (0.2 + 0.2 * i))])
        one.save(f"directions_of_a_long_name_{i}_which_a_terminal_cannot_hold.safetensors")
    files = [f"directions_of_a_long_name_{i}_which_a_terminal_cannot_hold.safetensors" for i in (3, 0, 1, 2, 4, 5, 6)]
    options = ("--generator", "torch:linear_world:Linear", "--judge", "torch:linear_world:Reader", "--natural", 0)
    code, out, err = run("compare", *files, *options, "--tag", "smile", "-n", 40, "--faces", 1)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    rises = out[out.index("target rises by") : out.index("others change by")].splitlines()
    shown = [line.split("[")[0].rsplit(None, 1) for line in rises[1:-1]]
    values = [float(value) for _, value in shown]
    assert len(values) == 5 and values == sorted(values, reverse=True) and rises[-1].strip() == "and 2 between them"
    told = json.loads(open("compare.json", encoding="utf-8").read())["comparison"]["rows"][0]["summaries"]
    every = {name: one["target"]["value"] for name, one in told.items()}
    ranked = sorted(every.values(), reverse=True)
    first = every[files[0].removesuffix(".safetensors")]
    assert values == [round(v, 2) for v in (*ranked[:2], first, *ranked[-2:])]


def test_a_difference_of_one_picture_has_no_interval_and_says_so():
    assert against_zero(estimate(np.array([0.5])), 2) == "no difference shown (+0.50 [no interval])"
