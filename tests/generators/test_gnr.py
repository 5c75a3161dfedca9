"""GANs N' Roses: against the official outputs, and against the usual way to write the network."""

from __future__ import annotations

from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conformance import HALF_TOLERANCE, TOLERANCE, largest
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.decode import Usual, generator_of, random_gnr
from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import Generator
from latentedit.generators.gnr import FAMILY, GNRGenerator
from latentedit.pictures.images import list_pictures, read_picture

NAME = "gansnroses"
ARRAYS = conformance.arrays(NAME)
PICTURES = torch.from_numpy(ARRAYS["in_image_u8"]).float() / 127.5 - 1


def official(name: str) -> Tensor:
    return torch.from_numpy(ARRAYS[name])


def load(path: Path) -> GNRGenerator:
    return FAMILY(str(path), {}, device=torch.device("cpu"), dtype=torch.float32)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gnr")


@pytest.fixture(scope="module")
def generator(folder) -> GNRGenerator:
    return load(conformance.checkpoint(NAME, folder))


def test_encoding_and_decoding_are_the_official_ones(generator, threads):
    assert isinstance(generator, Generator) and generator.resolution == 64
    content, z = generator.encode(PICTURES)
    assert largest(content, ARRAYS["out_content"]) <= TOLERANCE and largest(z, ARRAYS["out_style_code"]) <= TOLERANCE
    codes = generator.map(official("in_z"))
    assert largest(codes, ARRAYS["out_w"]) <= TOLERANCE
    expected = ARRAYS["out_image_z"]
    assert largest(generator.decode(codes[:1], content=content[:1]), expected[:1]) <= TOLERANCE
    four = generator.decode(codes.repeat(2, 1), content=content.repeat(2, 1, 1, 1))
    assert largest(four, np.concatenate([expected] * 2)) <= TOLERANCE
    assert largest(generator.decode(generator.map(z[:1]), content=content[:1]), ARRAYS["out_image_self"]) <= TOLERANCE
    assert largest(generator.decode(codes, content=content.flip(0)), expected) > 0.1
    assert largest(generator.decode(codes.flip(0), content=content), expected) > 0.1


def test_one_content_serves_all_codes_and_codes_mix_and_truncate(generator):
    content, codes = official("out_content")[:1], generator.map(official("in_z"))
    both = generator.decode(codes, content=content)
    assert largest(both[1:], ARRAYS["out_image_content0_z1"]) <= TOLERANCE
    mixed = 0.25 * codes[:1] + 0.75 * codes[1:]
    assert largest(generator.decode(mixed, content=content), ARRAYS["out_image_interp_0.25"]) <= TOLERANCE
    mean = generator.map(official("in_z_for_mean")).mean(0, keepdim=True)
    assert largest(mean, ARRAYS["in_mean_w"]) <= TOLERANCE
    cut = mean + 0.6 * (codes - mean)
    assert largest(cut, ARRAYS["out_w_truncated_0.6"]) <= TOLERANCE
    assert largest(generator.decode(cut[:1], content=content), ARRAYS["out_image_truncated_0.6"]) <= TOLERANCE
    assert largest(both[:1], ARRAYS["out_image_truncated_0.6"]) > 0.01

    z = official("in_z")
    half, none = generator.map(z, truncation=0.5), generator.map(z, truncation=0.0)
    assert torch.allclose(half, (codes + none) / 2, atol=1e-5) and torch.allclose(none[0], none[1], atol=1e-6)
    assert "no mean code" in generator.notes[0]
    part = generator.map(z, truncation=0.5, truncation_layers=2)
    assert torch.equal(part[:, 1], half) and torch.equal(part[:, 2], codes)


def test_every_slot_takes_a_code_of_its_own(generator):
    blocks = ["convs.0", "convs.1", "to_rgbs.0", "convs.2", "convs.3", "to_rgbs.1", "convs.4", "convs.5", "to_rgbs.2"]
    assert generator.layers == ("adain_bottleneck.0", "conv1", "to_rgb1", *blocks)
    a, b = generator.map(official("in_z")).split(1)
    content = official("out_content")[:1]
    slots, plain = a[:, None].repeat(1, 12, 1), generator.decode(a, content=content)
    assert torch.equal(generator.decode(slots, content=content), plain)
    changes = []
    for i in range(12):
        mixed = slots.clone()
        mixed[:, i] = b
        changes.append(generator.decode(mixed, content=content) - plain)
        assert changes[-1].abs().max() > 1e-3, generator.layers[i]
    everything = generator.decode(b[:, None].repeat(1, 12, 1), content=content)
    assert largest(everything, ARRAYS["out_image_content0_z1"]) <= TOLERANCE


def test_noise_changes_nothing_as_there_is_none(generator):
    codes, content = generator.map(official("in_z"))[:1], official("out_content")[:1]
    for noise in ("none", 3):
        assert torch.equal(
            generator.decode(codes, content=content, noise=noise), generator.decode(codes, content=content)
        )
    with pytest.raises(LatentEditError, match="noise"):
        generator.decode(codes, content=content, noise="some")


def test_sefa_finds_the_official_directions_and_pictures(generator):
    weights = generator.style_weights()
    keys = conformance.manifest(NAME)["sefa"]["keys_in_order"]
    assert [f"{name}.weight" for name in weights] == keys
    values = torch.linalg.svdvals(torch.cat(list(weights.values())).double())
    assert np.abs(values.numpy() - ARRAYS["out_sefa_singular_values"]).max() <= 1e-3
    found = SeFa(variant="raw", k=8).fit(generator)
    vectors = np.stack([np.asarray(d.vector) for d in found], 1)
    cosines = (vectors * ARRAYS["out_sefa_V_first8"]).sum(0)
    assert np.abs(np.abs(cosines) - 1).max() <= 1e-5
    codes, content = generator.map(official("in_z")), official("out_content")[:1]
    step = 4 * torch.from_numpy(vectors[:, 2] * np.sign(cosines[2])).float()
    assert largest(generator.decode(codes + step, content=content), ARRAYS["out_image_w_plus_4v2"]) <= TOLERANCE
    assert largest(generator.decode(codes[:1] - step, content=content), ARRAYS["out_image_w_minus_4v2"]) <= TOLERANCE
    assert largest(generator.decode(codes - step, content=content), ARRAYS["out_image_w_plus_4v2"]) > 0.01


@pytest.mark.slow
def test_weights_in_half_precision_make_nearly_the_same_pictures(folder):
    half = load(conformance.checkpoint(NAME, folder, half=True))
    content, z = half.encode(PICTURES)
    assert largest(content, ARRAYS["out_content"]) <= HALF_TOLERANCE
    assert largest(z, ARRAYS["out_style_code"]) <= HALF_TOLERANCE
    codes = half.map(official("in_z"))
    assert largest(half.decode(codes, content=content), ARRAYS["out_image_z"]) <= HALF_TOLERANCE
    full, computed = (generator_of(FAMILY, random_gnr(16, num_down=1), dtype=d) for d in (torch.float32, torch.float16))
    pictures = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (content, z), (rough, rough_z) = full.encode(pictures), computed.encode(pictures)
    codes = full.map(z)
    redrawn, again = full.decode(codes, content=content), computed.decode(codes, content=rough)
    for exact, got in ((content, rough), (z, rough_z), (redrawn, again)):
        assert got.dtype == torch.float32
        assert 0 < (got - exact).abs().max() <= HALF_TOLERANCE * exact.abs().max()


@pytest.mark.parametrize(
    ("size", "num_down", "z_dim", "depth", "residual"),
    [pytest.param(128, 4, 8, 5, 1, marks=pytest.mark.slow), (16, 1, 3, 2, 2), (16, 2, 8, 1, 1)],
)
def test_other_configurations_are_read_from_the_shapes(size, num_down, z_dim, depth, residual):
    tensors = random_gnr(size, num_down=num_down, z_dim=z_dim, depth=depth, residual=residual)
    generator = generator_of(FAMILY, tensors)
    assert isinstance(generator, GNRGenerator)
    assert (generator.resolution, generator.z_dim, generator.network.mapping.depth) == (size, z_dim, depth)
    assert len(generator.layers) == residual + 2 + 3 * num_down
    side = size // 2**num_down
    assert [slot.resolution for slot in generator.slots[residual:]] == [side] * 2 + [
        2**i * side for i in range(1, num_down + 1) for _ in range(3)
    ]
    pictures = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    content, z = generator.encode(pictures)
    assert content.shape[2:] == (side, side) and z.shape == (2, z_dim)
    codes = generator.sample_codes(range(2))
    with torch.inference_mode():
        expected = Usual(tensors)(codes, content)
    decoded = generator.decode(codes, content=content)
    assert decoded.shape == (2, 3, size, size)
    assert (decoded - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (decoded.flip(0) - expected).abs().max() > 0.1 * expected.abs().max()


def test_the_released_configuration_has_15_slots():
    generator = generator_of(FAMILY, random_gnr(256))
    assert generator.resolution == 256 and len(generator.layers) == 15
    assert torch.cat(list(generator.style_weights().values())).shape == (4416, 512)
    assert [slot.width for slot in generator.slots] == [512] * 7 + [256, 256, 256, 128, 128, 128, 64, 64]


def test_without_content_the_first_bundled_picture_is_taken(generator):
    codes = generator.sample_codes([1])
    first = read_picture(list_pictures(generator.default_contents)[0], generator.resolution)[None]
    content = generator.encode(first)[0]
    assert torch.equal(generator.decode(codes), generator.decode(codes, content=content))
    other = read_picture(list_pictures(generator.default_contents)[1], generator.resolution)[None]
    assert (generator.decode(codes) - generator.decode(codes, content=generator.encode(other)[0])).abs().max() > 0.01


def test_reference_pictures_are_read_by_the_other_generator(generator, folder):
    tensors = conformance.state_dict(NAME)
    other = {name: tensor.flip(0) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}
    torch.save({"iter": 3, "G_A2B_ema": tensors, "G_B2A_ema": other, "D_A": {"x": torch.zeros(2)}}, folder / "two.pt")
    both = load(folder / "two.pt")
    assert both.id == generator.id and both.notes == generator.notes[:1]
    expected = generator_of(FAMILY, other).encode(PICTURES)[1]
    assert torch.equal(both.encode_reference(PICTURES), expected)
    assert (both.encode(PICTURES)[1] - expected).abs().max() > 1e-3
    with pytest.raises(LatentEditError, match="lacks G_B2A_ema and G_B2A, which"):
        generator.encode_reference(PICTURES)
    torch.save({"G_A2B": other, "G_A2B_ema": tensors}, folder / "average.pt")
    torch.save({"G_A2B": other}, folder / "unaveraged.pt")
    assert load(folder / "average.pt").id == generator.id != load(folder / "unaveraged.pt").id


@pytest.mark.slow
def test_the_same_weights_have_the_same_id_in_every_container(generator, folder):
    tensors = conformance.state_dict(NAME)
    torch.save({"G_A2B_ema": tensors}, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "bare.safetensors")
    save_file({f"G_A2B_ema.{name}": tensor.clone() for name, tensor in tensors.items()}, folder / "whole.safetensors")
    torch.save(tensors, folder / "bare.pt")
    codes, content = generator.map(official("in_z"))[:1], official("out_content")[:1]
    for name in ("old.pt", "bare.safetensors", "whole.safetensors", "bare.pt"):
        other = load(folder / name)
        assert other.id == generator.id and list(other.style_weights()) == list(generator.style_weights())
        assert torch.equal(other.decode(codes, content=content), generator.decode(codes, content=content))
    assert generator_of(FAMILY, tensors | {"mapping.0.bias": tensors["mapping.0.bias"] + 1}).id != generator.id


def test_what_does_not_fit_is_told_in_a_line(generator, folder):
    codes = generator.sample_codes([0, 1, 2])
    for call, message in (
        (lambda: generator.encode(torch.zeros(1, 3, 32, 32)), r"\(1, 3, 32, 32\).*takes \(n, 3, 64, 64\)"),
        (lambda: generator.encode(torch.zeros(3, 64, 64)), "takes"),
        (lambda: generator.decode(codes, content=torch.zeros(1, 512, 4, 4)), r"needs \(n, 512, 8, 8\) of encode"),
        (lambda: generator.decode(codes, content=torch.zeros(2, 512, 8, 8)), "2 rows for 3 codes"),
        (lambda: generator.sample_codes([0], label=1), "no classes"),
        (
            lambda: FAMILY(str(folder / "x"), {"size": "3"}, device=torch.device("cpu"), dtype=torch.float32),
            "no option",
        ),
    ):
        with pytest.raises(LatentEditError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_tensor_that_is_missing_or_misshapen_is_named_in_a_line(folder):
    tensors = conformance.state_dict(NAME)
    names = (
        "mapping.2.bias", "encoder.stem.2.skip.1.weight", "encoder.style.3.weight", "encoder.content.1.1.bias",
        "adain_bottleneck.0.conv2.activate.bias", "convs.3.conv.weight", "to_rgbs.2.conv.modulation.weight",
    )  # fmt: skip
    for name in names:
        with pytest.raises(DamagedFileError, match=rf"not whole.*{name} is missing") as caught:
            generator_of(FAMILY, {key: t for key, t in tensors.items() if key != name})
        assert "\n" not in str(caught.value)
    with pytest.raises(DamagedFileError, match="encoder.style.2.weight has shape"):
        generator_of(FAMILY, tensors | {"encoder.style.2.weight": torch.zeros(512, 100)})
    last_block = ("convs.4", "convs.5", "to_rgbs.2")
    with pytest.raises(DamagedFileError, match="encoder makes 512 channels of 64 x 64"):
        generator_of(FAMILY, {name: t for name, t in tensors.items() if not name.startswith(last_block)})
    path = conformance.checkpoint(NAME, folder)
    (folder / "cut.pt").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedFileError, match="cut.pt"):
        load(folder / "cut.pt")


def test_other_families_are_left_alone():
    for name in ("rosinality_stylegan2", "stylegan2_ada", "sefa_stylegan2", "stylegan3_t"):
        tensors = conformance.state_dict(name)
        for tree in (tensors, {"g_ema": tensors}, {"G_ema": tensors}):
            assert FAMILY.find(Checkpoint(Path(name), "torch zip", tree)) is None
    assert FAMILY.find(Checkpoint(Path(NAME), "torch zip", {"G_A2B_ema": conformance.state_dict(NAME)})) is not None


def test_gradients_reach_codes_and_content():
    network = generator_of(FAMILY, random_gnr(16, num_down=1, depth=1), dtype=torch.float64).network
    random = torch.Generator().manual_seed(0)
    codes = torch.randn(1, 6, 512, generator=random, dtype=torch.float64, requires_grad=True)
    content = torch.randn(1, 512, 8, 8, generator=random, dtype=torch.float64, requires_grad=True)
    loss = F.mse_loss(network.synthesis(codes, content, "stored"), torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    for point, slope in zip((codes, content), torch.autograd.grad(loss, (codes, content)), strict=True):
        step = 1e-6 * torch.randn(point.shape, generator=random, dtype=torch.float64)
        there, back = (_moved(network, codes, content, point, sign * step) for sign in (1, -1))
        change = (there.square().mean() - back.square().mean()) / 2
        assert change.item() == pytest.approx((slope * step).sum().item(), rel=1e-4)


def _moved(network, codes: Tensor, content: Tensor, point: Tensor, step: Tensor) -> Tensor:
    moved = [value + step if value is point else value for value in (codes, content)]
    with torch.inference_mode():
        return network.synthesis(*moved, "stored")
