"""Where memory runs out, the batch is halved, the result is the same, and a line says so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import one_error
from toy import ToyGenerator, ToyTagger, ToyTranslator

from latentedit import Faces, open_samples, sample
from latentedit.errors import LatentEditError

SMALL = """
import torch
from toy import ToyGenerator

class Small(ToyGenerator):
    def decode(self, codes, *, content=None, noise="stored"):
        if len(codes) > {most}:
            raise {error}
        return super().decode(codes, noise=noise)
"""
ERRORS = (
    'torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")',
    """RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")""",
    'RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")',
    "MemoryError()",
)


def rows(samples):
    batches = list(samples.iter_batches())
    return np.concatenate([b.codes for b in batches]), np.concatenate([b.scores for b in batches])


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_the_command_goes_on_with_smaller_batches(run, number):
    Path(f"small{number}.py").write_text(SMALL.format(most=4, error=ERRORS[number]))
    Path("toys.py").write_text("from toy import ToyTagger as Tagger\n")
    code, _, err = run("sample", "--generator", f"torch:small{number}:Small", "--tagger", "torch:toys:Tagger", "-n", 40)
    assert code == 0, err
    lines = [line for line in err.splitlines() if "memory ran out" in line]
    assert [line.split("goes on with ")[1] for line in lines] == [f"{n} pictures at once" for n in (16, 8, 4)]
    whole = rows(sample(ToyGenerator(), "whole", tagger=ToyTagger(), n=40))
    for a, b in zip(rows(open_samples("samples")), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_contents_stay_with_their_rows():
    class Small(ToyTranslator):
        def decode(self, codes, *, content=None, noise="stored"):
            if len(codes) > 3:
                raise torch.OutOfMemoryError
            return super().decode(codes, content=content, noise=noise)

    faces = Faces(seeds=range(7), content=torch.randn(7, 4))
    with pytest.warns(UserWarning, match="memory ran out"):
        pictures = faces.prepare(Small()).pictures()
    assert torch.equal(pictures, faces.prepare(ToyTranslator()).pictures())


def test_a_tagger_gets_smaller_batches_too(tmp_path):
    class Small(ToyTagger):
        def score(self, images):
            if len(images) > 4:
                raise torch.OutOfMemoryError
            return super().score(images)

    with pytest.warns(UserWarning, match="memory ran out; toytags.* goes on with 3 pictures"):
        small = sample(ToyGenerator(), tmp_path / "small", tagger=Small(), n=20)
    whole = sample(ToyGenerator(), tmp_path / "whole", tagger=ToyTagger(), n=20)
    for a, b in zip(rows(small), rows(whole), strict=True):
        assert np.array_equal(a, b)


def test_when_not_one_picture_fits(run):
    Path("none.py").write_text(SMALL.format(most=0, error=ERRORS[1]))
    assert "out of memory" in one_error(run("sample", "--generator", "torch:none:Small", "--tagger", "none", "-n", 2))


def test_other_errors_are_not_tried_again():
    class Broken(ToyGenerator):
        calls = 0

        def decode(self, codes, *, content=None, noise="stored"):
            self.calls += 1
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    broken = Broken()
    with pytest.raises(RuntimeError, match="shapes"):
        Faces(seeds=range(4)).prepare(broken).pictures()
    assert broken.calls == 1


def test_the_line_when_not_one_fits():
    class TooLarge(ToyGenerator):
        def decode(self, codes, *, content=None, noise="stored"):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with (
        pytest.warns(UserWarning, match="1 picture at once"),
        pytest.raises(LatentEditError, match=r"toy:\w+ does not fit in memory \(CUDA out of memory.\); free some"),
    ):
        Faces(seeds=range(2)).prepare(TooLarge()).pictures()
