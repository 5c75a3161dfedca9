"""``torch:package.module:factory`` for generators: defaults, checks and one-line errors."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from supplied import Plain, broken, refusal
from torch import Tensor, nn

from latentedit.errors import LatentEditError
from latentedit.generators import Generator, load_generator
from latentedit.generators.base import seed_latents, weights_id
from latentedit.taggers import Tagger, load_tagger


class Full(nn.Module):
    """Everything a generator can have."""

    id, z_dim, dim, layers, resolution = "mine:1", 4, 6, ("low", "high"), 4
    pixel_range = (-1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.drop = nn.Linear(4, 6), nn.Dropout(0.5)
        self.calls: list[dict[str, Any]] = []

    def map(self, z: Tensor, *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        self.calls.append({"label": label, "truncation": truncation})
        return self.mapping(z) * truncation + (label or 0)

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        self.calls.append({"codes": codes.shape, "content": content, "noise": noise})
        light = 0 if content is None else content[:, :1]
        return self.drop((codes.sum((1, 2))[:, None] + light)[:, :, None, None].expand(-1, 1, 4, 4))

    def style_weights(self) -> dict[str, Tensor]:
        return {"low": torch.ones(3, 6)}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean((2, 3)), images.new_zeros(len(images), 4)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module into a working directory that is not in ``sys.path`` yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)

    def module(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))

    yield module
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# The least object


def test_the_least_generator_gets_every_default(give: Callable[[Any], str]) -> None:
    thing = Plain()
    state = {f"paint.{key}": value.clone() for key, value in thing.paint.state_dict().items()}
    generator = load_generator(give(thing))
    assert isinstance(generator, Generator)
    assert (generator.z_dim, generator.dim, generator.layers, generator.resolution) == (6, 6, ("w",), 4)
    assert generator.id == weights_id("torch", state)
    assert not hasattr(generator, "encode")
    codes = generator.sample_codes([3, 1])
    assert torch.equal(codes, seed_latents([3, 1], 6))
    pictures = generator.decode(codes)
    assert torch.allclose(pictures, torch.tanh(thing.paint(codes)).reshape(-1, 3, 4, 4))
    assert pictures.dtype == torch.float32 and not pictures.requires_grad and not pictures.is_inference()
    assert torch.equal(generator.decode(codes[:, None]), pictures)
    assert generator.decode(codes[:0]).shape == (0, 3, 4, 4)
    with pytest.raises(LatentEditError, match="SeFa.*linear, lasso and svd"):
        generator.style_weights()


def test_latent_size_stands_for_dim(give: Callable[[Any], str]) -> None:
    assert load_generator(give(broken(Plain, dim=..., latent_size=6))).dim == 6


def test_codes_are_copies(give: Callable[[Any], str]) -> None:
    kept = torch.zeros(64, 3, 4, 4)
    generator = load_generator(give(broken(Plain, decode=lambda self, codes: kept[: len(codes)])))
    generator.decode(torch.zeros(1, 6)).add_(1)
    assert not kept.any()


def test_truncation_goes_towards_the_mean_of_mapped_seeds(give: Callable[[Any], str]) -> None:
    generator = load_generator(give(broken(Plain, map=lambda self, z: 2 * z + 1)))
    z = seed_latents(range(2**31, 2**31 + 4096), 6)
    mean = 2 * z.mean(0) + 1
    codes = generator.sample_codes([0])
    assert torch.allclose(generator.sample_codes([0], truncation=0.5), mean + 0.5 * (codes - mean), atol=1e-5)
    assert torch.allclose(generator.sample_codes([0], truncation=0.0), mean, atol=1e-5)
    slots = generator.map(seed_latents([0], 6), truncation=0.5, truncation_layers=0)
    assert slots.shape == (1, 1, 6) and torch.allclose(slots[:, 0], codes)


def test_own_sample_codes_is_used(give: Callable[[Any], str]) -> None:
    def sample_codes(self: Any, seeds: list[int]) -> Tensor:
        return torch.tensor([[float(seed % 7)] * 6 for seed in seeds])

    generator = load_generator(give(broken(Plain, sample_codes=sample_codes, z_dim=2)))
    assert torch.equal(generator.sample_codes([3]), torch.full((1, 6), 3.0))
    mean = sum(seed % 7 for seed in range(2**31, 2**31 + 4096)) / 4096
    assert torch.allclose(generator.sample_codes([3], truncation=0.0), torch.full((1, 6), mean), atol=1e-4)


# The full object


def test_the_full_generator_keeps_what_it_has(give: Callable[[Any], str]) -> None:
    thing = Full()
    generator = load_generator(give(thing))
    assert (generator.id, generator.z_dim, generator.dim, generator.layers) == ("mine:1", 4, 6, ("low", "high"))
    assert not thing.training and not any(parameter.requires_grad for parameter in thing.parameters())
    codes = generator.sample_codes([1, 2], label=3, truncation=0.7)
    assert thing.calls[-1] == {"label": 3, "truncation": 0.7}
    generator.decode(codes, noise=7)
    assert thing.calls[-1]["codes"] == (2, 2, 6), "more than one slot: always a code per slot"
    assert thing.calls[-1]["noise"] == 7
    assert generator.decode(codes, content=torch.ones(1, 3)).shape == (2, 3, 4, 4)
    assert thing.calls[-1]["content"].shape == (2, 3)
    content, z = generator.encode(torch.zeros(5, 3, 4, 4))  # type: ignore[attr-defined]
    assert content.shape == (5, 3) and z.shape == (5, 4)
    assert generator.style_weights()["low"].shape == (3, 6)


def test_truncation_layers_leave_the_other_slots(give: Callable[[Any], str]) -> None:
    generator = load_generator(give(Full()))
    z = seed_latents([5], 4)
    slots = generator.map(z, truncation=0.5, truncation_layers=1)
    assert slots.shape == (1, 2, 6)
    assert torch.allclose(slots[:, 1], generator.map(z))
    assert not torch.allclose(slots[:, 0], slots[:, 1])


def test_one_channel_becomes_three(give: Callable[[Any], str]) -> None:
    pictures = load_generator(give(Full())).decode(torch.randn(2, 6))
    assert pictures.shape == (2, 3, 4, 4) and torch.equal(pictures[:, 0], pictures[:, 2])


def test_half_precision_still_gives_float32(give: Callable[[Any], str]) -> None:
    thing = Plain()
    state = {f"paint.{key}": value.clone() for key, value in thing.paint.state_dict().items()}
    generator = load_generator(give(thing), dtype=torch.bfloat16)
    assert thing.paint.weight.dtype == torch.bfloat16
    assert generator.decode(torch.zeros(1, 6)).dtype == torch.float32
    assert generator.id == weights_id("torch", state), "the id is of the weights as they were given"


def test_errors_of_use_are_one_line(give: Callable[[Any], str]) -> None:
    generator = load_generator(give(Plain()))
    for call in (
        lambda: generator.decode(torch.zeros(1, 5)),
        lambda: generator.decode(torch.full((1, 6), torch.nan)),
        lambda: generator.decode(torch.zeros(1, 6), content=torch.zeros(1, 4)),
        lambda: generator.map(torch.zeros(1, 5)),
        lambda: generator.sample_codes([0], label=1),
        lambda: generator.sample_codes([-1]),
    ):
        with pytest.raises(LatentEditError) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(LatentEditError, match="content has 3 rows"):
        load_generator(give(Full())).decode(torch.zeros(2, 6), content=torch.zeros(3, 3))


def _zeros(*shape: int) -> Callable[..., Tensor]:
    return lambda self, codes: torch.zeros(len(codes), *shape)


def _failing(self: Any, codes: Tensor) -> Tensor:
    raise KeyError("first line\nsecond line")


BAD_GENERATORS: dict[str, tuple[Any, str]] = {
    "nothing": (lambda: None, "NoneType without decode"),
    "no decode": (lambda: broken(Plain, decode=...), "without decode"),
    "decode is no method": (lambda: broken(Plain, decode=3), "decode is a int; it must be a method"),
    "no dim": (lambda: broken(Plain, dim=...), "no dim (or latent_size)"),
    "dim is a text": (lambda: broken(Plain, dim="6"), "dim is '6'"),
    "dim is 0": (lambda: broken(Plain, dim=0), "dim is 0"),
    "dim is true": (lambda: broken(Plain, dim=True), "dim is True"),
    "z_dim without map": (lambda: broken(Plain, z_dim=4), "write map(z)"),
    "layers is a text": (lambda: broken(Plain, layers="w"), "layers is 'w'"),
    "layers repeat": (lambda: broken(Plain, layers=("a", "a")), "different texts"),
    "layers is empty": (lambda: broken(Plain, layers=()), "at least one"),
    "id is a number": (lambda: broken(Plain, id=5), "id is 5"),
    "resolution": (lambda: broken(Plain, resolution=2.5), "resolution is 2.5"),
    "map is wide": (lambda: broken(Plain, map=lambda self, z: z.repeat(1, 2)), "map returned shape (1, 12)"),
    "map is nan": (lambda: broken(Plain, map=lambda self, z: z * torch.nan), "not finite"),
    "picture is 2-D": (lambda: broken(Plain, decode=_zeros(4)), "decode returned shape (1, 4)"),
    "five channels": (lambda: broken(Plain, decode=_zeros(5, 4, 4)), "shape (1, 5, 4, 4)"),
    "one picture too many": (
        lambda: broken(Plain, decode=lambda self, codes: torch.zeros(2, 3, 4, 4)),
        "(1, 3, H, W) or (1, 1, H, W)",
    ),
    "uint8": (lambda: broken(Plain, decode=lambda self, codes: torch.zeros(1, 3, 4, 4).byte()), "torch.uint8"),
    "0 to 255": (lambda: broken(Plain, decode=lambda self, codes: torch.zeros(1, 3, 4, 4) + 255), "up to 255"),
    "numpy": (lambda: broken(Plain, decode=lambda self, codes: codes.numpy()), "returned a ndarray"),
    "infinite": (lambda: broken(Plain, decode=lambda self, codes: torch.full((1, 3, 4, 4), torch.inf)), "not finite"),
    "raises": (lambda: broken(Plain, decode=_failing), "decode raised KeyError"),
    "torch error": (lambda: broken(Plain, decode=lambda self, codes: codes @ codes), "decode raised RuntimeError"),
}


@pytest.mark.parametrize("case", BAD_GENERATORS)
def test_bad_generators_are_refused_in_one_line(case: str, give: Callable[[Any], str]) -> None:
    make, expected = BAD_GENERATORS[case]
    assert expected in refusal(load_generator, give(make()))


@pytest.mark.parametrize(
    "found",
    [[], {}, {"a": torch.zeros(3)}, {"a": torch.zeros(3, 5)}, {"a": [1.0]}],
    ids=["list", "empty", "1-D", "5", "raw"],
)
def test_bad_style_weights(found: Any, give: Callable[[Any], str]) -> None:
    generator = load_generator(give(broken(Plain, style_weights=lambda self: found)))
    with pytest.raises(LatentEditError, match="style_weights"):
        generator.style_weights()


@pytest.mark.parametrize(
    "found", [torch.zeros(2, 3), (torch.zeros(2, 3),), (torch.zeros(1, 3), torch.zeros(2, 6)), (None, None)]
)
def test_bad_encode(found: Any, give: Callable[[Any], str]) -> None:
    generator = load_generator(give(broken(Plain, encode=lambda self, images: found)))
    with pytest.raises(LatentEditError, match="encode"):
        generator.encode(torch.zeros(2, 3, 4, 4))  # type: ignore[attr-defined]


# The factory

MODULE = """
    import torch

    class Generator:
        dim = 3

        def __init__(self, size):
            self.size = size

        def decode(self, codes):
            return torch.zeros(len(codes), 3, self.size, self.size)

    def plain():
        return Generator(4)

    def sized(size="4", *, colour=None):
        assert colour in (None, "red")
        return Generator(int(size))

    def needy(path):
        return Generator(4)

    def anything(**options):
        return Generator(int(options["size"]))

    def failing():
        raise ValueError("the file weights.pt\\nis not here")

    def leaving():
        raise SystemExit(2)

    generator = Generator(4)
    network = torch.nn.Linear(2, 2)
"""


def test_the_working_directory_can_be_imported_from(write: Callable[[str, str], None]) -> None:
    write("mine_here", MODULE)
    assert load_generator("torch:mine_here:plain").resolution == 4


def test_a_class_is_a_factory_and_options_are_text(write: Callable[[str, str], None]) -> None:
    write("mine_options", MODULE)
    assert load_generator("torch:mine_options:sized?size=8&colour=red").resolution == 8
    assert load_generator("torch:mine_options:anything?size=5").resolution == 5
    message = refusal(load_generator, "torch:mine_options:Generator?size=8")
    assert "decode raised TypeError" in message, "its size is a text here"


def test_without_tensors_the_options_make_the_id(write: Callable[[str, str], None]) -> None:
    write("mine_id", MODULE)
    ids = {load_generator(f"torch:mine_id:sized?size={size}").id for size in (4, 4, 5)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("mine_bad:plain?size=3", "no option 'size'; its options: none"),
        ("mine_bad:sized?sise=3", "no option 'sise'; its options: size, colour"),
        ("mine_bad:needy", "needs path; write torch:mine_bad:needy?path=..."),
        ("mine_bad:failing", "the factory raised ValueError: the file weights.pt is not here"),
        ("mine_bad:leaving", "the factory raised SystemExit: 2"),
        ("mine_bad:absent", "has no 'absent'"),
        ("mine_bad:generator", "not a factory"),
        ("mine_bad:network", "not a factory"),
        ("mine_bad", "package.module:attribute"),
        ("mine_bad.py:plain", "torch:mine_bad:plain"),
        ("folder/mine_bad.py:plain", "torch:folder.mine_bad:plain"),
        ("not_there:plain", "cannot import 'not_there'"),
        ("mine_syntax:plain", "importing 'mine_syntax' raised SyntaxError"),
        ("mine_script:plain", "importing 'mine_script' raised SystemExit"),
        ("mine_attribute:plain", "importing 'mine_attribute' raised AttributeError"),
        ("mine_needs:plain", "No module named 'not_installed'"),
        ("", "does not name an object"),
    ],
)
def test_bad_factories_are_refused_in_one_line(argument: str, expected: str, write: Callable[[str, str], None]) -> None:
    write("mine_bad", MODULE)
    write("mine_syntax", "def plain(:\n")
    write("mine_script", "raise SystemExit(1)\n")
    write("mine_attribute", "import math\nmath.nothing\n")
    write("mine_needs", "import not_installed\n")
    for load in (load_generator, load_tagger):
        message = refusal(load, f"torch:{argument}")
        assert expected in message


def test_the_original_error_is_the_cause(write: Callable[[str, str], None]) -> None:
    write("mine_cause", MODULE)
    with pytest.raises(LatentEditError) as caught:
        load_generator("torch:mine_cause:failing")
    assert isinstance(caught.value.__cause__, ValueError)


def test_every_default_is_documented() -> None:
    from latentedit.generators.custom import CustomGenerator
    from latentedit.taggers.custom import CustomTagger

    for kind, contract in ((CustomGenerator, Generator), (CustomTagger, Tagger)):
        names = set(contract.__annotations__) | {
            name for name, value in vars(contract).items() if inspect.isfunction(value) and name[0] != "_"
        }
        assert all(f"``{name}``" in (kind.__doc__ or "") for name in names)
