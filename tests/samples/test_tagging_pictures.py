"""Picture files of any size to tags, and rows of stored samples back to pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_pictures import BAD, fill
from PIL import Image
from torch import Tensor
from toy import ToyGenerator, ToyTagger, ToyTranslator

from latentedit.errors import LatentEditError, MismatchError, UnreadablePictures
from latentedit.samples.fill import pictures_of
from latentedit.samples.sampling import sample
from latentedit.samples.tagging import TaggedPictures, tag_pictures
from latentedit.taggers import load_tagger
from latentedit.taggers.base import PictureTagger, eight_bits


class Means(PictureTagger):
    """The mean of each channel, whatever the picture's size."""

    id, tags, thresholds = "means:1", ("red", "green", "blue"), {"blue": 0.9}

    def prepare(self, pictures: Tensor) -> np.ndarray:
        return (pictures.double().mean((2, 3)) / 255).numpy()

    def predict(self, prepared: np.ndarray) -> Tensor:
        return torch.from_numpy(prepared).float()


class Dropping(Means):
    drops_alpha = True


def save(path: Path, pixels: np.ndarray | tuple[int, ...], mode: str = "RGB") -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else Image.new(mode, (6, 4), pixels)
    image.save(path)
    return path


def test_pictures_of_all_sizes_score_as_they_would_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = [(5, 9), (40, 3), (128, 128), (64, 200), (2, 2), (300, 301), (128, 128)]
    pixels = [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]
    paths = [save(tmp_path / f"{i}.png", p) for i, p in enumerate(pixels)]
    calls: list[tuple[int, int]] = []
    for tagger in (Means(), load_tagger("avatar")):
        found = tag_pictures(tmp_path, tagger, batch_size=3, progress=lambda done, total: calls.append((done, total)))
        assert found.paths == tuple(paths) and found.tags == tuple(tagger.tags)
        for scores, p in zip(found.scores, pixels, strict=True):
            alone = tagger.score(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]
            np.testing.assert_allclose(scores, alone, atol=1e-5)
    assert calls == [(0, 7), (3, 7), (6, 7), (7, 7)] * 2
    np.testing.assert_allclose(tag_pictures(paths, Means()).scores, [p.mean((0, 1)) / 255 for p in pixels], atol=1e-6)


def test_taggers_that_do_not_resize_get_pictures_of_one_size_together(tmp_path: Path) -> None:
    class Any(ToyTagger):
        def score(self, images: Tensor) -> Tensor:
            return images[..., :1, :1].flatten(1).clamp(0, 1).repeat(1, 2)

    for i, side in enumerate((16, 16, 8)):
        save(tmp_path / f"{i}.png", np.full((side, side, 3), 255, np.uint8))
    assert tag_pictures(tmp_path, Any()).scores.tolist() == [[1.0] * 6] * 3


def test_every_kind_of_picture(tmp_path: Path) -> None:
    files = {
        "grey.png": (save(tmp_path / "grey.png", (102,), "L"), [0.4, 0.4, 0.4]),
        "rgba.png": (save(tmp_path / "rgba.png", (255, 0, 0, 0), "RGBA"), [1, 1, 1]),
        "half.png": (save(tmp_path / "half.png", (255, 0, 0, 128), "RGBA"), [1, 127 / 255, 127 / 255]),
        "a.gif": (save(tmp_path / "a.gif", (0, 0, 255)), [0, 0, 1]),
        "a.webp": (save(tmp_path / "a.webp", (255, 255, 255)), [1, 1, 1]),
    }
    found = tag_pictures([path for path, _ in files.values()], Means())
    np.testing.assert_allclose(found.scores, [colour for _, colour in files.values()], atol=1e-6)
    dropped = tag_pictures([files["rgba.png"][0], files["half.png"][0]], Dropping())
    assert dropped.scores.tolist() == [[1, 0, 0], [1, 0, 0]]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)

    class TopHalf(Means):
        def prepare(self, pictures: Tensor) -> np.ndarray:
            return super().prepare(pictures[:, :, : pictures.shape[2] // 2])

    assert tag_pictures(tmp_path / "turned.png", TopHalf()).scores.tolist() == [[1, 1, 1]]


def test_present_tags_are_those_of_their_own_threshold(tmp_path: Path) -> None:
    found = tag_pictures(save(tmp_path / "a.png", (153, 51, 204)), Means())
    assert found.present(0) == {"red": pytest.approx(0.6)}  # blue has 0.8 and needs 0.9
    assert list(found.present(0, threshold=0.2)) == ["blue", "red", "green"]


def test_bad_pictures_are_found_before_the_work(tmp_path: Path) -> None:
    class Never(Means):
        def prepare(self, pictures: Tensor) -> np.ndarray:
            raise AssertionError("no picture is left, or the bad one comes first")

    good = save(tmp_path / "a.png", (1, 2, 3))
    (tmp_path / "b.png").write_text("no picture")
    for bad, words in (
        (tmp_path / "b.png", "cannot read .*b.png"),
        ([tmp_path / "b.png", tmp_path / "c.png"], r"2 of 2 pictures cannot be read: .*b.png \(.*c.png \(there is no"),
        ([], "no picture to tag"),
        (tmp_path / "nothing.png", "no picture at"),
    ):
        with pytest.raises(LatentEditError, match=words):
            tag_pictures(bad, Never())
    with pytest.raises(LatentEditError, match="batch_size is 0"):
        tag_pictures(good, Means(), batch_size=0)
    Image.new("RGB", (1, 7)).save(tmp_path / "thin.png")
    with pytest.raises(LatentEditError, match="thin.png: pictures are 1 x 7 pixels; a tagger needs two"):
        tag_pictures(tmp_path / "thin.png", Means())
    with pytest.warns(UnreadablePictures, match=r"1 of 2 .*thin.png \(pictures are 1 x 7 pixels; a tagger needs two"):
        assert tag_pictures([good, tmp_path / "thin.png"], Means()).paths == (good,)


def test_bad_pictures_among_others_are_left_out_and_told(tmp_path: Path) -> None:
    names = fill(tmp_path)
    parts: list[TaggedPictures] = []
    with pytest.warns(UnreadablePictures) as warned:
        found = tag_pictures(tmp_path, Means(), batch_size=7, tagged=parts.append)
    assert [path.name for path in found.paths] == names
    assert {path.name for path in found.unreadable} == {*BAD}
    for name, (_, why) in BAD.items():
        assert re.search(why, found.unreadable[tmp_path / name]), name
    early, late = (one.message for one in warned)  # what only reading finds is told after the work
    assert isinstance(early, UnreadablePictures) and isinstance(late, UnreadablePictures)
    assert early.of == late.of == len(names) + len(BAD) and [*late.why] == [str(tmp_path / "p17-cut.png")]
    assert "and 1 more" in str(early)
    assert [path for part in parts for path in part.paths] == [*found.paths]
    np.testing.assert_array_equal(np.concatenate([part.scores for part in parts]), found.scores)
    for path, scores in zip(found.paths, found.scores, strict=True):
        np.testing.assert_allclose(scores, np.array(Image.open(path)).mean((0, 1)) / 255, atol=1e-6)


def test_what_is_scored_is_there_when_the_tagger_fails(tmp_path: Path) -> None:
    class Failing(Means):
        calls = 0

        def predict(self, prepared: np.ndarray) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("a cable was pulled")
            return super().predict(prepared)

    names = fill(tmp_path, bad=())
    parts: list[TaggedPictures] = []
    with pytest.raises(RuntimeError, match="cable"):
        tag_pictures(tmp_path, Failing(), batch_size=5, tagged=parts.append)
    assert [path.name for part in parts for path in part.paths] == names[:10]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1, 8, 8), "(2, 1, 8, 8), which is grey; a tagger takes (n, 3, H, W)"),
        ((2, 4, 8, 8), "(2, 4, 8, 8), which has transparency; a tagger takes"),
        ((3, 8, 8), "(3, 8, 8); a tagger takes"),
        ((2, 3, 1, 1), "pictures are 1 x 1 pixels"),
        ((2, 3, 8, 1), "pictures are 1 x 8 pixels"),
    ],
)
def test_tensors_of_another_shape(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(LatentEditError, match=re.escape(words)):
        Means().score(torch.zeros(shape))


def test_numbers_are_rounded_as_a_png_file_rounds_them() -> None:
    values = torch.linspace(-1.5, 1.5, 1001)
    bits = eight_bits(values[None, None, :, None].expand(1, 3, -1, 2))
    exact = ((values.double().numpy() + 1) * 127.5).clip(0, 255)
    assert np.abs(bits[0, 0, :, 0].numpy() - exact).max() <= 0.5 + 1e-4
    assert torch.equal(eight_bits(bits), bits) and torch.equal(eight_bits(bits.float() / 127.5 - 1), bits)
    broken = torch.zeros(3, 3, 4, 4)
    broken[1, 2, 3, 0] = float("nan")
    with pytest.raises(LatentEditError, match="picture 1 holds values that are not finite"):
        eight_bits(broken)
    assert Means().score(torch.zeros(0, 3, 4, 4)).shape == (0, 3)


def test_rows_of_a_run_are_decoded_as_they_were(tmp_path: Path) -> None:
    g = ToyGenerator()
    run = sample(g, tmp_path / "run", n=20, seed=30, shard_size=8, noise=5)
    seeds = [49, 31, 38, 30]
    expected = g.decode(g.sample_codes(seeds), noise=5)
    assert torch.allclose(pictures_of(run, g, seeds, batch_size=3), expected, atol=1e-6)
    for bad in ([29], [50], []):
        with pytest.raises(LatentEditError, match=r"holds seeds 30 \.\.\. 49"):
            pictures_of(run, g, bad)
    with pytest.raises(MismatchError):
        pictures_of(run, ToyGenerator(seed=4), seeds)


def test_and_with_their_content(tmp_path: Path) -> None:
    folder, g = tmp_path / "contents", ToyTranslator()
    folder.mkdir()
    for i in range(3):
        save(folder / f"{i}.png", np.full((16, 16, 3), 100 * i, np.uint8))
    run = sample(g, tmp_path / "run", n=12, contents=folder, styles_per_content=2)
    moved = folder.rename(tmp_path / "moved")
    content = torch.tensor([2, 0])[:, None] * 100 / 127.5 - 1
    expected = g.decode(g.sample_codes([5, 6]), content=content.repeat(1, 4).float())
    assert torch.allclose(pictures_of(run, g, [5, 6], contents=moved), expected, atol=1e-5)
    with pytest.raises(LatentEditError, match="content picture .* is missing"):
        pictures_of(run, g, [5])
