"""Resizing against TensorFlow, the deepdanbooru package and the preparation fixture."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conformance import FIXTURES
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.taggers.resizing import area_resize, centre, fitted_size

PREPARED = FIXTURES / "deepdanbooru_preprocess"
SOURCES = [(64, 64), (60, 40), (41, 63), (300, 97), (97, 301), (700, 523), (130, 129), (2, 2), (17, 512)]


def pictures(height: int, width: int, n: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def prepared(x: Tensor, height: int, width: int) -> Tensor:
    """Pictures (n, 3, H, W) as DeepDanbooru's network takes them, (n, 3, height, width) in [0, 1]."""
    return centre(area_resize(x, *fitted_size(x.shape[2], x.shape[3], height, width)), height, width) / 255


def rows(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("case", "abcde")
def test_the_fixture_is_reproduced(case):
    manifest = json.loads((PREPARED / "manifest.json").read_text())["cases"][case]
    height, width = manifest["height"], manifest["width"]
    arrays = np.load(PREPARED / "io.npz")
    source, expected = rows(arrays[f"in_{case}"]), rows(arrays[f"out_resized_{case}"])
    fitted = fitted_size(source.shape[2], source.shape[3], height, width)
    assert fitted == expected.shape[2:]
    assert (area_resize(source, *fitted) - expected).abs().max() < 255e-3
    padded = rows(arrays[f"out_padded_{case}"])
    assert (prepared(source, height, width) - padded).abs().max() < 1e-4
    if case in "ab":  # narrow: the same moved by a whole pixel is far away
        assert (prepared(source, height, width).roll((1, 1), (2, 3)) - padded).abs().max() > 0.1


@pytest.mark.parametrize("target", [(128, 128), (299, 299), (512, 512), (96, 130)])
def test_the_package_and_tensorflow_agree(target):
    import deepdanbooru as dd
    import tensorflow as tf

    for height, width in SOURCES:
        x = pictures(height, width)
        resized = tf.image.resize(
            x[0].permute(1, 2, 0).numpy(), target, tf.image.ResizeMethod.AREA, preserve_aspect_ratio=True
        ).numpy()
        assert fitted_size(height, width, *target) == resized.shape[:2]
        assert (area_resize(x, *resized.shape[:2]) - rows(resized)).abs().max() < 1e-4 * 255
        expected = dd.image.transform_and_pad_image(resized, target[1], target[0]) / 255
        assert (prepared(x, *target) - rows(expected)).abs().max() < 5e-5


def test_sizes_are_tensorflows():
    import tensorflow as tf

    draw = np.random.default_rng(0)
    for height, width in draw.integers(2, 900, (60, 2)):
        for target in ((512, 512), (299, 299), (448, 320)):
            grey = tf.zeros((height, width, 1))
            expected = tf.image.resize(grey, target, "nearest", preserve_aspect_ratio=True).shape[:2]
            if 0 not in expected:
                assert fitted_size(int(height), int(width), *target) == tuple(expected)


def test_halves_are_rounded_to_even_numbers():
    assert fitted_size(2, 5, 5, 5) == (2, 5)
    assert fitted_size(4, 5, 50, 25) == (20, 25)
    assert fitted_size(6, 4, 7, 9) == (7, 5)  # 4.67
    assert fitted_size(10, 7, 5, 5) == (5, 4)  # 3.5
    assert fitted_size(10, 5, 5, 5) == (5, 2)  # 2.5


def test_a_box_average_is_the_mean_of_what_it_covers():
    x = pictures(6, 9, n=2)
    thirds = x.double().reshape(2, 3, 2, 3, 3, 3).mean((3, 5))
    assert (area_resize(x, 2, 3) - thirds).abs().max() < 1e-4
    line = torch.tensor([0.0, 30.0, 60.0]).view(1, 1, 1, 3)
    assert torch.allclose(area_resize(line, 1, 2).flatten(), torch.tensor([10.0, 50.0]))  # shares 1 and 1/2
    assert torch.allclose(area_resize(line, 1, 6).flatten(), torch.tensor([0.0, 0, 30, 30, 60, 60]))
    assert torch.equal(area_resize(x, 6, 9), x.float())
    for height, width in SOURCES:
        x = pictures(height, width)
        assert (area_resize(x, 50, 61).double().mean() - x.double().mean()).abs() < 1e-3


def test_torchs_own_area_is_another_one():
    x = pictures(41, 63).float()
    assert (F.interpolate(x, (20, 31), mode="area") - area_resize(x, 20, 31)).abs().max() > 10


def test_a_row_does_not_depend_on_its_batch():
    x = pictures(75, 50, n=5)
    assert torch.equal(prepared(x, 64, 64)[3:4], prepared(x[3:4], 64, 64))


def test_the_frame_repeats_edges_and_odd_differences_blur():
    line = torch.tensor([10.0, 20.0, 40.0]).view(1, 1, 1, 3)
    assert centre(line, 1, 7).flatten().tolist() == [10, 10, 10, 20, 40, 40, 40]
    assert centre(line, 1, 6).flatten().tolist() == [10, 10, 15, 30, 40, 40]
    assert centre(line, 3, 3).flatten().tolist() == [10, 20, 40] * 3
    assert centre(line, 1, 3) is line


@pytest.mark.parametrize(("height", "width"), [(2, 3000), (3000, 2), (2, 2048)])
def test_pictures_that_would_lose_a_side_are_refused(height, width):
    with pytest.raises(LatentEditError, match=f"{width} x {height} pixels.*crop them") as caught:
        fitted_size(height, width, 512, 512)
    assert "\n" not in str(caught.value)
    assert min(fitted_size(height // 2 + 1, width // 2 + 1, 512, 512)) == 1
