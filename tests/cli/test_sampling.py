"""``sample`` from outside, and what becomes of its files."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import TOY, one_error
from PIL import Image
from toy import ToyGenerator

from latentedit import open_samples
from latentedit.pictures.images import to_uint8

TOY_TAGGER = ("--tagger", "torch:toy:ToyTagger")
FIT = ("fit-directions", "--finder", "linear", "--quiet", "--force")


@pytest.fixture
def sampled(run):
    code, _, err = run("sample", *TOY, *TOY_TAGGER, "-n", 60, "--quiet")
    assert code == 0, err
    return run


@pytest.mark.parametrize("shard", ["codes-00000.parquet", "tags/*/tags-00000.parquet"])
def test_a_damaged_shard_is_named_although_its_moments_are_cached(sampled, tmp_path, shard):
    assert sampled(*FIT)[0] == 0 and len(list((tmp_path / "samples/moments").iterdir())) == 1
    assert sampled(*FIT)[0] == 0  # the control: from the cache
    (file,) = (tmp_path / "samples").glob(shard)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    code, out, err = sampled(*FIT)
    assert code == 1 and f"{file.relative_to(tmp_path)} is damaged" in one_error((code, out, err))


def test_a_cache_that_cannot_be_written_is_a_line(sampled, tmp_path):
    (tmp_path / "samples/moments").touch()  # a file in the folder's place; root may write to any folder
    code, _, err = sampled("fit-directions", "--finder", "linear", "--quiet")
    assert code == 0 and Path("directions/linear.safetensors").exists()
    (line,) = (line for line in err.splitlines() if "red_hair" not in line)  # which is no better than chance
    assert line.startswith("warning: the moments are not kept for the next run: cannot write samples/moments/")


def test_a_cache_that_a_full_disk_refuses_is_a_line(sampled, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))  # the directions are smaller, the moments are not
    try:
        code, out, err = sampled("fit-directions", "--finder", "linear", "--quiet", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (line,) = (line for line in err.splitlines() if "red_hair" not in line)
    assert code == 0 and json.loads(out)["tags"] and "are not kept for the next run" in line
    assert not list(tmp_path.rglob("moments/*"))


# Pictures for people to label.


def shown(file):
    return np.asarray(Image.open(file))


def pictures_of(seeds):
    g = ToyGenerator()
    return dict(zip(seeds, to_uint8(g.decode(g.sample_codes(seeds))), strict=True))


@pytest.mark.parametrize("tagger", ["torch:toy:ToyTagger", "none"])  # on the way, and afterwards
def test_pictures_to_label_and_their_labels(run, tmp_path, tagger):
    sample = ("sample", *TOY, "--tagger", tagger, "--seed", 5, "--images", "faces")
    code, out, err = run(*sample, "-n", 10, "--json")
    assert code == 0 and json.loads(out)["images"] == {"folder": "faces", "pictures": 10}, err
    assert {file.name for file in Path("faces").iterdir()} == {f"{seed}.png" for seed in range(5, 15)}
    for seed, pixels in pictures_of(range(5, 15)).items():
        assert (shown(f"faces/{seed}.png") == pixels).all()
    Path("labels.csv").write_text("file,smile\n" + "".join(f"{f.name},1\n" for f in Path("faces").iterdir()))
    assert run("tag", *TOY, "--tagger", "csv:labels.csv", "--quiet")[0] == 0
    assert open_samples("samples").tag_counts("csv:labels.csv") == {"smile": 10}


def test_pictures_of_samples_that_exist(sampled, tmp_path):
    sample = ("sample", *TOY, *TOY_TAGGER)
    before = {file: file.read_bytes() for file in Path("samples").rglob("*.parquet")}
    code, out, err = sampled(*sample, "-n", 20, "--images", "some")
    assert code == 0 and len(list(Path("some").iterdir())) == 20, err
    assert "60 samples in samples" in out and "pictures of 20 of them in some" in out and "pictures: 20/20" in err
    code, out, err = sampled(*sample, "--images", "some")  # without -n all that there are
    assert code == 0 and len(list(Path("some").iterdir())) == 60 and "pictures: 20/60" in err
    assert {file: file.read_bytes() for file in Path("samples").rglob("*.parquet")} == before
    assert "more than 20; open it as it is, ask for more (-n)" in one_error(
        sampled(*sample, "-n", 20, "--quiet")
    )  # the control: without pictures


def test_pictures_that_are_there_stay_and_others_are_refused(sampled, tmp_path):
    sample = ("sample", *TOY, *TOY_TAGGER, "--images", "faces", "--quiet")
    assert sampled(*sample, "-n", 60)[0] == 0
    times = {file.name: file.stat().st_mtime_ns for file in Path("faces").iterdir()}
    for seed in (3, 59):
        Path(f"faces/{seed}.png").unlink()  # as a stopped run has them
    Path("faces/.tmp-0011aabb-3.png").touch()
    assert sampled(*sample, "-n", 62)[0] == 0
    now = {file.name: file.stat().st_mtime_ns for file in Path("faces").iterdir()}
    assert now.keys() == {f"{seed}.png" for seed in range(62)}
    assert sorted(name for name in times if now[name] != times[name]) == ["3.png", "59.png"]

    Image.new("RGB", (16, 16)).save("faces/62.png")
    mine = Path("faces/62.png").read_bytes()
    assert "faces/62.png is not a picture of these samples; choose another folder" in one_error(
        sampled(*sample, "-n", 63)
    )
    assert Path("faces/62.png").read_bytes() == mine and len(open_samples("samples")) == 62
    other = ("sample", "others", *TOY, *TOY_TAGGER, "--truncation", 0.5, "--images", "faces", "-n", 3, "--quiet")
    assert "faces/0.png is not a picture of these" in one_error(sampled(*other))
    Path("faces/notes.txt").touch()
    assert "faces/notes.txt is a file" in one_error(sampled(*sample[:-3], "--images", "faces/notes.txt", "-n", 63))


# What is foretold.


def bytes_of(text):
    number, unit = re.search(r"([0-9.]+) (kB|MB|GB|TB)", text).groups()
    return float(number) * {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]


@pytest.mark.parametrize("options", [(), ("--tagger", "none"), ("--keep-images",), ("--images", "faces")])
def test_disk_is_foretold_within_a_fifth(run, options):
    code, out, err = run("sample", *TOY, *TOY_TAGGER, "-n", 300, *options, "--json")
    assert code == 0, err
    (line,) = (line for line in err.splitlines() if line.startswith("disk: about"))
    assert "there" not in line  # nothing of a new run is
    samples, _, pictures = line.partition(" and ")
    assert abs(bytes_of(samples) / json.loads(out)["bytes"] - 1) < 0.2
    if "faces" in options:
        assert abs(bytes_of(pictures) / sum(file.stat().st_size for file in Path("faces").iterdir()) - 1) < 0.2
    # Going on needs only what is not there yet.
    code, _, err = run("sample", *TOY, *TOY_TAGGER, "-n", 300, *options)
    assert code == 0 and not re.search(r" and .* of pictures| of them there", err)


def test_what_does_not_fit_on_the_disk_is_refused(run, monkeypatch):
    sample = ("sample", *TOY, *TOY_TAGGER, "--quiet")
    error = one_error(run(*sample, "-n", 4_000_000_000, "--images", "faces"))
    assert re.search(r"needs about .* TB of pictures in faces, and .* are free at .*--force", error)
    assert not Path("faces").exists() and not list(Path("samples").glob("codes-*"))
    free = shutil.disk_usage(".")._replace(free=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda place: free)
        assert "and 10.0 kB are free" in one_error(run(*sample, "-n", 300))
        assert run(*sample, "-n", 20)[0] == 0  # the control: that fits
        assert run(*sample, "-n", 300, "--force")[0] == 0
    assert len(open_samples("samples")) == 300


def test_tags_on_no_sample_are_not_called_frequent(run):
    code, out, err = run("sample", *TOY, *TOY_TAGGER, "-n", 2, "--quiet")
    counts = open_samples("samples").tag_counts()
    frequent = [f"{tag} {count}" for tag, count in sorted(counts.items(), key=lambda one: -one[1]) if count]
    assert code == 0 and len(frequent) < 6 and out.strip().endswith(f"; most frequent: {', '.join(frequent)}")
    Path("labels.csv").write_text("seed,smile,hat\n0,1,0\n1,0,0\n")
    code, out, err = run("tag", *TOY, "--tagger", "csv:labels.csv", "--quiet")
    assert code == 0 and out.strip().endswith("; most frequent now: smile 1")
    Path("none.csv").write_text("seed,hat\n0,0\n1,0\n")
    assert "; no tag is on any of them" in run("tag", *TOY, "--tagger", "csv:none.csv", "--quiet")[1]
    assert json.loads(run("tag", *TOY, "--tagger", "csv:none.csv", "--quiet", "--json")[1])["tags"] == {"hat": 0}


def test_a_generator_that_no_tagger_ships_for_is_not_tagged_by_another_ones(run):
    code, out, err = run("sample", *TOY, "-n", 4, "--json")
    assert code == 0 and "no tagger ships for toy:" in err and "name one with --tagger" in err
    assert json.loads(out)["tags"] == {} and open_samples("samples").taggers == []
    code, out, err = run("sample", "faces", "-n", 3, "--json", "--quiet")  # the bundled one has its own
    assert code == 0 and "long_hair" in str(open_samples("faces").tags()) and "no tagger" not in err
