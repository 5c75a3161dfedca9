"""Taggers of a user's own that give features, or something else of that name."""

import torch.nn.functional as F
from linear_world import Reader
from toy import ToyTagger


class Toy(ToyTagger):
    """The toy tagger, with colours of a picture's sixteenths as features."""

    def features(self, images):
        return F.adaptive_avg_pool2d(images, 4).flatten(1)


class WithMaps(Reader):
    """Its features are maps, which are averaged."""

    def features(self, images):
        return images


class Flat(Reader):
    """Its features are of another shape."""

    def features(self, images):
        return images[0, 0, 0]


class Numbered(Reader):
    """What it calls features is a number."""

    features = 4
