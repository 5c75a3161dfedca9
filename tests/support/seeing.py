"""Taggers of a user's own that give features, or something else of that name."""

from linear_world import Reader


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
