"""A generator, a judge and directions that are linear, so that what an edit does to every score is known."""

import torch

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction

TAGS = ("long_hair", "short_hair", "smile", "hat")


class Linear:
    """Decodes a code of 4 numbers to four constant pictures' channels; the judge reads them back."""

    id, z_dim, dim, layers, resolution = "linear:1", 4, 4, ("w",), 4
    pixel_range = (-1, 1)

    def sample_codes(self, seeds, *, label=None, truncation=1.0):
        return torch.stack([torch.rand(4, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def decode(self, codes, *, content=None, noise="stored"):
        shift = 0 if content is None else content[:, :1]
        return ((codes + shift)[:, None].expand(-1, 3, -1)[..., None].expand(-1, -1, -1, 4)) * 0.5


class Reader:
    id, tags, threshold = "reader:1", TAGS, 0.5

    def score(self, images):
        return (images[:, 0, :, 0] * 2).clamp(0, 1)


def along(tag, i, sigma=0.1, extra=0.0):
    vector = torch.zeros(4)
    vector[i], vector[3] = 1, extra
    norm = vector.norm()
    return Direction(tag=tag, vector=vector / norm, sigma=float(sigma * norm), generator_id="linear:1", layers=("w",))


bank = DirectionBank([along("long_hair", 0, extra=0.5), along("short_hair", 1), along("smile", 2)])
