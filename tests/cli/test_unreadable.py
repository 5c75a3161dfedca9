"""Commands do what can be done, name the pictures that cannot be read, and end with 1."""

import json
import os

import pytest
from bad_pictures import BAD, fill

TRANSLATOR = ("--generator", "torch:toy:ToyTranslator", "--tagger", "torch:toy:ToyTagger")
CUT = "p17-cut.png"
NAMED = [*BAD][:2]


def left_out(result, *, of, named=tuple(BAD)):
    """What a command printed that was done but for these pictures."""
    code, out, err = result
    *_, last = err.splitlines()
    assert code == 1 and "Traceback" not in err, err
    assert last.startswith(f"error: {len(named)} of {of} pictures cannot be read: "), err
    assert last.endswith("; all else is done")
    assert all(name in last for name in named[:2]) and err.count("error: ") == 1
    assert any(line.startswith("warning: ") and named[0] in line for line in err.splitlines()[:-1])
    return out


def test_tags_of_a_hundred_with_bad_ones_among_them(run, tmp_path):
    names = fill(tmp_path / "f", 100)
    command = ("tag", "f", "--tagger", "torch:toy:ToyTagger")
    out = left_out(run(*command), of=107)
    assert [line for line in out.splitlines() if line.startswith("f/")] == [f"f/{name}" for name in names]
    document = json.loads(left_out(run(*command, "--json", "--quiet"), of=107))
    assert [one["file"] for one in document["pictures"]] == [f"f/{name}" for name in names]
    assert {one["file"] for one in document["unreadable"]} == {f"f/{name}" for name in BAD}
    assert all(one["why"] for one in document["unreadable"]) and "missing" not in document
    for name in BAD:
        (tmp_path / "f" / name).unlink()
    code, out, err = run(*command, "--json", "--quiet")
    assert code == 0 and err == "" and "unreadable" not in json.loads(out)


def test_one_that_is_named_alone_is_a_plain_error(run, tmp_path):
    fill(tmp_path / "f", 1)
    code, out, err = run("tag", f"f/{CUT}", "--tagger", "torch:toy:ToyTagger")
    assert code == 1 and out == "" and err.startswith(f"error: cannot read 'f/{CUT}' as a picture: it is cut off")
    mixed = run("tag", f"f/{CUT}", "f/p00.png", "nowhere.png", "--tagger", "torch:toy:ToyTagger", "--quiet")
    out = left_out(mixed, of=3, named=("nowhere.png", CUT))
    assert out.startswith("f/p00.png\n")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_one_that_may_not_be_read(run, tmp_path):
    fill(tmp_path / "f", 3, bad=())
    (tmp_path / "f/p01.png").chmod(0)
    left_out(run("tag", "f", "--tagger", "torch:toy:ToyTagger", "--quiet"), of=3, named=("p01.png",))
    left_out(run("sample", "s", *TRANSLATOR, "--contents", "f", "-n", 9, "--quiet"), of=3, named=("p01.png",))


def test_bad_contents_are_said_by_status_and_info(run, tmp_path):
    fill(tmp_path / "f", 5, bad=NAMED)
    command = ("sample", "s", *TRANSLATOR, "--contents", "f", "-n", 42, "--quiet", "--json", "--images", "im")
    document = json.loads(left_out(run(*command), of=7, named=NAMED))
    assert document["rows"] == 42 and document["images"]["pictures"] == 30 == len([*(tmp_path / "im").glob("*.png")])
    code, out, _ = run("status", "s")
    assert code == 0 and "6 rows failed: content p01-empty.png: the file is empty" in out
    code, out, _ = run("info", "s", "--json")
    assert code == 0 and "6 rows without tags: content p01-empty.png: the file is empty" in out


def test_pictures_are_measured_without_the_bad_ones(run, tmp_path):
    fill(tmp_path / "f", 6, bad=[*NAMED, CUT])
    fill(tmp_path / "good", 6, bad=())
    fill(tmp_path / "pair", 9, bad=())
    quiet = ("--json", "--quiet", "--threads", 1)
    found = json.loads(left_out(run("evaluate", "fid", "f", "--target", "good", *quiet), of=9, named=[*NAMED, CUT]))
    assert found["numbers"]["f"]["estimate"]["value"] == pytest.approx(0, abs=1e-3)  # the good ones are the same
    assert found["provenance"]["count"] == found["targets"] == 6
    # Pairs are those of the same place: p00-p00, p03-p05, ... are left where they were.
    apart = json.loads(left_out(run("evaluate", "lpips", "f", "pair", *quiet), of=9, named=[*NAMED, CUT]))
    assert len(apart["distances"]) == 6 and apart["distances"][0] == pytest.approx(0, abs=1e-6)
    assert min(apart["distances"][1:]) >= 0


def test_judges_do_without_the_bad_ones(run, tmp_path):
    fill(tmp_path / "f", 4, bad=[*NAMED, CUT])
    rows = "".join(f"{name},{i % 2}\n" for i, name in enumerate(sorted(p.name for p in (tmp_path / "f").glob("p*"))))
    (tmp_path / "f/labels.csv").write_text("file,red\n" + rows)
    judge = ("train-judge", "f", "--network", "resnet-small", "--size", 16, "--epochs", 1, "--quiet", "--json")
    document = json.loads(left_out(run(*judge), of=7, named=[*NAMED, CUT]))
    assert sum(document["judge"]["pictures"]) == 4 and (tmp_path / "judge.safetensors").exists()


@pytest.mark.parametrize("command", [
    ("tag", "f", "--tagger", "torch:toy:ToyTagger"), ("sample", "s", *TRANSLATOR, "--contents", "f", "-n", 9),
    ("evaluate", "fid", "f", "--target", "f"), ("edit", "--content", "f", "--tag", "long_hair", "--out", "e.png"),
])  # fmt: skip
def test_bad_ones_alone_are_one_error_at_once(run, tmp_path, command):
    fill(tmp_path / "f", 0, bad=NAMED)
    code, out, err = run(*command, "--quiet")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and out == "" and len(errors) == 1 and "2 of 2 pictures cannot be read: " in errors[0], err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


SLOW = """
import os, signal, torch
class Slow:
    id, tags, threshold = "slow:1", ("a",), 0.5
    calls = 0
    def score(self, images):
        self.calls += 1
        if self.calls == 3:
            HOW
        return torch.ones(len(images), 1)
"""


@pytest.mark.parametrize(
    ("how", "code", "stopped"),
    [("os.kill(os.getpid(), signal.SIGINT)", 130, "interrupted"), ("raise RuntimeError('no cable')", 1, "no cable")],
)
def test_what_is_tagged_is_printed_when_it_ends_in_the_middle(run, tmp_path, monkeypatch, how, code, stopped):
    names = fill(tmp_path / "f", 9, bad=())
    (tmp_path / f"slow{code}.py").write_text(SLOW.replace("HOW", how))
    monkeypatch.syspath_prepend(tmp_path)
    command = ("tag", "f", "--tagger", f"torch:slow{code}:Slow", "--batch-size", 2)
    for as_json in (True, False):
        ended, out, err = run(*command, *(["--json"] if as_json else []))
        assert ended == code, err
        if as_json:
            document = json.loads(out)
            assert [one["file"] for one in document["pictures"]] == [f"f/{name}" for name in names[:4]]
            assert document["missing"] == [f"f/{name}" for name in names[4:]]
            assert document["stopped"].endswith(stopped)
            assert code == 1 or "the tags of 4 pictures are printed" in err
        else:
            assert out.splitlines()[::2] == [f"f/{name}" for name in names[:4]]
