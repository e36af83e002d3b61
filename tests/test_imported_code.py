"""Which files a method of one's own is made of."""

from dataclasses import replace

import pytest

from tests.test_own_methods import MINE
from tta.config import RunConfig
from tta.experiment.assembly import build
from tta.foundation.code_digest import PACKAGE
from tta.foundation.imported_code import with_imports

CONFIG = RunConfig(method="my_file.py:Sharpened", domains=("pixelate",), num_samples=8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {
        "my_file.py": MINE,
        "helper.py": "import dataclasses\nimport torch\nfrom tools import sums\nRATE = 0.5\n",
        "tools/__init__.py": "",
        "tools/sums.py": "from . import constants\n",
        "tools/constants.py": "ONE = 1\n",
        "tools/other.py": "TWO = 2\n",
        "unused.py": "import helper\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(found, folder):
    return sorted(file.relative_to(folder).as_posix() for file in found)


def test_imports_of_imports_are_found_and_no_package_of_others(folder):
    assert names(with_imports([folder / "helper.py"], PACKAGE), folder) == [
        "helper.py",
        "tools/__init__.py",
        "tools/constants.py",
        "tools/sums.py",
    ]
    assert names(with_imports([folder / "my_file.py"], PACKAGE), folder) == ["my_file.py"]
    tent = PACKAGE / "methods" / "tent.py"
    assert with_imports([tent], PACKAGE) == [tent]


def test_an_installed_package_is_followed_within_itself(folder):
    site = folder / "site-packages"
    site.mkdir()
    (folder / "tools").rename(site / "mine")
    (site / "mine" / "method.py").write_text("import others\nfrom mine.other import TWO\n")
    (site / "others.py").write_text("")
    found = with_imports([site / "mine" / "method.py"], PACKAGE)
    assert names(found, site) == ["mine/__init__.py", "mine/method.py", "mine/other.py"]


def test_an_edited_helper_is_another_run(folder):
    text = MINE.replace("import torch\n", "import torch\nfrom helper import RATE\n", 1)
    (folder / "my_file.py").write_text(text)
    before = build(CONFIG).fingerprint()
    (folder / "unused.py").write_text("import helper  # edited\nTHREE = 3\n")
    (folder / "helper.py").write_text((folder / "helper.py").read_text() + "# a comment\n")
    assert build(CONFIG).fingerprint() == before
    (folder / "tools" / "constants.py").write_text("ONE = 1.5\n")
    assert build(CONFIG).fingerprint() != before


def test_the_file_of_a_class_that_is_derived_from_counts(folder):
    (folder / "my_file.py").write_text("from base_of_mine import Sharpened as Base\n" + DERIVED)
    (folder / "base_of_mine.py").write_text(MINE)
    config = replace(CONFIG, method="my_file.py:Mine")
    before = build(config).fingerprint()
    (folder / "base_of_mine.py").write_text(MINE.replace("/ self.params", "* self.params"))
    assert build(config).fingerprint() != before


DERIVED = """

class Mine(Base):
    name = "mine"
"""
