"""What is looked at when an own generator is loaded: what its pictures lie in, and what is odd about them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from supplied import Plain, broken, refusal
from torch import Tensor

from latentedit.generators import load_generator
from latentedit.generators.base import weights_id


def _sigmoid(self: Any, codes: Tensor) -> Tensor:
    return torch.sigmoid(self.paint(codes)).reshape(-1, 3, 4, 4)


def test_pictures_in_zero_to_one_are_asked_about(give: Callable[[Any], str]) -> None:
    message = refusal(load_generator, give(broken(Plain, decode=_sigmoid)))
    assert "none of 64 decoded pictures has a value below 0" in message
    assert "torch:given:factory?range=0..1" in message and "pixel_range = (0, 1)" in message


@pytest.mark.parametrize("said", ["name", "object"])
def test_a_stated_range_is_converted(said: str, give: Callable[[Any], str]) -> None:
    thing = broken(Plain, decode=_sigmoid, **({} if said == "name" else {"pixel_range": (0, 1)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = load_generator(give(thing) + ("?range=0..1" if said == "name" else ""))
    codes = generator.sample_codes(range(5))
    assert torch.allclose(generator.decode(codes), 2 * _sigmoid(thing, codes) - 1, atol=1e-6)
    assert generator.id == weights_id("torch", {f"paint.{k}": v for k, v in thing.paint.state_dict().items()})


def test_pictures_that_are_never_dark_and_bytes_can_be_stated(give: Callable[[Any], str]) -> None:
    thing = broken(Plain, decode=_sigmoid)
    generator = load_generator(give(thing) + "?range=-1..1")
    codes = generator.sample_codes([3])
    assert torch.allclose(generator.decode(codes), _sigmoid(thing, codes))
    thing = broken(Plain, decode=lambda self, codes: 255 * _sigmoid(self, codes), pixel_range=(0, 255))
    assert torch.allclose(load_generator(give(thing)).decode(codes), 2 * _sigmoid(thing, codes) - 1, atol=1e-6)


def test_what_is_encoded_is_in_the_objects_range(give: Callable[[Any], str]) -> None:
    def encode(self: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        assert float(images.min()) == 0 and float(images.max()) == 1
        return images.mean((2, 3)), images.new_zeros(len(images), 6)

    generator = load_generator(give(broken(Plain, decode=_sigmoid, encode=encode, pixel_range=(0, 1))))
    pictures = torch.full((2, 3, 4, 4), -1.0)
    pictures[:, :, 0] = 1
    assert torch.allclose(generator.encode(pictures)[0], torch.full((2, 3), 0.25))  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["1..0", "0", "a..b", "0..1..2", "0..inf", ""])
def test_a_bad_range_is_refused_in_one_line(value: str, give: Callable[[Any], str]) -> None:
    assert "two numbers such as 0..1" in refusal(load_generator, give(Plain()) + f"?range={value}")
    assert "two numbers such as (0, 1)" in refusal(load_generator, give(broken(Plain, pixel_range=value)))


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        (lambda self, codes: torch.ones(len(codes), 3, 4, 4), "64 codes to one and the same picture"),
        (lambda self, codes: torch.tanh(codes[:, :1, None, None]).expand(-1, 3, 4, 4), "of one colour"),
        (lambda self, codes: torch.randn(len(codes), 3, 4, 4).tanh(), "the same code twice gives two pictures"),
        (lambda self, codes: 5 * torch.tanh(self.paint(codes)).reshape(-1, 3, 4, 4), "far outside"),
    ],
)
def test_what_is_odd_about_pictures_is_said(
    decode: Callable[..., Tensor], expected: str, give: Callable[[Any], str]
) -> None:
    with pytest.warns(UserWarning, match=expected) as caught:
        load_generator(give(broken(Plain, decode=decode)))
    assert len(caught) == 1 and "\n" not in str(caught[0].message)


def test_nothing_is_said_and_little_decoded_when_all_is_well(give: Callable[[Any], str]) -> None:
    decoded: list[int] = []

    def decode(self: Any, codes: Tensor) -> Tensor:
        decoded.append(len(codes))
        return torch.tanh(self.paint(codes)).reshape(-1, 3, 4, 4)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_generator(give(broken(Plain, decode=decode)))
    assert decoded == [1, 4, 4], "seed 0, the probe, and the probe again"
