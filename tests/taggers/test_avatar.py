"""The bundled tagger on art that it was not trained on, and on bad input."""

import pytest
import torch

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.pictures.images import list_pictures, read_picture
from latentedit.shipped import shipped
from latentedit.taggers import Tagger, load_tagger

tagger = load_tagger("avatar")
art = torch.stack([read_picture(p, 128) for p in list_pictures(shipped("data/targets"))[:50]])


def test_it_fulfils_the_contract():
    assert isinstance(tagger, Tagger) and len(set(tagger.tags)) == len(tagger.tags) == 42
    scores = tagger.score(art)
    assert scores.shape == (50, 42) and scores.dtype == torch.float32
    assert 0 <= scores.min() and scores.max() <= 1


def test_every_face_has_one_background_and_at_most_one_hair_colour():
    present = tagger.score(art) >= tagger.threshold
    backgrounds = [i for i, tag in enumerate(tagger.tags) if tag.endswith("_background")]
    lengths = [tagger.tags.index(tag) for tag in ("long_hair", "short_hair")]
    assert (present[:, backgrounds].sum(1) == 1).float().mean() > 0.95
    assert (present[:, lengths].sum(1) <= 1).all()
    assert present[:, lengths[0]].any() and present[:, lengths[1]].any()


def test_batch_size_and_overshoot_do_not_matter_and_other_sizes_are_taken():
    assert torch.allclose(tagger.score(art)[3], tagger.score(art[3:4])[0], atol=1e-5)
    bright = art * 1.5
    assert torch.equal(tagger.score(bright), tagger.score(bright.clamp(-1, 1)))
    large = torch.nn.functional.interpolate(art, (256, 256), mode="bilinear")
    agree = (tagger.score(large) >= 0.5) == (tagger.score(art) >= 0.5)
    assert agree.float().mean() > 0.97


def test_bad_files_are_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedFileError, match="x.safetensors"):
        load_tagger(f"avatar:{tmp_path / 'x.safetensors'}")
    with pytest.raises(LatentEditError, match="did you mean avatar"):
        load_tagger("avatr")
