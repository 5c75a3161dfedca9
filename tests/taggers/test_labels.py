"""``csv:FILE``: labels by seed, picture name or content, through the same door as any tagger."""

from __future__ import annotations

import re
import warnings
import zipfile
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


def labels(folder: Path, text: str, options: str = "") -> Labeller:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    tagger = load_tagger(f"csv:{file}{options}")
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
    expected = np.array([NAN + NAN[:1], [1, 1, 0], [0, 1, 1], [0, 0, 0]], np.float32)
    for rows in ('5,"smile, long_hair"\n6,"long_hair,red_hair"\n', "5,smile long_hair\n6,long_hair  red_hair\n"):
        tagger = labels(tmp_path, f"seed,tags\n{rows}7,\n")
        assert tagger.tags == ("smile", "long_hair", "red_hair")
        np.testing.assert_array_equal(tagger.label_rows(np.arange(4, 8), None), expected)


def test_where_commas_separate_tags_hold_spaces(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="underscores for spaces: 'long hair' is long_hair"):
        tagger = labels(tmp_path, 'seed,tags\n0,"1girl, long hair"\n1,long hair\n2,1girl\n')
    assert tagger.tags == ("1girl", "long_hair")
    np.testing.assert_array_equal(tagger.label_rows(np.arange(3), None), [[1, 1], [0, 1], [1, 0]])
    with pytest.raises(LatentEditError, match="row 3: 'smile long_hair' has spaces and underscores.*write commas"):
        labels(tmp_path, 'seed,tags\n0,"1girl, smile"\n1,smile long_hair\n')


PLAIN = "seed,long_hair,smile\n0,1,0\n2,0,0\n3,0.5,1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN, None),
        (PLAIN.replace("seed", "Seed"), None),
        (
            PLAIN.replace(",", ";").replace("0.5", "0,5"),
            "separated by semicolons; commas in numbers are decimal points",
        ),
        ("sep=;\n" + PLAIN.replace(",", ";"), "cells are separated by semicolons"),
        (PLAIN.replace(",", "\t"), "cells are separated by tabs"),
        (PLAIN.encode("utf-16"), "read as UTF-16"),
        (PLAIN.replace("\n", ",\n").replace("seed", '"seed"'), None),
        (PLAIN.replace("seed", "index"), "index is the seed"),
        (PLAIN.replace("seed", ""), "the first column is the seed"),
        (PLAIN.replace("seed", "Unnamed: 0"), "Unnamed: 0 is the seed"),
        (",seed,long_hair,smile\n7,0,1,0\n8,2,0,0\n9,3,0.5,1\n", "the first column is left out beside seed"),
        (",long_hair,smile\na/0.png,1,0\nb/2.png,0,0\n3.png,0.5,1\n", "the first column is the picture's name"),
        ("filename,long_hair,smile\nimg_00000.png,1,0\nimg_00002.png,0,0\nimg_3.png,0.5,1\n", "00000.png is seed 0"),
        ("image,long_hair,smile\nrun2-00.png,1,0\nrun2-02.png,0,0\nrun2-03.png,0.5,1\n", "run2-00.png is seed 0"),
        ("seed,long hair,smile\n0,1,0\n2,0,0\n3,0.5,1\n", "'long hair' is long_hair"),
        ("seed,long_hair,smile\n0,1,-1\n2,0,-1\n3,0.5,1\n", "-1 is no in smile"),
        (",long_hair,smile,grin\n0,1,0,\n2,0,0,\n3,0.5,1,\n", "grin is left out, without any label"),
    ],
)
def test_tables_as_people_save_them(tmp_path: Path, text: str | bytes, said: str | None) -> None:
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tagger = load_tagger(f"csv:{tmp_path}/labels.csv")
    assert tagger.tags == ("long_hair", "smile")
    np.testing.assert_array_equal(tagger.label_rows(np.arange(4), None), np.array(EXPECTED, np.float32))
    assert len(caught) == (said is not None) and (said is None or said in str(caught[0].message))


def test_classes_categories_and_unknown_labels(tmp_path: Path) -> None:
    text = "seed,digit,Hair,smile\n0,3.0,Dark red,1\n1,,black,\n2,10,dark red,0\n3,3,,1\n"
    with pytest.warns(UserWarning) as caught:
        tagger = labels(tmp_path, text)
    assert [str(w.message).partition(": ")[2] for w in caught] == [
        "digit holds 2 classes (digit=3, digit=10); Hair holds 2 classes (Hair=black, Hair=dark_red)"
    ]
    assert tagger.tags == ("digit=3", "digit=10", "Hair=black", "Hair=dark_red", "smile")
    nan = np.nan
    expected = [[1, 0, 0, 1, 1], [nan, nan, 1, 0, nan], [0, 1, 0, 1, 0], [1, 0, nan, nan, 1]]
    np.testing.assert_array_equal(tagger.label_rows(np.arange(4), None), np.array(expected, np.float32))


def test_what_could_be_classes_or_amounts_is_asked_and_can_be_said(tmp_path: Path) -> None:
    ages = "seed,age\n" + "".join(f"{seed},{seed}\n" for seed in range(40))
    with pytest.raises(LatentEditError, match=r"column 'age' has 40 whole numbers, 0 \.\.\. 39.*csv:.*\?classes=age"):
        labels(tmp_path, ages)
    with pytest.warns(UserWarning, match=r"age holds 40 classes \(age=0 \.\.\. age=39\)"):
        tagger = load_tagger(f"csv:{tmp_path}/labels.csv?classes=age")
    assert len(tagger.tags) == 40
    np.testing.assert_array_equal(tagger.label_rows(np.arange(40), None), np.eye(40))
    with pytest.raises(LatentEditError, match="column 'note' has 40 different texts, such as 'w0 said'; leave it out"):
        labels(tmp_path, "seed,note\n" + "".join(f"{seed},w{seed} said\n" for seed in range(40)))
    with pytest.warns(UserWarning, match="digit=0, digit=1"):  # which would be no and yes
        assert labels(tmp_path, "seed,digit\n0,1\n1,0\n", "?classes=digit").tags == ("digit=0", "digit=1")


def test_a_legacy_code_page_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    for text, page in (("seed,tags\n1,café\n", "cp1252"), ("seed,笑顔\n1,1\n", "cp932")):
        file.write_bytes(text.encode(page))
        word = "café" if page == "cp1252" else "笑顔"
        with pytest.raises(DamagedFileError, match=rf"in UTF-8 but perhaps in a legacy code page.*'{word}' in {page}"):
            load_tagger(f"csv:{file}")
        assert load_tagger(f"csv:{file}?encoding={page}").tags == (word,)
    with pytest.raises(LatentEditError, match="there is no encoding 'klingon'"):
        load_tagger(f"csv:{file}?encoding=klingon")
    file.write_bytes(PLAIN.encode("utf-16-le"))
    with pytest.raises(DamagedFileError, match=r"zero bytes; perhaps it is UTF-16: csv:.*\?encoding=utf-16-le"):
        load_tagger(f"csv:{file}")
    assert load_tagger(f"csv:{file}?encoding=utf-16-le").tags == ("long_hair", "smile")
    with zipfile.ZipFile(file, "w") as workbook:
        workbook.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(DamagedFileError, match="it is a workbook; save it as CSV"):
        load_tagger(f"csv:{file}")


def test_labels_of_no_sample_are_counted_and_named(tmp_path: Path) -> None:
    stored = sample(G, tmp_path / "run", n=4)
    tagger = labels(tmp_path, "seed,smile\n" + "".join(f"{seed},1\n" for seed in (0, 2, 500, 501, 9, 8, 7, 6)))
    with pytest.warns(
        UserWarning, match=r"6 of 8 labelled rows name no sample of this run: seed 6, 7, 8, 9, 500 and 1"
    ):
        tagged = tag(stored, G, tagger)
    assert tagged.labelled() == 2


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
    with pytest.warns(UserWarning, match=r"1 of 3 labelled rows name no sample of this run: content zz\.png"):
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
        ("", "the file is empty; download it again"),
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
        ("seed,smile,grin\n1,,\n", "it labels no row"),
        ("seed,smile\n1,0\n2,1\n3,-1\n", "column 'smile' has -1 and 0; write 0 for no, 1 for yes"),
        ("seed,smile\n1,red\n2,n/a\n3,black\n", "row 3: 'smile' is 'n/a'; leave the cell empty"),
        ('seed,price\n1,"1,000"\n2,"2,000"\n', "row 2: 'price' is '1,000'; write 0, 1 or a score between"),
        ("seed,long hair,long_hair\n1,1,1\n", "two columns are the tag 'long_hair'; keep one"),
        ("file,smile\na1_17.png,1\nb2_18.png,0\n", "'a1_17.png' and 'b2_18.png' hold several numbers"),
        ("filename,image,smile\n1.png,1.png,1\n", "it must have one column seed, file or content"),
        ("seed,smile\n-1,1\n", "seed is '-1'; it must be a whole number"),
        ("seed,smile\n1.5,1\n", "seed is '1.5'; it must be a whole number"),
        ("file,smile\n1.png,1\nface.png,1\n", "file is 'face.png'; it must be named by its seed, such as 17.png"),
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
