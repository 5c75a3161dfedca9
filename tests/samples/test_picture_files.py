"""Pictures of samples as files: of the content and the noise that each row has, and of no other run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy import ToyGenerator, ToyTagger, ToyTranslator

import latentedit as le
from latentedit.errors import LatentEditError
from latentedit.pictures.images import to_uint8
from latentedit.samples.fill import pictures_of


@pytest.mark.parametrize("tagger", [ToyTagger(), None])
def test_files_show_what_the_rows_do(tmp_path: Path, tagger: ToyTagger | None) -> None:
    contents = tmp_path / "contents"
    contents.mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(contents / name)
    g = ToyTranslator()
    options: dict[str, Any] = {"tagger": tagger, "contents": contents, "shard_size": 4, "batch_size": 3, "noise": 3}
    stored = le.sample(g, tmp_path / "s", n=10, seed=4, images=tmp_path / "faces", **options)
    expected = to_uint8(pictures_of(stored, g, range(4, 14)))
    for seed, pixels in zip(range(4, 14), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"faces/{seed}.png")), pixels)
    assert len({pixels.tobytes() for pixels in expected}) == 10

    again: list[int] = []

    class Watched(ToyTranslator):
        def decode(self, codes: Any, **given: Any) -> Any:
            again.append(len(codes))
            return super().decode(codes, **given)

    (tmp_path / "faces/6.png").unlink()
    le.sample(Watched(), tmp_path / "s", n=10, seed=4, images=tmp_path / "faces", **options)
    assert again == [1]  # what is there is not decoded


@pytest.mark.parametrize("change", [{"truncation": 0.5}, {"noise": 1}, {"label": 1}])
def test_pictures_of_another_run_are_refused_before_the_work(tmp_path: Path, change: dict[str, Any]) -> None:
    le.sample(ToyGenerator(), tmp_path / "a", n=3, images=tmp_path / "faces")
    before = {file: file.read_bytes() for file in (tmp_path / "faces").iterdir()}
    with pytest.raises(LatentEditError, match=r"faces/0.png is not a picture of these samples"):
        le.sample(ToyGenerator(), tmp_path / "b", n=3, images=tmp_path / "faces", **change)
    assert {file: file.read_bytes() for file in (tmp_path / "faces").iterdir()} == before
    assert not list((tmp_path / "b").glob("codes-*"))
