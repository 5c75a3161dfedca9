"""DFID against a plain implementation that holds everything at once; pairing, batches, mistakes."""

import numpy as np
import pytest
import scipy.linalg
import torch
from toy import ToyGenerator, ToyTranslator
from toy_features import Pool

from latentedit.errors import LatentEditError
from latentedit.metrics.augmentation import augment
from latentedit.metrics.domain_frechet import dfid, dfid_of_picture, style_seed
from latentedit.metrics.frechet_distance import FrechetStatistics


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def real():
    return torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def target(real):
    statistics = FrechetStatistics()
    statistics.update(Pool().features(real))
    return statistics


MOVES = {"original": lambda codes: codes, "shifted": lambda codes: codes + 0.5}


def test_a_plain_implementation_agrees(pictures, real, target):
    found = dfid(ToyTranslator(), Pool(), pictures, target, moves=MOVES, augmentations=60, seed=9, batch_size=7)
    generator, features = ToyTranslator(), Pool().features(real).double().numpy()
    for name, move in MOVES.items():
        wanted = []
        for i, picture in enumerate(pictures):
            content = generator.encode(augment(picture, range(60), seed=9, index=i))[0]
            codes = move(generator.sample_codes([style_seed(9, i, k) for k in range(60)]))
            x = Pool().features(generator.decode(codes, content=content)).double().numpy()
            root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(features.T)).real
            apart = np.square(x.mean(0) - features.mean(0)).sum()
            wanted.append(apart + np.trace(np.cov(x.T) + np.cov(features.T) - 2 * root))
        assert np.allclose(found.values[name], wanted, rtol=1e-6)
        assert found.means[name].value == pytest.approx(np.mean(wanted), rel=1e-6)
    gap = found.difference("shifted", "original")
    assert gap.value == pytest.approx(found.means["shifted"].value - found.means["original"].value)
    assert found.means["shifted"].value != pytest.approx(found.means["original"].value, rel=1e-3)


def test_pictures_can_be_done_one_by_one(pictures, target):
    whole = dfid(ToyTranslator(), Pool(), pictures, target, augmentations=20, seed=3)
    alone = dfid_of_picture(ToyTranslator(), Pool(), pictures[1], target, augmentations=20, seed=3, index=1)
    assert whole.values["original"][1] == pytest.approx(alone["original"], rel=1e-9)


class Watching(ToyTranslator):
    """Keeps what was decoded: codes and contents of every call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def decode(self, codes, *, content=None, noise="stored"):
        self.calls.append((codes.clone(), content.clone()))
        return super().decode(codes, content=content, noise=noise)


def test_never_more_than_a_batch_at_once(pictures, target):
    generator = Watching()
    dfid(generator, Pool(), pictures[:1], target, augmentations=30, batch_size=8)
    assert [len(codes) for codes, _ in generator.calls] == [8, 8, 8, 6]


def test_moves_share_contents_and_styles(pictures, target):
    generator = Watching()
    dfid_of_picture(generator, Pool(), pictures[0], target, moves=MOVES, augmentations=20, batch_size=10)
    for (codes, content), (shifted, same) in zip(generator.calls[::2], generator.calls[1::2], strict=True):
        assert torch.equal(content, same) and torch.allclose(shifted, codes + 0.5)
    assert not torch.allclose(generator.calls[0][0], generator.calls[2][0])


def test_batches_do_not_change_the_result(pictures, target):
    found = [
        dfid_of_picture(ToyTranslator(), Pool(), pictures[0], target, moves=MOVES, augmentations=50, batch_size=size)
        for size in (1, 7, 50, 64)
    ]
    for other in found[1:]:
        assert all(other[name] == pytest.approx(found[0][name], rel=1e-6) for name in MOVES)
    other_seed = dfid_of_picture(ToyTranslator(), Pool(), pictures[0], target, augmentations=50, seed=1)
    assert other_seed["original"] != pytest.approx(found[0]["original"], rel=1e-4)


def test_threads_do_not_change_the_result(pictures, target, threads):
    one = dfid_of_picture(ToyTranslator(), Pool(), pictures[0], target, augmentations=50)["original"]
    torch.set_num_threads(1)
    assert one == pytest.approx(
        dfid_of_picture(ToyTranslator(), Pool(), pictures[0], target, augmentations=50)["original"], rel=1e-6
    )


def test_style_seeds_of_a_run_are_all_different():
    seeds = [style_seed(7, index, k) for index in (0, 1, 2, 4095) for k in (0, 1, 999, 2**20 - 1)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0 and max(seeds) < 2**32
    assert style_seed(2**32 - 1, 0, 3) == 2  # wraps around
    assert style_seed(3, 2, 5) == 3 + 2 * 2**20 + 5


def test_content_may_have_any_shape(pictures, target):
    class Mapped(ToyTranslator):
        """Content as a map (n, 4, 1, 1)."""

        def encode(self, images):
            content, z = super().encode(images)
            return content[..., None, None], z

        def decode(self, codes, *, content=None, noise="stored"):
            return super().decode(codes, content=content[..., 0, 0], noise=noise)

    found = dfid_of_picture(Mapped(), Pool(), pictures[0], target, augmentations=20)
    plain = dfid_of_picture(ToyTranslator(), Pool(), pictures[0], target, augmentations=20)
    assert found["original"] == pytest.approx(plain["original"], rel=1e-9)


def test_differences_are_paired(pictures, target):
    found = dfid(ToyTranslator(), Pool(), pictures, target, moves=MOVES, augmentations=30)
    gap = found.difference("shifted")
    each = found.values["shifted"] - found.values["original"]
    assert gap.value == pytest.approx(each.mean()) and min(each) <= gap.low <= gap.value <= gap.high <= max(each)
    assert found.difference("original").value == 0
    with pytest.raises(LatentEditError, match="not measured of 'bent'; choose of original, shifted"):
        found.difference("bent")


def test_pictures_are_read_one_at_a_time(pictures, target):
    read = []

    class Lazy(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    seen = []
    lazily = dfid(
        ToyTranslator(), Pool(), Lazy(pictures), target, augmentations=10, batch_size=5,
        progress=lambda done, total: seen.append((done, total, len(read))),
    )  # fmt: skip
    assert read == [0, 1, 2]
    assert seen == [(5, 30, 1), (10, 30, 1), (15, 30, 2), (20, 30, 2), (25, 30, 3), (30, 30, 3)]
    at_once = dfid(ToyTranslator(), Pool(), pictures, target, augmentations=10)
    assert np.allclose(lazily.values["original"], at_once.values["original"], rtol=1e-9)


def test_mistakes_of_pictures(pictures, target):
    for wrong, message in (
        (pictures[:, :, :8], "square"),
        (pictures[:, :2], "square"),
        (pictures * torch.nan, "no finite numbers"),
        (pictures[:0], "at least one"),
    ):
        with pytest.raises(LatentEditError, match=message):
            dfid(ToyTranslator(), Pool(), wrong, target, augmentations=4)


def test_mistakes_are_found_before_anything_is_decoded(pictures, target):
    empty, narrow = FrechetStatistics(), FrechetStatistics()
    narrow.update(torch.rand(9, 5))
    for statistics, numbers, message in (
        (target, {"augmentations": 1}, "two or more"),
        (target, {"augmentations": 2**20 + 1}, "up to 1048576"),
        (target, {"batch_size": 0}, "batch_size is 0"),
        (target, {"seed": -1}, "out of range"),
        (target, {"seed": 2**32}, "out of range"),
        (target, {"moves": {}}, "no move"),
        (empty, {}, "has 0 pictures"),
    ):
        generator = Watching()
        with pytest.raises(LatentEditError, match=message) as caught:
            dfid(generator, Pool(), pictures, statistics, **numbers)
        assert not generator.calls and "\n" not in str(caught.value)
    generator = Watching()
    with pytest.raises(LatentEditError, match="pool:1 makes 48 features and the target has 5"):
        dfid(generator, Pool(), pictures, narrow, batch_size=4)
    assert len(generator.calls) == 1
    with pytest.raises(LatentEditError, match="image-to-image"):
        dfid(ToyGenerator(), Pool(), pictures, target)


def test_a_move_that_breaks_codes_is_told(pictures, target):
    for move, message in ((lambda w: w[:, :3], "shape"), (lambda w: w * torch.nan, "not finite|NaN")):
        with pytest.raises(LatentEditError, match=message):
            dfid(ToyTranslator(), Pool(), pictures, target, moves={"bad": move}, augmentations=4)
