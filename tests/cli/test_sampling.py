"""``sample`` from outside, and what becomes of its files."""

import json
from pathlib import Path

import pytest
from commands import TOY, one_error

TOY_TAGGER = ("--tagger", "torch:toy:ToyTagger")
FIT = ("fit-directions", "--finder", "linear", "--quiet", "--force")


@pytest.fixture
def sampled(run):
    code, _, err = run("sample", *TOY, *TOY_TAGGER, "-n", 60, "--quiet")
    assert code == 0, err
    return run


@pytest.mark.parametrize("shard", ["codes-00000.parquet", "tags/*/tags-00000.parquet"])
def test_a_damaged_shard_is_named_although_its_moments_are_cached(sampled, tmp_path, shard):
    assert sampled(*FIT)[0] == 0 and len(list((tmp_path / "samples/moments").iterdir())) == 1
    assert sampled(*FIT)[0] == 0  # the control: from the cache
    (file,) = (tmp_path / "samples").glob(shard)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    code, out, err = sampled(*FIT)
    assert code == 1 and f"{file.relative_to(tmp_path)} is damaged" in one_error((code, out, err))


def test_a_cache_that_cannot_be_written_is_a_line(sampled, tmp_path):
    (tmp_path / "samples/moments").touch()  # a file in the folder's place; root may write to any folder
    code, _, err = sampled("fit-directions", "--finder", "linear", "--quiet")
    assert code == 0 and Path("directions/linear.safetensors").exists()
    (line,) = err.splitlines()
    assert line.startswith("warning: the moments are not kept for the next run: cannot write samples/moments/")


def test_a_cache_that_a_full_disk_refuses_is_a_line(sampled, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))  # the directions are smaller, the moments are not
    try:
        code, out, err = sampled("fit-directions", "--finder", "linear", "--quiet", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 0 and json.loads(out)["tags"] and err.count("\n") == 1 and "are not kept for the next run" in err
    assert not list(tmp_path.rglob("moments/*"))
