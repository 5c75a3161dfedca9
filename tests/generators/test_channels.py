"""Pictures of 1 to 4 channels, in every family alike; Pillow lays them on white as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nvlabs_files import stylegan2_tensors
from PIL import Image
from safetensors.torch import save_file
from small_networks import pggan_state, small, stylegan2_state, stylegan_state
from stylegan3_layers import configuration, tensors_of
from torch import Tensor, nn

from benchmarks.decode import random_gnr, random_stylegan2
from latentedit import load_generator
from latentedit.errors import LatentEditError
from latentedit.generators.channels import ON_WHITE, from_colours, to_colours
from latentedit.generators.vae import write_vae
from latentedit.inspection import inspect_generator
from latentedit.pictures.images import to_uint8


def widened(tensor: Tensor, channels: int, axis: int = 0) -> Tensor:
    """A tensor of as many channels, all different."""
    repeats = torch.cat([tensor.roll(1 + i, axis) * (0.9 - 0.2 * i) for i in range(channels)], axis)
    return repeats.narrow(axis, 0, channels).contiguous()


def rosinality(channels: int) -> dict[str, Any]:
    tensors = small(random_stylegan2(8, depth=1))
    for name in [name for name in tensors if name.startswith("to_rgb")]:
        if name.endswith(("conv.weight", "0.bias", "1.bias")):
            tensors[name] = widened(tensors[name], channels, 1)
    return {"g_ema": tensors}


def nvidia(channels: int) -> dict[str, Any]:
    return {"G_ema": stylegan2_tensors(colours=channels)}


def stylegan3(channels: int) -> dict[str, Any]:
    tensors = tensors_of(configuration(16, 512, 12), dim=8, z_dim=6, depth=1)
    last = next(name for name in tensors if name.endswith("_3.weight")).removesuffix(".weight")
    for name in [name for name in tensors if name.startswith(f"{last}.")]:
        tensor = tensors.pop(name)
        own = name in (f"{last}.weight", f"{last}.bias")
        tensors[f"{last[:-1]}{channels}{name.removeprefix(last)}"] = widened(tensor, channels) if own else tensor
    return {"G_ema": tensors}


def genforce(state: Callable[[int], dict[str, Tensor]]) -> Callable[[int], dict[str, Any]]:
    def make(channels: int) -> dict[str, Any]:
        tensors = state(8)
        for output in [name for name in tensors if "output" in name and name.endswith((".weight", ".bias"))]:
            if "style" not in output:
                tensors[output] = widened(tensors[output], channels)
        return tensors

    return make


def dcgan(channels: int) -> dict[str, Any]:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(8, 6, 4), nn.ReLU(), nn.ConvTranspose2d(6, channels, 4, 2, 1)).state_dict()


FAMILIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "rosinality": ("stylegan2", rosinality), "StyleGAN2-ADA": ("nvlabs", nvidia), "StyleGAN3": ("nvlabs", stylegan3),
    **{state.__name__: ("genforce", genforce(state)) for state in (stylegan_state, stylegan2_state, pggan_state)},
    "DCGAN": ("dcgan", dcgan),
}  # fmt: skip


class Own:
    """A generator of a user's own, whose pictures lie in [0, 1]."""

    dim, pixel_range, z_dim = 4, (0, 1), 4

    def __init__(self, channels: int = 4) -> None:
        torch.manual_seed(1)
        self.net = nn.Linear(4, channels * 15)
        self.encoder = nn.Linear(channels, 4)

    def decode(self, codes: Tensor) -> Tensor:
        return self.net(codes).sigmoid().unflatten(1, (-1, 3, 5))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = images.mean((2, 3))
        return self.encoder(pooled), self.encoder(pooled)


def on_white(raw: Tensor) -> np.ndarray:
    """Pillow's answer, 8 bits, of pictures of 2 or 4 channels in [-1, 1]."""
    bytes_ = ((raw.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    found = []
    for pixels in bytes_:
        image = Image.fromarray(pixels, "LA" if pixels.shape[-1] == 2 else "RGBA").convert("RGBA")
        found.append(np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")))
    return np.stack(found).astype(int)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_lays_pictures_on_white(family: str, tmp_path: Path) -> None:
    kind, make = FAMILIES[family]
    for channels in (2, 4, 5):
        torch.save(make(channels), path := tmp_path / f"{channels}.pt")
        if channels == 5:
            with pytest.raises(LatentEditError, match=r"5\.pt: .*5 channels.*allowed are 1 .*torch:"):
                load_generator(f"{kind}:{path}")
            continue
        generator: Any = load_generator(f"{kind}:{path}")
        codes = generator.sample_codes(range(2))
        slots = codes[:, None].expand(-1, len(generator.layers), -1)
        raw = generator.network.synthesis(slots, generator._content(None, 2), "none")
        assert raw.shape[1] == channels
        raw = raw / raw.abs().max()  # no clamping then
        got = to_uint8(to_colours(raw)).astype(int)
        assert np.abs(got - on_white(raw)).max() <= 2
        assert np.abs(got - to_uint8(raw[:, :1].expand(-1, 3, -1, -1))).max() > 20  # alpha is not just dropped
        assert generator.decode(codes, noise="none").shape == (2, 3, *generator.picture_size)
        assert generator.notes[-1] == ON_WHITE


def test_colours_and_grey_are_left_alone() -> None:
    colours, grey = torch.rand(2, 3, 4, 5) * 3 - 1.5, torch.rand(2, 1, 4, 5) * 3 - 1.5
    assert to_colours(colours) is colours
    assert torch.equal(to_colours(grey), grey.repeat(1, 3, 1, 1))


def test_clear_pixels_are_white_and_opaque_ones_as_they_are() -> None:
    colours = torch.rand(1, 3, 2, 2) * 2 - 1
    alpha = torch.tensor([-1.0, 1.0, -3.0, 3.0]).view(1, 1, 2, 2)
    got = to_colours(torch.cat([colours, alpha], 1)).flatten(2)
    assert torch.equal(got[..., ::2], torch.ones(1, 3, 2))
    assert torch.equal(got[..., 1::2], colours.flatten(2)[..., 1::2])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_encoders_take_comes_back(channels: int) -> None:
    grey = (torch.rand(2, 1, 4, 5) * 2 - 1).expand(-1, 3, -1, -1)
    made = from_colours(grey, channels)
    assert made.shape == (2, channels, 4, 5)
    assert torch.allclose(to_colours(made), grey, atol=1e-6)


def test_a_generator_of_ones_own(give: Callable[[Any], str]) -> None:
    name = give(Own(4))
    generator: Any = load_generator(name)
    codes = generator.sample_codes(range(3))
    raw = Own(4).decode(codes) * 2 - 1
    assert np.abs(to_uint8(generator.decode(codes)).astype(int) - on_white(raw.detach())).max() <= 2
    assert inspect_generator(name).notes == (ON_WHITE,)
    opaque_white = Own(4).encode(torch.ones(1, 4, 3, 5))[0]
    assert torch.allclose(generator.encode(torch.ones(1, 3, 3, 5))[0], opaque_white, atol=1e-6)
    with pytest.raises(LatentEditError, match=r"shape \(1, 6, 3, 5\).*alpha"):
        load_generator(give(Own(6)))


def test_an_autoencoder_encodes_what_it_decodes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(5, 4 * 24), nn.Unflatten(1, (4, 4, 6)), nn.Tanh())
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4 * 24, 10))
    write_vae(tmp_path / "v.safetensors", decoder, encoder=encoder, range="-1..1")
    generator: Any = load_generator(f"vae:{tmp_path / 'v.safetensors'}")
    pictures = generator.decode(generator.sample_codes(range(2)))
    assert pictures.shape == (2, 3, 4, 6)
    opaque = torch.cat([pictures, torch.ones(2, 1, 4, 6)], 1)
    assert torch.allclose(generator.invert(pictures), encoder(opaque)[:, :5], atol=1e-5)


def test_roses_read_and_draw_four_channels(tmp_path: Path) -> None:
    wide, flat = random_gnr(8, num_down=1, depth=1), "encoder.style.1.weight"
    tensors = small(wide) | {flat: wide[flat][:8, :128]}  # which takes 4 x 4 pixels of 8 channels
    tensors["encoder.stem.0.0.weight"] = widened(tensors["encoder.stem.0.0.weight"], 4, 1)
    for name in [name for name in tensors if name.startswith("to_rgb") and "modulation" not in name]:
        tensors[name] = widened(tensors[name], 4, 1)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path := tmp_path / "g.safetensors")
    generator: Any = load_generator(f"gnr:{path}")
    pictures = torch.rand(1, 3, 8, 8) * 2 - 1
    content, _ = generator.encode(pictures)
    expected = generator.network.encoder(torch.cat([pictures, torch.ones(1, 1, 8, 8)], 1))[0]
    assert torch.equal(content, expected)
    assert generator.decode(generator.sample_codes([0]), content=content).shape == (1, 3, 8, 8)
    tensors["encoder.stem.0.0.weight"] = widened(tensors["encoder.stem.0.0.weight"], 6, 1)
    save_file(tensors, path)
    with pytest.raises(LatentEditError, match="6 channels"):
        load_generator(f"gnr:{path}")
