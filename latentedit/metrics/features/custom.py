"""Feature networks of a user's own: ``torch:package.module:factory?key=value``.

The factory returns any object with ``features`` (for Fréchet distances), ``maps`` and ``weights`` (for perceptual
ones), or all three; or a module that is called on pictures and gives features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators.base import weights_id
from latentedit.metrics.features.base import unit_range
from latentedit.registry import Supplied, build


class CustomFeatures:
    """A user's object with the whole contract of a feature network.

    ============  =====================================================================
    of the object when it is missing
    ============  =====================================================================
    ``features``  ``forward``: pictures (n, 3, H, W) in [-1, 1] to (n, d)
    ``maps``      perceptual distances are refused
    ``weights``   one over the number of maps, for every channel
    ``name``      ``torch``; what distances over it are called
    ``dim``       length of the features of a grey picture of 64 pixels
    ``id``        hash of its tensors; without any, of the factory's name and options
    ============  =====================================================================

    Raises:
        LatentEditError: the object has neither features nor maps.
    """

    def __init__(self, supplied: Supplied, *, device: torch.device, dtype: torch.dtype) -> None:
        self._supplied = supplied
        self._method = next((m for m in ("features", "forward") if supplied.has(m)), None)
        if self._method is None and not supplied.has("maps"):
            raise supplied.error("it has neither features nor maps")
        self.name = supplied.text("name", "torch")
        self.id = supplied.text("id", "") if supplied.get("id") else weights_id("torch", supplied.tensors())
        supplied.settle(device, dtype)
        self.dim = 0 if self._method is None else self.features(torch.zeros(2, 3, 64, 64)).shape[1]

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to features (n, d) float32."""
        if self._method is None:
            raise self._supplied.error("it has no features, which Fréchet distances need")
        found = self._supplied.call(self._method, self._supplied.place(unit_range(images)))
        return self._supplied.tensor(self._method, found, (len(images), None), "(n, d), one row a picture").float()

    @torch.inference_mode()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Pictures (n, 3, H, W) in [-1, 1] to its maps (n, c, h, w) float32."""
        if not self._supplied.has("maps"):
            raise self._supplied.error("it has no maps, which perceptual distances need")
        found = self._supplied.call("maps", self._supplied.place(unit_range(images)))
        shape = (len(images), None, None, None)
        return [self._supplied.tensor("maps", one, shape, "a list of (n, c, h, w)").float() for one in found]

    def weights(self) -> list[Tensor]:
        """The head of each map."""
        if self._supplied.has("weights"):
            return [torch.as_tensor(one).float().flatten() for one in self._supplied.call("weights")]
        maps = self.maps(torch.zeros(2, 3, 64, 64))
        return [torch.full((one.shape[1],), 1 / len(maps)) for one in maps]


def load(argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype) -> CustomFeatures:
    """The network that the factory ``package.module:name`` makes.

    Raises:
        LatentEditError: it cannot be imported or called, or is no feature network.
    """
    if not argument:
        raise LatentEditError("torch needs a factory, as in torch:package.module:factory")
    return CustomFeatures(build("feature network", argument, options), device=device, dtype=dtype)
