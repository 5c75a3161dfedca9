"""Contents of a stored run are found again: shipped ones by name, one's own where they were or beside the samples."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from toy import ToyTagger, ToyTranslator

from latentedit import open_samples, sample, shipped, tag
from latentedit.errors import DamagedFileError

G = ToyTranslator()


def paint(folder):
    folder.mkdir()
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")


def contents_of(samples):
    return json.loads((samples / "manifest.json").read_text())["contents"]


def test_own_ones_are_found_from_the_samples(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    paint(Path("pictures"))
    sample(G, "samples", n=6, contents="pictures")
    assert contents_of(Path("samples"))["beside"] == "../pictures"
    monkeypatch.chdir(tmp_path)
    shutil.move("old", "new")
    tagged = tag(open_samples("new/samples"), G, ToyTagger())
    assert tagged.labelled() == 6
    shutil.move("new/pictures", "elsewhere")
    with pytest.raises(DamagedFileError, match=r"0.png is missing; .* those of new/samples are now \(--contents\)"):
        tag(open_samples("new/samples"), G, ToyTagger(seed=7))
    assert len(tag(open_samples("new/samples"), G, ToyTagger(seed=7), contents="elsewhere").taggers) == 2


def test_shipped_ones_are_found_by_name_wherever_they_were(tmp_path):
    folder = shipped.shipped("data/contents")
    sample(G, tmp_path, n=3, contents=folder)
    assert contents_of(tmp_path)["folder"] == "shipped:data/contents"
    assert tag(open_samples(tmp_path), G, ToyTagger()).labelled() == 3
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for old in (
        "/home/somebody/latentedit/data/contents",
        r"C:\Users\me\site-packages\latentedit\_shipped\data\contents",
    ):
        manifest["contents"] = {"folder": old, "pictures": manifest["contents"]["pictures"]}  # as it was written before
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        seed = len(old)
        assert tag(open_samples(tmp_path), G, ToyTagger(seed=seed)).labelled(ToyTagger(seed=seed).id) == 3
