"""What counts as code that decides figures."""

import shutil

import pytest

import tta.foundation.code_digest
from tests.test_layout import imported, modules
from tta.foundation.code_digest import PACKAGE, WORDS, bare, code_digest, deciding_modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a copy of the package whose code is digested in place of this one."""
    copy = tmp_path / "tta"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(tta.foundation.code_digest, "PACKAGE", copy)
    return copy


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("commands/plot.py", "import argparse", "import argparse\n\nUNUSED = 1"),
        ("reporting/pictures/style.py", "import", "# why\nimport"),
        ("reporting/tables.py", "import re", "import re  # for numbers"),
        ("methods/tent.py", '"""', '"""Edited. '),
        ("methods/tent.py", "class Tent", "# a word\n\n\nclass Tent"),
        ("sweeps/local.py", "import", "import json\nimport"),
        ("datasets/getting/download.py", "import", "import json\nimport"),
    ],
)
def test_what_only_shows_or_explains_leaves_runs_where_they_are(package, name, old, new):
    before = code_digest()
    edit(package / name, old, new)
    assert code_digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("methods/tent.py", ".mean()", ".sum()"),
        ("experiment/observing/sample_table.py", "1.0 - ", "2.0 - "),
        ("tasks/metrics.py", "def ", "def _"),
        ("streams/scenarios.py", "reset=True", "reset=False"),
        ("datasets/images.py", "255.0", "256.0"),
    ],
)
def test_what_decides_figures_counts(package, name, old, new):
    before = code_digest()
    edit(package / name, old, new)
    assert code_digest() != before


def test_nothing_that_decides_figures_rests_on_what_does_not_count():
    files = modules()
    names = {file: name for name, file in files.items()}
    deciding = {names[file] for file in deciding_modules()}
    shown = {
        f"tta.experiment.observing.{name}" for name in ("progress", "trackers")
    }  # sent figures alone
    asked = {"tta.experiment.preflight"}  # refuses, or does nothing
    known_apart = {f"tta.{name.replace('/', '.')}" for name in WORDS} | shown | asked
    for name in deciding:
        outside = imported(files[name], files.keys()) - deciding - known_apart
        assert not outside, f"{name} imports {outside}"


def test_bare_code_keeps_what_runs():
    source = (
        '"""Doc."""\n\nimport re  # noqa\n\nX = "# kept"\n"""About X."""\n\n\n'
        'def f(a):\n    """Doc\n\n    more.\n    """\n    # why\n    text = """one\n\n  two"""\n'
        '    "no docstring"\n    return a  # é\n'
    )
    kept = '    "no docstring"\n    return a'
    assert bare(source) == (
        'import re\nX = "# kept"\ndef f(a):\n    text = """one\n\n  two"""\n' + kept
    )


def test_code_that_cannot_be_parsed_is_digested_as_it_is():
    assert bare("def f(:\n") == "def f(:\n"
    assert bare('x = """never closed') == 'x = """never closed'


def test_lines_are_counted_as_python_counts_them():
    """What is no end of a line to Python shifts nothing: here, which line the comment is on."""
    source = 'X = "a\x0cb\x1c\u2028"\n\x0c\nY = 1  # why\nZ = 2\n'
    assert bare(source) == 'X = "a\x0cb\x1c\u2028"\nY = 1\nZ = 2'


def test_the_digest_is_kept_and_a_damaged_one_is_not_believed(package, tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "cache"))
    digest, kept = code_digest(), tmp_path / "cache" / "code_digest"
    with monkeypatch.context() as patch:
        patch.setattr(tta.foundation.code_digest, "bare", pytest.fail)
        assert code_digest() == digest
    line = kept.read_text()
    kept.write_text(line.replace(line.split()[1], "0" * 64))
    assert code_digest() == digest and kept.read_text() == line


def test_what_has_changed_alone_is_read_anew(package, tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "cache"))
    before = code_digest()
    edit(package / "methods" / "tent.py", ".mean()", ".sum()")
    tta.foundation.code_digest._bare_digest.cache_clear()
    read = []
    monkeypatch.setattr(
        tta.foundation.code_digest, "bare", lambda text: read.append(text) or bare(text)
    )
    after = code_digest()
    assert after != before
    assert read == [(package / "methods" / "tent.py").read_text()]
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "other"))
    assert code_digest() == after
