"""Studies as TOML files: the shipped one, and every way to write one wrongly."""

import tomllib

import pytest

from latentedit.directions.edits import Edit
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.pictures.images import list_pictures
from latentedit.shipped import shipped
from latentedit.study.protocol import METRICS, Method, Sizes, StudyEdit, read_protocol

MINIMAL = """
generator = "avatar"
tagger = "avatar"
judge = "avatar"
metrics = ["rescoring"]
[[edit]]
positive = "smile"
[[method]]
finder = "lasso"
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_study_is_the_one_of_2022():
    p, full = read_protocol(), read_protocol(full=True)
    assert [(e.name, e.positive, e.negative) for e in p.edits] == [
        ("mouth", "open_mouth", "closed_mouth"),
        ("hair", "short_hair", "long_hair"),
        ("eyes", "closed_eyes", None),
    ]
    lasso, svd = (next(m for m in p.methods if m.name == name) for name in ("Lasso", "SVD"))
    assert (lasso.strength, lasso.opposite, lasso.unit) == (15, -5, "raw")
    assert (svd.strength, svd.opposite, svd.unit) == (10, -5, "raw")
    assert lasso.edit(p.edits[1]) == Edit("short_hair", 15, opposite="long_hair", ratio=-1 / 3, unit="raw")
    assert svd.edit(p.edits[0]) == Edit("open_mouth", 10, opposite="closed_mouth", ratio=-0.5, unit="raw")
    alone = Edit("closed_eyes", 15, opposite=None, unit="raw")
    assert lasso.edit(p.edits[2]) == lasso.edit(p.edits[2], opposing=False) == alone
    assert full.sizes.samples == 10_200 and full.sizes.styles_per_content == 3
    assert (full.sizes.dfid_pictures, full.sizes.dfid_augmentations) == (100, 1000)
    assert (full.sizes.fid_pictures, full.sizes.lpips_pictures, full.sizes.lpips_styles) == (100, 100, 10)
    assert p.sizes.samples < full.sizes.samples and p.sizes.n_boot == full.sizes.n_boot
    assert 100 / 10_200 == pytest.approx(p.low, abs=1e-4) and 3400 / 10_200 == pytest.approx(p.high, abs=1e-4)


def test_the_published_tables_name_methods_and_edits_of_the_study():
    p = read_protocol()
    names, edits = {m.name for m in p.methods} | {"original"}, {e.name for e in p.edits}
    assert set(p.published) == {"fid", "dfid", "lpips", "rescoring"}
    for rows in p.published.values():
        assert set(rows) <= names
        for row in rows.values():
            assert not isinstance(row, dict) or set(row) == edits
    assert p.published["fid"]["SVD"]["mouth"] == 134.339 and p.published["dfid"]["original"] == 86.73
    assert p.published["rescoring"]["linear"]["mouth"] == [0.671, 0.084, 0.024]


def test_its_pictures_are_shipped_and_apart():
    p = read_protocol()
    assert p.test is not None and p.train is not None and p.target is not None
    assert len(list_pictures(p.test)) == 100
    train, test = ({path.read_bytes() for path in list_pictures(folder)} for folder in (p.train, p.test))
    assert not train & test


def test_defaults(tmp_path):
    p = read_protocol(written(tmp_path, MINIMAL))
    assert p.sizes == Sizes() and p.seed == 1_000_000 and p.train is p.test is p.target is None
    assert p.edits == (StudyEdit("smile", "smile"),) and p.methods == (Method("lasso", "lasso"),)
    assert p.methods_of("rescoring") == p.methods and p.methods_of("fid") == ()


def test_full_sizes_default_to_the_others(tmp_path):
    text = MINIMAL + "[sizes]\nsamples = 50\nfid_pictures = 7\n[full]\nsamples = 900\n"
    path = written(tmp_path, text)
    assert read_protocol(path).sizes.samples == 50
    full = read_protocol(path, full=True).sizes
    assert (full.samples, full.fid_pictures) == (900, 7)


def test_folders_are_relative_to_the_file(tmp_path):
    path = written(tmp_path, MINIMAL + '[pictures]\ntarget = "real"\ntest = "shipped:data/contents"\n')
    p = read_protocol(path)
    assert p.target == tmp_path / "real" and p.test == shipped("data/contents")


def test_a_method_may_be_a_file(tmp_path):
    path = written(tmp_path, MINIMAL + '[[method]]\nfile = "own/prior.safetensors"\nname = "prior"\n')
    method = read_protocol(path).methods[1]
    assert (method.name, method.finder) == ("prior", "own/prior.safetensors")
    assert method.file == tmp_path / "own" / "prior.safetensors"
    path = written(tmp_path, MINIMAL + '[[method]]\nfile = "shipped:directions/avatar.safetensors"\n')
    assert read_protocol(path).methods[1].file == shipped("directions/avatar.safetensors")


def test_the_layout_of_selfie2anime(tmp_path):
    source = list_pictures(shipped("data/contents"))[0].read_bytes()
    for name in ("trainA", "testA", "trainB", "testB"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.png").write_bytes(source)
    p = read_protocol(written(tmp_path, MINIMAL + '[pictures]\nfolder = "set"\n'))
    assert (p.train, p.test, p.target) == tuple(tmp_path / "set" / n for n in ("trainA", "testA", "testB"))
    assert read_protocol(written(tmp_path, MINIMAL)).with_pictures(tmp_path / "set").target == p.target
    (tmp_path / "set" / "testB" / "a.png").unlink()
    with pytest.raises(LatentEditError, match="testB"):
        read_protocol(written(tmp_path, MINIMAL + '[pictures]\nfolder = "set"\n'))
    with pytest.raises(LatentEditError, match="trainA, testA and testB"):
        p.with_pictures(tmp_path / "nothing")


def test_parts_can_be_changed(tmp_path):
    p = read_protocol(written(tmp_path, MINIMAL)).changed(judge="judge:x", metrics=["rescoring", "curves"])
    assert (p.judge, p.metrics, p.generator) == ("judge:x", ("rescoring", "curves"), "avatar")
    with pytest.raises(UnknownNameError, match="did you mean rescoring"):
        p.changed(metrics=["rescorin"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metrics = [", 'metrics = ["fidd", '), "entry of metrics.*did you mean"),
        (('["rescoring"]', '["fid"]'), "real pictures"),
        (('generator = "avatar"', ""), "has no 'generator'"),
        (('generator = "avatar"', "generator = 3"), "generator of the study is 3; it must be text"),
        (('generator = "avatar"', 'generatr = "avatar"\ngenerator = "avatar"'), "unknown key of the study 'generatr'"),
        (('[[method]]\nfinder = "lasso"', ""), r"at least one \[\[method\]\]"),
        (('[[edit]]\npositive = "smile"', ""), r"at least one \[\[edit\]\]"),
        (('finder = "lasso"', 'finder = "lasso"\nfile = "a.safetensors"'), "name one of the two"),
        (('finder = "lasso"', 'name = "x"'), "has no 'finder'"),
        (('finder = "lasso"', 'finder = "lasso"\nstrength = 0'), "is 0, which edits nothing"),
        (('finder = "lasso"', 'finder = "lasso"\nunit = "miles"'), "unknown unit 'miles'"),
        (('finder = "lasso"', 'finder = "lasso"\nstrength = true'), "must be a number"),
        (('finder = "lasso"', 'finder = "lasso"\n[[method]]\nfinder = "lasso"'), "same name"),
        (('finder = "lasso"', 'finder = "lasso"\n[sizes]\nfid_pictures = 1'), "must be 2 or more"),
        (('finder = "lasso"', 'finder = "lasso"\n[sizes]\ncurve_strengths = [1]'), "two numbers or more"),
        (('finder = "lasso"', 'finder = "lasso"\n[sizes]\npictures = 1'), "unknown key of .sizes."),
        (('finder = "lasso"', 'finder = "lasso"\n[published.fidd]\noriginal = 1'), "metric of .published."),
        (('judge = "avatar"', 'judge = "avatar"\nseed = 10'), "seed 10 is one of the 3000"),
        (('judge = "avatar"', 'judge = "avatar"\nschema = 2'), "install a newer one"),
        (('[[edit]]\npositive = "smile"', "edit = 3"), "must be a list"),
        (('judge = "avatar"', "judge = "), "cannot be read as TOML"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, change, message):
    assert change[0] in MINIMAL
    path = written(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(LatentEditError, match=message) as caught:
        read_protocol(path)
    assert "\n" not in str(caught.value).split(" cannot be read")[0] and str(path) in str(caught.value)


def test_a_missing_file():
    with pytest.raises(DamagedFileError, match=r"nothing\.toml"):
        read_protocol("nothing.toml")


def test_the_shipped_file_names_every_size_and_metric():
    content = tomllib.loads(shipped("data/study.toml").read_text(encoding="utf-8"))
    assert set(content["sizes"]) == {*vars(Sizes())} and content["metrics"] == list(METRICS)
