"""Which tags are fitted."""

from __future__ import annotations

import pytest

from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.selection import select_tags


def test_the_tag_filter() -> None:
    counts = {"rare": 5, "hair": 10, "smile": 750, "common": 751, "portrait": 300, "rating:safe": 300, "never": 0}
    assert select_tags(counts, 1000) == ("hair", "smile")
    assert select_tags(counts, 1000, high=1.0) == ("hair", "smile", "common")
    assert select_tags(counts, 1000, tags=["rating:safe", "never", "rare"]) == ("rating:safe", "never", "rare")
    with pytest.raises(UnknownNameError, match="did you mean smile"):
        select_tags(counts, 1000, tags=["smiles"])
    with pytest.raises(LatentEditError, match=r"6 tags were seen on 1000 rows, none on 0\.2 to 0\.25"):
        select_tags(counts, 1000, low=0.2, high=0.25)
    for bad in ("hair", []):
        with pytest.raises(LatentEditError, match="list of tags"):
            select_tags(counts, 1000, tags=bad)
