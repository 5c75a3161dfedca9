"""Objects of a user's own, as ``torch:package.module:factory`` gets them, and what refusing one says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentedit.errors import LatentEditError


class Plain:
    """The least a generator can be."""

    dim = 6

    def __init__(self) -> None:
        self.paint = nn.Linear(6, 3 * 4 * 4)

    def decode(self, codes: Tensor) -> Tensor:
        return torch.tanh(self.paint(codes)).reshape(-1, 3, 4, 4)


class Scorer:
    """The least a tagger can be."""

    tags = ("bright", "dark")

    def score(self, images: Tensor) -> Tensor:
        light = (images.mean((1, 2, 3)) + 1) / 2
        return torch.stack([light, 1 - light], 1)


def broken(kind: type, **changes: Any) -> Any:
    """An object of that class with other attributes; a change to ... takes the attribute away."""
    names = {name: value for name, value in vars(kind).items() if not name.startswith("__") or name == "__init__"}
    names |= changes
    bases = (nn.Module,) if issubclass(kind, nn.Module) else ()
    return type("Mine", bases, {name: value for name, value in names.items() if value is not ...})()


def refusal(load: Callable[[str], Any], name: str) -> str:
    """The message of the error that loading raises: one line that carries the name."""
    with pytest.raises(LatentEditError) as caught:
        load(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert name in message
    return message
