"""Pictures are seen whole or not at all."""

import errno

import pytest

from tta.foundation.errors import UserError
from tta.reporting.pictures.style import FORMATS, save

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def figure():
    made = pyplot.figure(figsize=(1, 1))
    yield made
    pyplot.close(made)


@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG"])
def test_the_format_is_that_of_the_suffix(suffix, figure, tmp_path):
    save(figure, tmp_path / f"a{suffix}")
    head = (tmp_path / f"a{suffix}").read_bytes()[:200]
    assert {".pdf": b"%PDF", ".png": b"PNG", ".svg": b"<svg"}[suffix.lower()] in (
        head if suffix != ".svg" else (tmp_path / "a.svg").read_bytes()
    )


def test_a_full_disk_leaves_the_picture_that_was_there(figure, tmp_path, monkeypatch):
    def torn(file, **_):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"before")
    monkeypatch.setattr(figure, "savefig", torn)
    with pytest.raises(UserError, match="No space left on device.*choose another --output"):
        save(figure, tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"before"
