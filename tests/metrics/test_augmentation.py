"""Augmented pictures: numbered copies, kornia's geometry by another resampler, and the stated shares and ranges."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from latentedit.errors import LatentEditError
from latentedit.metrics import augmentation
from latentedit.metrics.augmentation import affine, augment

MIDDLE = np.full(5, 0.5)
SIZE = 64
COS, SIN = math.cos(math.radians(20)), math.sin(math.radians(20))


def picture(size=SIZE, seed=1):
    """A smooth random picture (3, size, size) in [-1, 1]."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0].clamp(-1, 1)


def test_a_copy_depends_on_its_number_alone():
    one = picture()
    together = augment(one, range(12), seed=4, index=2)
    assert together.shape == (12, 3, SIZE, SIZE) and together.abs().max() <= 1 + 1e-6
    assert torch.equal(together[5:6], augment(one, [5], seed=4, index=2))
    assert torch.equal(together[[7, 3]], augment(one, [7, 3], seed=4, index=2))
    for other in ({"seed": 5, "index": 2}, {"seed": 4, "index": 3}, {"seed": 2, "index": 4}):
        assert not torch.allclose(together[5:6], augment(one, [5], **other), atol=0.1)
    assert not torch.allclose(together[5], together[6], atol=0.1)


def test_global_random_numbers_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    augment(picture(), range(3))
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("size", [16, 64, 100, 256])
def test_any_resolution_keeps_its_size_and_type(size):
    for dtype in (torch.float32, torch.float64):
        found = augment(picture(size).to(dtype), range(4))
        assert found.shape == (4, 3, size, size) and found.dtype == dtype and torch.isfinite(found).all()
    assert augment(picture(size), []).shape == (0, 3, size, size)


def kornia_matrix(u, size):
    """kornia's ``get_affine_matrix2d`` in pixels, (3, 3): a place in the picture to one in the copy, x first."""
    angle, scale = math.radians(20 * (2 * u[0] - 1)), 0.8 + 0.4 * u[1]
    center = size / 2 - 0.5
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = -center, center
    turn = np.diag([scale, scale, 1.0])
    turn[:2, :2] = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shear, shift = np.eye(3), np.eye(3)
    shear[0, 1] = -math.tan(math.radians(0.15 * (2 * u[4] - 1)))
    shift[:2, 2] = 0.1 * size * (2 * u[2:4] - 1)
    return shift @ back @ turn @ shear @ there


def by_scipy(one, u):
    """One channel (S, S) under the affine map, by scipy's bilinear resampler."""
    inverse = np.linalg.inv(kornia_matrix(u, len(one)))[[1, 0]][:, [1, 0, 2]]  # rows first
    return ndimage.affine_transform(one, inverse[:, :2], inverse[:, 2], order=1, mode="grid-constant", cval=0)


def by_torch(one, u):
    grid = F.affine_grid(affine(u)[None], [1, 1, *one.shape], align_corners=False)
    return F.grid_sample(torch.from_numpy(one)[None, None], grid, align_corners=False)[0, 0].numpy()


def test_scipy_agrees_on_the_affine_map():
    one = picture()[0].double().numpy()
    random = np.random.default_rng(0)
    for _ in range(10):
        u = random.random(5)
        assert np.abs(by_torch(one, u) - by_scipy(one, u)).max() < 1e-9
        wrong = u.copy()
        wrong[0] = 1 - u[0]  # turned the other way
        assert np.abs(by_torch(one, u) - by_scipy(one, wrong)).max() > 0.05


@pytest.mark.parametrize(
    ("place", "value", "matrix"),
    [
        (0, 1.0, [[COS, -SIN, 0], [SIN, COS, 0]]),
        (1, 1.0, [[1 / 1.2, 0, 0], [0, 1 / 1.2, 0]]),
        (1, 0.0, [[1 / 0.8, 0, 0], [0, 1 / 0.8, 0]]),
        (2, 1.0, [[1, 0, -0.2], [0, 1, 0]]),  # a tenth of a picture that is two wide
        (3, 0.0, [[1, 0, 0], [0, 1, 0.2]]),
        (4, 1.0, [[1, math.tan(math.radians(0.15)), 0], [0, 1, 0]]),
    ],
)  # fmt: skip
def test_each_number_does_one_thing(place, value, matrix):
    u = MIDDLE.copy()
    u[place] = value
    assert np.allclose(affine(u).numpy(), matrix, atol=1e-12)
    assert np.allclose(affine(MIDDLE).numpy(), np.eye(3)[:2], atol=1e-12)


def test_whole_copies_are_made_of_these_steps(monkeypatch):
    """The order affine, enlarge, crop, mirror, by scipy and plain slicing, with the copy's own random numbers."""
    one = picture()
    found = augment(one, range(8), seed=7, index=1)
    for k in range(8):
        u = np.random.default_rng([7, 1, k]).random(9)
        moved = one.double().numpy()
        if u[0] < 0.5:
            moved = np.stack([by_scipy(channel, u[1:6]) for channel in moved])
        large = round(SIZE * 286 / 256)
        zoomed = F.interpolate(torch.from_numpy(moved)[None], (large, large), mode="bilinear", align_corners=False)[0]
        top, left = (int(v * (large - SIZE + 1)) for v in u[6:8])
        wanted = zoomed[:, top : top + SIZE, left : left + SIZE]
        wanted = wanted.flip(2) if u[8] < 0.5 else wanted
        assert torch.allclose(found[k].double(), wanted, atol=1e-4)
    monkeypatch.setattr(augmentation, "ENLARGED", 1.0)
    assert not torch.allclose(augment(one, range(8), seed=7, index=1), found, atol=0.05)


def test_half_are_mirrored_and_half_are_turned():
    ramp = torch.linspace(-1, 1, SIZE).expand(3, SIZE, SIZE)
    copies = augment(ramp, range(600))
    mirrored = (copies[:, 0, 32, 24] > copies[:, 0, 32, 40]).float().mean()
    assert 0.44 <= mirrored <= 0.56  # three standard errors
    upright = ((copies[:, 0] - copies[:, 0, :1]).abs().amax((1, 2)) < 1e-5).float().mean()
    assert 0.44 <= upright <= 0.56


def test_what_comes_from_outside_is_grey():
    white = torch.ones(3, SIZE, SIZE)
    corners = augment(white, range(300))[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() >= 0 and (corners < 0.01).any() and (corners > 0.99).any()


def test_crops_reach_every_place():
    """The crop's corner is any of the nine whole pixels from 0 to 72 - 64."""
    row = torch.arange(SIZE).float().expand(3, SIZE, SIZE) / SIZE
    enlarged = F.interpolate(row[None], (72, 72), mode="bilinear", align_corners=False)[0, 0, 0]
    places = set()
    for copy in augment(row, range(400)):
        here = copy[0].flip(1) if copy[0, 0, 0] > copy[0, 0, -1] else copy[0]
        apart = [(here[32] - enlarged[left : left + SIZE]).abs().max() for left in range(9)]
        if min(apart) < 1e-6:  # not turned
            places.add(int(np.argmin(apart)))
    assert round(SIZE * 286 / 256) == 72 and places == set(range(9))


@pytest.mark.parametrize(
    ("made", "numbers", "message"),
    [
        (torch.zeros(3, 8, 9), {}, r"shape \(3, 8, 9\); it must be a square"),
        (torch.zeros(1, 3, 8, 8), {}, "square"),
        (torch.zeros(4, 8, 8), {}, "square"),
        (torch.zeros(3, 0, 0), {}, "square"),
        (torch.full((3, 8, 8), torch.nan), {}, "no finite numbers"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), {}, "no finite numbers"),
        (torch.zeros(3, 8, 8), {"seed": -1}, "negative"),
        (torch.zeros(3, 8, 8), {"index": -1}, "negative"),
    ],
)
def test_mistakes(made, numbers, message):
    with pytest.raises(LatentEditError, match=message) as caught:
        augment(made, [0], **numbers)
    assert "\n" not in str(caught.value)
    with pytest.raises(LatentEditError, match="negative"):
        augment(torch.zeros(3, 8, 8), [0, -1])
