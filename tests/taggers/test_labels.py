"""``csv:FILE``: labels by seed, picture name or content, through the same door as any tagger."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from toy import ToyGenerator, ToyTagger, ToyTranslator

from latentedit.directions import fit_directions
from latentedit.directions.moments import Moments
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples
from latentedit.samples.tagging import tag, tag_pictures
from latentedit.taggers import load_tagger
from latentedit.taggers.labels import Labeller

G = ToyGenerator()


def labels(folder: Path, text: str) -> Labeller:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    tagger = load_tagger(f"csv:{file}")
    assert isinstance(tagger, Labeller)
    return tagger


def scores_of(samples: Samples, tagger: str) -> np.ndarray:
    return np.concatenate([b.scores for b in samples.iter_batches(tagger) if b.scores is not None])


NAN = [float("nan")] * 2
EXPECTED = [[1, 0], NAN, [0, 0], [0.5, 1]]  # seeds 0 ... 3


@pytest.mark.parametrize(
    "text",
    [
        "seed,long_hair,smile\n0,1,0\n2,0,no\n3,0.5,Yes\n9,1,1\n",
        "long_hair,seed,smile\r\n1,0,false\r\n,1,\r\n0,2,0\r\n0.5,3,true\r\n",
        "file,long_hair,smile\na/0.png,1,0\nb\\seed-2.jpg,0,0\nseed3.webp,0.5,1\n",
        '\ufefffile,long_hair,smile\n"0000.png",1,0\nseed_2,0,0\n\nseed 3,0.5,1\n',
    ],
)
def test_a_column_a_tag(tmp_path: Path, text: str) -> None:
    tagger = labels(tmp_path, text)
    assert tagger.tags == ("long_hair", "smile") and tagger.threshold == 0.5
    np.testing.assert_array_equal(tagger.label_rows(np.arange(4), None), np.array(EXPECTED, np.float32))


def test_lists_of_tags(tmp_path: Path) -> None:
    tagger = labels(tmp_path, 'seed,tags\n5,smile long_hair\n6,"long_hair, red_hair"\n7,\n')
    assert tagger.tags == ("smile", "long_hair", "red_hair")
    expected = [NAN + NAN[:1], [1, 1, 0], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(tagger.label_rows(np.arange(4, 8), None), np.array(expected, np.float32))


def test_the_id_is_of_what_the_labels_say(tmp_path: Path) -> None:
    first = labels(tmp_path, "seed,smile\n1,1\n2,0\n")
    assert labels(tmp_path, "file,smile\n2.png,no\n1.png,yes\n").id == first.id  # the same rows in another spelling
    others = {labels(tmp_path, f"seed,{tag}\n{row},1\n2,0\n").id for tag, row in (("smile", 3), ("grin", 1))}
    assert len(others | {first.id}) == 3


def test_stored_samples_take_labels_without_being_decoded(tmp_path: Path) -> None:
    class Undecodable(ToyGenerator):
        def decode(self, *_: object, **__: object) -> torch.Tensor:
            raise AssertionError("labels need no pictures")

    stored = sample(Undecodable(), tmp_path / "run", n=10, shard_size=4)
    tagger = labels(tmp_path, "seed,long_hair,smile\n0,1,0\n2,0,0\n3,0.5,1\n9,1,0\n")
    tagged = tag(stored, Undecodable(), tagger, tagger_name="csv:labels.csv")
    expected = np.array([*EXPECTED, *[NAN] * 5, [1, 0]], np.float32)
    np.testing.assert_array_equal(scores_of(tagged, "csv:labels.csv"), expected)
    assert tagged.labelled() == 4 and tagged.tag_counts() == {"long_hair": 3, "smile": 1}
    assert dict(tagged.manifest.taggers[0].settings) == {"rows": "4 by seed"}


def test_sampling_takes_labels_too(tmp_path: Path) -> None:
    tagger = labels(tmp_path, "seed,smile\n1,1\n2,0\n")
    run = sample(G, tmp_path / "run", tagger=tagger, n=3, keep_images=True)
    np.testing.assert_array_equal(scores_of(run, tagger.id)[:, 0], [np.nan, 1, 0])


def test_labels_of_content_pictures_hold_for_all_their_samples(tmp_path: Path) -> None:
    folder = tmp_path / "contents"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        Image.fromarray(np.full((16, 16, 3), 90 * i, np.uint8)).save(folder / name)
    tagger = labels(tmp_path, "content,smile\nb.png,1\na.png,0\nzz.png,1\n")
    run = sample(ToyTranslator(), tmp_path / "run", tagger=tagger, n=8, contents=folder, styles_per_content=2)
    np.testing.assert_array_equal(scores_of(run, tagger.id)[:, 0], [0, 0, 1, 1, 0, 0, 1, 1])
    with pytest.raises(LatentEditError, match="labels content pictures, and these samples have none"):
        sample(G, tmp_path / "other", tagger=tagger, n=4)


def test_changed_labels_stand_beside_the_old_ones_and_the_name_means_the_last(tmp_path: Path) -> None:
    stored = sample(G, tmp_path / "run", n=4)
    for text in ("seed,smile\n1,1\n", "seed,smile\n1,0\n2,1\n"):
        stored = tag(stored, G, labels(tmp_path, text), tagger_name="csv:labels.csv")
    assert len(stored.taggers) == 2
    np.testing.assert_array_equal(scores_of(stored, "csv:labels.csv")[:, 0], [np.nan, 0, 1, np.nan])


def test_few_labels_are_enough_for_a_fit(tmp_path: Path) -> None:
    """Shares are of the labelled rows: 60 of 6,000 rows would be no more than 1 %."""
    toy = ToyTagger()
    run = sample(G, tmp_path / "run", tagger=toy, n=6000)
    present = scores_of(run, toy.id)[:, 0] >= 0.5
    rows = "".join(f"{seed},{int(present[seed])}\n" for seed in range(100))
    assert 1 <= present[:100].sum() < 60
    human = tag(run, G, labels(tmp_path, "seed,long_hair\n" + rows), tagger_name="human")
    moments = Moments.from_samples(human, tagger="human")
    assert moments.count == 100 and moments.tag_counts == {"long_hair": int(present[:100].sum())}
    few = fit_directions(human, finder="lasso", tagger="human")["long_hair"].vector.numpy()
    codes = np.concatenate([batch.codes for batch in run.iter_batches(scores=False)])
    chance = np.random.default_rng(0).standard_normal(16)
    ranked, by_chance = (roc_auc_score(present[100:], codes[100:] @ v) for v in (few, chance))
    assert ranked > 0.85 > 0.7 > by_chance  # rows that nobody labelled


def test_it_sees_no_pictures(tmp_path: Path) -> None:
    tagger = labels(tmp_path, "seed,smile\n1,1\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(LatentEditError, match="cannot score other pictures"):
        tag_pictures(tmp_path / "a.png", tagger)


def test_labels_of_other_seeds_change_nothing(tmp_path: Path) -> None:
    stored = sample(G, tmp_path / "run", n=4)
    with pytest.raises(LatentEditError, match=r"labels none of these samples: it has seed 17 \.\.\. 20, .* 0 \.\.\. 3"):
        tag(stored, G, labels(tmp_path, "seed,smile\n17,1\n20,0\n"))
    assert not (tmp_path / "run/tags").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line is ''; it must have one column seed, file or content"),
        ("name,smile\n1,1\n", "one column seed, file or content"),
        ("seed,file,smile\n1,1.png,1\n", "one column seed, file or content"),
        ("seed,smile,smile\n1,1,1\n", "two columns have the same name"),
        ("seed,smile,\n1,1,1\n", "or one has none"),
        ("seed\n1\n", "it has no tags"),
        ("seed,tags,smile\n1,a,1\n", "beside a column tags there is only seed"),
        ("seed,tags\n1,\n", "it names no tag"),
        ("seed,smile\n1,1,1\n", "row 2: 3 cells where the header has 2"),
        ("seed,smile\n1,maybe\n", "row 2: 'smile' is 'maybe'; write 0, 1 or a score between"),
        ("seed,smile\n1,1\n2,nan\n", "row 3: 'smile' is 'nan'"),
        ("seed,smile\n1,1.5\n", "'smile' is '1.5'"),
        ("seed,smile,grin\n1,1,\n", "row 2: no label for 'grin'; write 0 or 1, or leave the whole row empty"),
        ("seed,smile\n-1,1\n", "seed is '-1'; it must be a whole number"),
        ("seed,smile\n1.0,1\n", "seed is '1.0'; it must be a whole number"),
        ("file,smile\nface.png,1\n", "file is 'face.png'; it must be named by its seed, such as 17.png"),
        ("file,smile\n1.png,1\nseed-1.jpg,0\n", "row 3: file 'seed-1.jpg' is labelled twice"),
        ("seed,smile\n", "it labels no row"),
        ("seed,smile\n1,\n", "it labels no row"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(LatentEditError, match=re.escape(words)) as caught:
        labels(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="no labels at .*nothing.csv"):
        load_tagger(f"csv:{tmp_path}/nothing.csv")
    (tmp_path / "binary.csv").write_bytes(b"seed,\xff\xfe\n")
    with pytest.raises(DamagedFileError, match="cannot be read as a CSV table in UTF-8"):
        load_tagger(f"csv:{tmp_path}/binary.csv")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        load_tagger(f"csv:{tmp_path}")
    with pytest.raises(LatentEditError, match="csv needs a file"):
        load_tagger("csv")
    with pytest.raises(LatentEditError, match="csv has no option sep"):
        load_tagger("csv:labels.csv?sep=;")
