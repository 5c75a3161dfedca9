"""Finders: methods that turn moments or weights into directions; one file each. See :mod:`.finder` to add one."""

from __future__ import annotations

from latentedit.directions.finder import (
    FINDERS,
    Finder,
    fit_directions,
    match_by_correlation,
    register_finder,
    resolve_finder,
)
from latentedit.directions.lasso import Lasso
from latentedit.directions.linear import Linear
from latentedit.directions.sefa import SeFa
from latentedit.directions.svd import SVD

__all__ = [
    "FINDERS",
    "SVD",
    "Finder",
    "Lasso",
    "Linear",
    "SeFa",
    "fit_directions",
    "match_by_correlation",
    "register_finder",
    "resolve_finder",
]
