"""Networks whose constant is oblong draw oblong pictures, in every family that can and in what is done with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nvlabs_files import stylegan2_tensors
from PIL import Image
from small_networks import small, stylegan2_state, stylegan_state
from stylegan3_layers import configuration, tensors_of
from torch import Tensor, nn

from benchmarks.decode import Usual, generator_of, random_stylegan2
from latentedit import load_generator
from latentedit.errors import LatentEditError
from latentedit.generators.base import picture_size
from latentedit.generators.stylegan2 import FAMILY as ROSINALITY
from latentedit.generators.vae import write_vae
from latentedit.pictures.images import read_picture


def stretched(tensors: dict[str, Tensor], first: tuple[int, int], spatial: Callable[[str], bool]) -> dict[str, Tensor]:
    """Tensors that have the size of feature maps, from a constant of 4 x 4 to one of another size."""
    random = torch.Generator().manual_seed(5)
    found = dict(tensors)
    for name in [name for name in tensors if spatial(name)]:
        *rest, height, width = tensors[name].shape
        found[name] = torch.randn(*rest, height * first[0] // 4, width * first[1] // 4, generator=random)
    return found


def turned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network whose pictures are transposed: all that has two sides is."""
    return {name: t.transpose(-1, -2).contiguous() if _has_sides(name, t) else t for name, t in tensors.items()}


def _has_sides(name: str, tensor: Tensor) -> bool:
    return tensor.ndim >= 3 or name.endswith("noise_const") or (".apply_noise.weight" in name and tensor.ndim == 2)


def rosinality() -> dict[str, Tensor]:
    return small(random_stylegan2(16, depth=1))


def without_noise_maps() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in rosinality().items() if not name.startswith("noises.")}


FAMILIES: dict[str, tuple[str, Callable[[], dict[str, Tensor]], Callable[[str], bool]]] = {
    "rosinality": ("stylegan2", rosinality, lambda name: name == "input.input" or name.startswith("noises.")),
    "without noise maps": ("stylegan2", without_noise_maps, lambda name: name == "input.input"),
    "StyleGAN2-ADA": ("nvlabs", stylegan2_tensors, lambda name: name.endswith(("b4.const", "noise_const"))),
    "genforce StyleGAN": (
        "genforce", lambda: stylegan_state(16),
        lambda name: name.endswith(("layer0.const", "apply_noise.noise")),
    ),
    "genforce StyleGAN2": (
        "genforce", lambda: stylegan2_state(16),
        lambda name: name.endswith("early_layer.const") or (name.endswith(".noise") and "layer" in name),
    ),
}  # fmt: skip


@pytest.mark.parametrize("first", [(4, 8), (5, 3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_turned_network_draws_turned_pictures(family: str, first: tuple[int, int], tmp_path: Path) -> None:
    kind, make, spatial = FAMILIES[family]
    tensors = stretched(make(), first, spatial)
    torch.save(tensors, tmp_path / "a.pt")
    torch.save(turned(tensors), tmp_path / "b.pt")
    one: Any = load_generator(f"{kind}:{tmp_path / 'a.pt'}")
    other: Any = load_generator(f"{kind}:{tmp_path / 'b.pt'}")
    codes = one.sample_codes(range(2))
    noise = "none" if family == "without noise maps" else "stored"
    pictures = one.decode(codes, noise=noise)
    height, width = picture_size(one)
    assert (height * first[1], max(height, width)) == (width * first[0], one.resolution)
    assert pictures.shape == (2, 3, height, width)
    assert one.decode(codes, noise=7).shape == one.decode(codes).shape == pictures.shape
    assert one.decode(codes[:0]).shape == (0, 3, height, width)
    assert max(slot.resolution for slot in one.slots) == one.resolution
    back = other.decode(codes, noise=noise).transpose(-1, -2)
    assert (back - pictures).abs().max() <= 2e-5 * pictures.abs().max()
    assert (back.flip(-1) - pictures).abs().max() > 0.1 * pictures.abs().max()


def test_pictures_are_those_of_the_usual_way_to_write_the_network() -> None:
    tensors = stretched(rosinality(), (4, 8), FAMILIES["rosinality"][2])
    generator = generator_of(ROSINALITY, tensors)
    codes = generator.sample_codes(range(2))
    expected = Usual(tensors)(codes, None)
    assert expected.shape == (2, 3, 16, 32)
    assert (generator.decode(codes) - expected).abs().max() <= 2e-5 * expected.abs().max()


def test_stylegan3_says_that_square_ones_are_supported(tmp_path: Path) -> None:
    tensors = tensors_of(configuration(16, 512, 12), dim=8, z_dim=6, depth=1)
    last = next(name for name in tensors if name.endswith("_3.weight")).removesuffix(".weight")
    _, side, channels = last.rsplit("_", 2)
    oblong = last.removesuffix(f"{side}_{channels}") + f"{side}_{2 * int(side)}_{channels}"
    named = {name.replace(last, oblong): tensor for name, tensor in tensors.items()}
    torch.save(named, tmp_path / "x.pt")
    with pytest.raises(LatentEditError, match="not square.*square ones are supported"):
        load_generator(f"nvlabs:{tmp_path / 'x.pt'}")


def test_a_dcgan_of_an_oblong_kernel_says_so(tmp_path: Path) -> None:
    stack = nn.Sequential(nn.ConvTranspose2d(8, 6, (4, 8)), nn.ReLU(), nn.ConvTranspose2d(6, 3, 4, 2, 1))
    torch.save(stack.state_dict(), tmp_path / "x.pt")
    with pytest.raises(LatentEditError, match="4 x 8; square pictures are supported.*torch:"):
        load_generator(f"dcgan:{tmp_path / 'x.pt'}")


@pytest.fixture(scope="module")
def oblong(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A generator of 64 x 32 pictures that inverts them."""
    path = tmp_path_factory.mktemp("oblong") / "v.safetensors"
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(9, 3 * 32 * 64), nn.Unflatten(1, (3, 32, 64)), nn.Tanh())
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 64, 18))
    write_vae(path, decoder, encoder=encoder, range="-1..1")
    return f"vae:{path}"


def test_commands_with_an_oblong_generator(oblong: str, run: Any, tmp_path: Path) -> None:
    told = json.loads(run("info", oblong, "--json")[1])
    assert (told["resolution"], told["picture_size"]) == (64, [32, 64])
    assert "64 x 32" in run("info", oblong)[1]
    commands: list[list[Any]] = [
        ["sample", "s", "--generator", oblong, "-n", 8, "--images", "pictures", "--tagger", "avatar"],
        ["fit-directions", "--generator", oblong, "--finder", "sefa", "--out", "d.safetensors"],
    ]
    Image.new("RGB", (50, 50), "red").save(tmp_path / "face.png")
    edit = ["edit", "--generator", oblong, "--directions", "d.safetensors", "--tag", "sefa_00=2"]
    commands += [[*edit, "--seeds", "0-2", "--out", "sheet.png"], [*edit, "--style", "face.png", "--out", "style.png"]]
    commands += [[*edit, "--seeds", "0", "--out", "faces/"]]
    for command in commands:
        code, _, told_of = run(*command, "--quiet")
        assert code == 0, told_of
    for folder in ("pictures", "faces"):
        assert {Image.open(path).size for path in (tmp_path / folder).glob("*.png")} == {(64, 32)}
    columns, (width, height) = 3, Image.open(tmp_path / "sheet.png").size
    assert width > columns * 128 and height < 2 * 128  # tiles of 128 x 64


def test_pictures_are_cropped_to_the_shape_of_the_generators(oblong: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), "white")
    picture.paste("black", (0, 10, 40, 30))  # the middle band, which is as wide again as high
    picture.save(tmp_path / "p.png")
    assert torch.equal(read_picture(tmp_path / "p.png", (32, 64)), -torch.ones(3, 32, 64))
    assert float(read_picture(tmp_path / "p.png", 64).max()) == 1
    generator: Any = load_generator(oblong)
    codes = generator.invert(read_picture(tmp_path / "p.png", picture_size(generator))[None])
    assert codes.shape == (1, 9)
