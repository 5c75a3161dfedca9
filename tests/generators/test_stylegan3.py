"""StyleGAN3's network against the official outputs, and against a slow, literal version of the published steps."""

from __future__ import annotations

import math
from pathlib import Path

import conformance
import pytest
import torch
import torch.nn.functional as F
from stylegan3_layers import Spec, configuration, tensors_of
from torch import Tensor

from latentedit.generators.family import FileGenerator
from latentedit.generators.networks.stylegan3 import (
    BLOCK,
    Resample,
    Settings,
    StyleGAN3,
    geometry,
    layer_names,
)
from latentedit.generators.nvlabs import FAMILY

FIXTURES = {"stylegan3_t": Settings(), "stylegan3_pkl": Settings(conv_clamp=4.0)}


def resampled(x: Tensor, taps: Tensor, up: int, down: int, pads: tuple[int, int], gain: float) -> Tensor:
    """Zeros in between, padding, a convolution with all taps in two dimensions, every ``down``-th sample."""
    n, c, h, w = x.shape
    sparse = x.new_zeros(n, c, h * up, w * up)
    sparse[..., ::up, ::up] = x
    sparse = F.pad(sparse, (*pads, *pads))
    kernel = (torch.outer(taps, taps) if taps.ndim == 1 else taps).flip(0, 1) * gain
    return F.conv2d(sparse, kernel.expand(c, 1, -1, -1), groups=c)[..., ::down, ::down]


def literal(tensors: dict[str, Tensor], codes: Tensor, specs: list[Spec], clamp: float) -> Tensor:
    """The published network step by step in float64; codes (n, layers, dim)."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    first, *others = codes.double().unbind(1)
    x = torch.cat([literal_input(t, w[None], specs[0]) for w in first])
    for spec, w in zip(specs, others, strict=True):
        name, picture = f"synthesis.{spec.name}", spec is specs[-1]
        weight = t[f"{name}.weight"]
        style = w @ t[f"{name}.affine.weight"].t() / math.sqrt(w.shape[1]) + t[f"{name}.affine.bias"]
        outs = []
        for row, s in zip(x, style, strict=True):
            if picture:
                k = weight * s[None, :, None, None] / math.sqrt(weight[0].numel())
            else:
                k = weight * s[None, :, None, None]
                k = k / k.square().sum((1, 2, 3), keepdim=True).sqrt()
            k = k * t[f"{name}.magnitude_ema"].rsqrt()
            outs.append(F.conv2d(row[None], k, padding=weight.shape[2] - 1))
        x = torch.cat(outs) + t[f"{name}.bias"][:, None, None]
        if not picture:
            rate = 2 * max(spec.rates)
            up, down = rate // spec.rates[0], rate // spec.rates[1]
            total = (spec.sizes[1] - 1) * down + 1 - (spec.sizes[0] + weight.shape[2] - 1) * up + 6 * (up + down) - 2
            before = (total + up) // 2
            x = resampled(x, t[f"{name}.up_filter"], up, 1, (before, total - before), up**2)
            x = F.leaky_relu(x, 0.2) * math.sqrt(2)
        x = x.clamp(-clamp, clamp)
        if not picture:
            x = resampled(x, t[f"{name}.down_filter"], 1, down, (0, 0), 1)
    return x * 0.25


def literal_input(t: dict[str, Tensor], w: Tensor, spec: Spec) -> Tensor:
    """Fourier features of one code (1, dim), by a grid of points that is turned and shifted."""
    name, size, rate = "synthesis.input", spec.sizes[0], spec.rates[0]
    r = (w @ t[f"{name}.affine.weight"].t() / math.sqrt(w.shape[1]) + t[f"{name}.affine.bias"])[0]
    cos, sin, x, y = (r / r[:2].norm()).tolist()
    turn = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)
    shift = torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=torch.float64)
    whole = turn @ shift @ t[f"{name}.transform"]
    line = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) / rate
    points = torch.stack([line.expand(size, size), line[:, None].expand(size, size), torch.ones(size, size)], -1)
    turned = points.double() @ whole.t()  # (h, w, 3)
    waves = torch.sin(2 * math.pi * (turned[..., :2] @ t[f"{name}.freqs"].t() + t[f"{name}.phases"]))
    norms = (t[f"{name}.freqs"] @ whole[:2, :2]).norm(dim=1)
    waves = waves * (1 - (norms - 2) / (rate / 2 - 2)).clamp(0, 1)
    return (waves @ t[f"{name}.weight"].t() / math.sqrt(waves.shape[2])).permute(2, 0, 1)[None]


def generator(tensors: dict[str, Tensor], settings: Settings | None = None) -> FileGenerator:
    network = StyleGAN3(tensors, settings or Settings())
    return FileGenerator("nvlabs", network, tensors, device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("threads", [1, 2])
def test_official_codes_and_pictures(name: str, threads: int) -> None:
    arrays, official = conformance.arrays(name), generator(conformance.state_dict(name), FIXTURES[name])
    z = torch.from_numpy(arrays["in_z"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        codes = official.map(z)
        assert conformance.largest(codes, arrays["out_w"]) < 1e-5
        assert conformance.largest(official.map(z, truncation=0.7), arrays["out_w_psi0.7"]) < 1e-5
        wanted = arrays["out_image_psi1"]
        assert conformance.largest(official.decode(codes[:1]), wanted[:1]) < 1e-5
        four = official.decode(codes[[0, 1, 1, 0]])
        assert conformance.largest(four, wanted[[0, 1, 1, 0]]) < 1e-5
        assert conformance.largest(four, wanted[[1, 0, 0, 1]]) > 1e-2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", FIXTURES)
def test_official_truncation_slots_and_transform(name: str) -> None:
    arrays, tensors = conformance.arrays(name), conformance.state_dict(name)
    official, z = generator(tensors, FIXTURES[name]), torch.from_numpy(arrays["in_z"])
    assert conformance.largest(official.decode(official.map(z, truncation=0.7)), arrays["out_image_psi0.7"]) < 1e-5
    some = official.map(z[:1], truncation=0.7, truncation_layers=2)
    assert some.shape == (1, 16, official.dim)
    assert conformance.largest(official.decode(some), arrays["out_image_psi0.7_cutoff2"]) < 1e-5
    each = torch.from_numpy(arrays["in_wplus"])
    assert conformance.largest(official.decode(each), arrays["out_image_wplus"]) < 1e-5
    assert conformance.largest(official.decode(each.flip(1)), arrays["out_image_wplus"]) > 1e-2
    moved = generator(
        {**tensors, "synthesis.input.transform": torch.from_numpy(arrays["in_transform"])}, FIXTURES[name]
    )
    codes = official.map(z[:1])
    assert conformance.largest(moved.decode(codes), arrays["out_image_transformed"]) < 1e-5
    assert conformance.largest(official.decode(codes), arrays["out_image_transformed"]) > 1e-2


def test_the_settings_matter() -> None:
    arrays, tensors = conformance.arrays("stylegan3_pkl"), conformance.state_dict("stylegan3_pkl")
    codes = torch.from_numpy(arrays["out_w"])
    for wrong in (
        Settings(), Settings(conv_clamp=None), Settings(conv_clamp=4.0, output_scale=0.5),
        Settings(conv_clamp=4.0, first_cutoff=4.0),
    ):  # fmt: skip
        assert conformance.largest(generator(tensors, wrong).decode(codes), arrays["out_image_psi1"]) > 1e-3


def test_noise_is_ignored_and_batches_agree() -> None:
    made = generator(tensors_of(configuration(32, 512, 8)))
    codes = made.sample_codes(range(5))
    pictures = made.decode(codes)
    assert torch.equal(pictures, made.decode(codes, noise="none"))
    assert torch.equal(pictures, made.decode(codes, noise=3))
    assert (torch.cat([made.decode(code[None]) for code in codes]) - pictures).abs().max() < 1e-5


def test_the_literal_version_is_the_official_one() -> None:
    arrays, tensors = conformance.arrays("stylegan3_pkl"), conformance.state_dict("stylegan3_pkl")
    codes = torch.from_numpy(arrays["out_w"])[:, None].expand(-1, 16, -1)
    specs = configuration(32, 512, 16)
    assert conformance.largest(literal(tensors, codes, specs, 4.0), arrays["out_image_psi1"]) < 1e-5
    for name, taps in tensors_of(specs).items():
        if name.endswith("_filter"):
            assert torch.allclose(taps, tensors[name], atol=1e-7), name


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize(("resolution", "layers"), [(16, 14), pytest.param(64, 8, marks=pytest.mark.slow)])
def test_other_sizes_and_depths(resolution: int, layers: int, radial: bool) -> None:
    specs = configuration(resolution, 512, 12, layers)
    tensors = tensors_of(specs, radial=radial, dim=8, z_dim=6, depth=3)
    made = generator(tensors)
    assert (made.resolution, made.dim, made.z_dim) == (resolution, 8, 6)
    assert made.layers == ("input", *(spec.name for spec in specs))
    assert [slot.resolution for slot in made.slots[1:]] == [spec.sizes[1] for spec in specs]
    assert [slot.width for slot in made.slots] == [4, *(spec.channels[0] for spec in specs)]
    codes = torch.randn(2, layers + 2, 8, generator=torch.Generator().manual_seed(1))
    pictures = made.decode(codes)
    assert pictures.shape == (2, 3, resolution, resolution)
    wanted = literal(tensors, codes, specs, 256.0)
    assert (pictures - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_a_square_filter_that_is_a_product_is_the_separable_one() -> None:
    specs = configuration(64, 512, 12, 8)
    for radial in (False, True):
        tensors = tensors_of(specs, radial=radial)
        rows = {k: v for k, v in tensors_of(specs).items() if k.endswith("down_filter")}
        squares = {name: torch.outer(taps, taps) for name, taps in rows.items()}
        codes = torch.randn(1, 10, 16, generator=torch.Generator().manual_seed(2))
        separable, square = (generator({**tensors, **taps}).decode(codes) for taps in (rows, squares))
        assert (separable - square).abs().max() < 1e-5
        if radial:
            assert (generator(tensors).decode(codes) - square).abs().max() > 1e-3


def test_radial_filters_sit_where_the_sampling_is_not_critical() -> None:
    filters = {k: v.ndim for k, v in tensors_of(configuration(256, 256, 8), radial=True).items() if "down_f" in k}
    assert list(filters.values()) == [2] * 12 + [1] * 2


OFFICIAL = {
    ("t", 1024): "36_512 36_512 52_512 52_512 84_512 148_512 148_512 276_323 276_203 532_128 1044_81 1044_51 1044_32 "
    "1024_32 1024_3",
    ("r", 1024): "36_1024 36_1024 52_1024 52_1024 84_1024 148_1024 148_1024 276_645 276_406 532_256 1044_161 1044_102 "
    "1044_64 1024_64 1024_3",
    ("t", 256): "36_512 36_512 36_512 52_512 52_512 84_512 84_512 148_512 148_512 148_362 276_256 276_181 276_128 "
    "256_128 256_3",
    ("r", 256): "36_1024 36_1024 36_1024 52_1024 52_1024 84_1024 84_1024 148_1024 148_1024 148_724 276_512 276_362 "
    "276_256 256_256 256_3",
}  # fmt: skip
PRINTED = {("r", 1024): (15_093_151, 5_600)}  # parameters and buffers that the official training code prints


@pytest.mark.parametrize("config", OFFICIAL)
def test_official_configurations(config: tuple[str, int]) -> None:
    radial, resolution = config[0] == "r", config[1]
    specs = configuration(resolution, 32768 << radial, 512 << radial)
    assert [spec.name.partition("_")[2] for spec in specs] == OFFICIAL[config].split()
    tensors = tensors_of(specs, radial=radial, dim=512, z_dim=512)
    network = StyleGAN3(tensors, Settings())
    assert (network.resolution, len(network.slots), network.z_dim) == (resolution, 16, 512)
    buffers = ("freqs", "phases", "transform", "filter", "ema", "w_avg")
    held = [sum(t.numel() for name, t in tensors.items() if name.endswith(buffers) == is_) for is_ in (False, True)]
    assert tuple(held) == PRINTED.get(config, tuple(held))


def test_geometry_is_that_of_the_official_layers() -> None:
    # Up, down, padding in front: attributes of the layers in the official pickle.
    assert geometry(36, 36, 3, 12, 12, 6)[:2] == (2, 2)
    assert geometry(36, 36, 3, 12, 12, 6).before == 9
    assert geometry(36, 52, 3, 24, 12, 6)[:2] == (4, 2)
    assert geometry(36, 52, 3, 24, 12, 6).before == -6
    assert geometry(52, 32, 3, 12, 12, 6).before == -11
    with pytest.raises(ValueError, match="no multiples"):
        geometry(36, 36, 3, 12, 12, 5)


@pytest.mark.parametrize(
    ("up", "down", "before"), [(1, 1, 0), (2, 1, 9), (4, 1, -6), (1, 2, 0), (2, 3, -31), (3, 2, 40)]
)
def test_resampling_by_matrices(up: int, down: int, before: int) -> None:
    taps, x = torch.randn(12), torch.randn(2, 3, 70, 70)
    after = 6 - before
    wanted = resampled(x, taps, up, down, (before, after), 1)
    out = wanted.shape[-1]
    assert out % BLOCK  # the last block is a part of one
    got = Resample(taps, 70, out, up=up, down=down, before=before)(x)
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (Resample(taps.flip(0), 70, out, up=up, down=down, before=before)(x) - wanted).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_neither_overflows_nor_drifts(dtype: torch.dtype) -> None:
    tensors = tensors_of(configuration(32, 2048, 64))
    for name in tensors:
        if ".L" in name and ".L14" not in name and ("weight" in name or "affine" in name):
            tensors[name] = tensors[name] * 300  # demodulation takes it out again, if nothing is lost before
    network = StyleGAN3(tensors, Settings())
    half = FileGenerator("nvlabs", network, tensors, device=torch.device("cpu"), dtype=dtype)
    full = generator(tensors)
    codes = full.sample_codes(range(2))
    wanted = full.decode(codes)
    scale = wanted.abs().max()
    assert 0.1 < scale < 60  # nothing is clamped
    assert (half.decode(codes) - wanted).abs().max() < (0.02 if dtype == torch.float16 else 0.15) * scale
    assert half.style_weights().keys() == full.style_weights().keys()


def test_gradients_reach_the_codes() -> None:
    network = StyleGAN3(tensors_of(configuration(32, 256, 8)), Settings())
    codes = torch.randn(1, 16, 16, requires_grad=True)
    network.synthesis(codes, None, "stored").square().mean().backward()
    assert codes.grad is not None and (codes.grad.abs().amax(2) > 0).all()


def test_half_stored_weights(tmp_path: Path) -> None:
    arrays = conformance.arrays("stylegan3_t")
    path = conformance.checkpoint("stylegan3_t", tmp_path, half=True)
    half = FAMILY(str(path), {}, device=torch.device("cpu"), dtype=torch.float32)
    pictures = half.decode(half.map(torch.from_numpy(arrays["in_z"])))
    assert 1e-6 < conformance.largest(pictures, arrays["out_image_psi1"]) < conformance.HALF_TOLERANCE


def test_missing_and_wrong_tensors_are_named() -> None:
    tensors = tensors_of(configuration(32, 256, 8), labels=2)
    for name in tensors:
        if name == "mapping.w_avg" or name.endswith("_filter"):
            continue  # without a mean one is measured; without a filter the factor is 1
        with pytest.raises(ValueError, match=f"{name} is missing"):
            StyleGAN3({k: v for k, v in tensors.items() if k != name}, Settings())
    weight = tensors["synthesis.L5_52_8.weight"]
    for wrong, message in (
        ({"synthesis.L5_52_8.weight": weight[:, :5]}, "L5_52_8.weight has shape"),
        ({"synthesis.L5_52_8.bias": torch.zeros(5)}, "L5_52_8.bias has shape"),
        ({"synthesis.L5_52_8.magnitude_ema": torch.tensor(0.0)}, "magnitude_ema is 0"),
        ({"synthesis.L5_52_8.up_filter": torch.ones(12, 12)}, "only down-sampling"),
        ({"synthesis.L5_52_8.down_filter": torch.ones(13)}, "multiples of filter_size"),
        ({"synthesis.L5_52_8.down_filter": torch.ones(12, 6)}, "a row or a square"),
        ({"synthesis.L15_99999999_8.weight": weight}, "pixels a side"),
        ({"synthesis.L5_52_9.weight": weight}, "the same number"),
        ({"synthesis.head.weight": weight}, "no part of StyleGAN3"),
        ({"mapping.fc1.weight": torch.zeros(9, 16), "mapping.fc1.bias": torch.zeros(9)}, "codes of 9 numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            StyleGAN3({**tensors, **wrong}, Settings())
    with pytest.raises(ValueError, match="first_cutoff"):
        StyleGAN3(tensors, Settings(first_cutoff=9))
    assert [layer.size for layer in layer_names(tensors)][:6] == [36, 36, 36, 36, 36, 52]
