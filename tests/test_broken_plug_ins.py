"""Plug-ins that raise, exit or are no method: named, and nothing else is touched."""

import os
import re
import subprocess
import sys

import pytest

from tta.commands.run import main
from tta.methods import METHODS

BROKEN = {
    "exits": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "raises": ("raise RuntimeError('no luck')\n", "RuntimeError: no luck"),
    "lacks": ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
    "garbled": ("def f(:\n", "SyntaxError: "),
    "odd": ("class Stop(BaseException): pass\nraise Stop('x')\n", "Stop: x"),
    "empty": ("", "has no attribute 'Mine'"),
    "number": ("Mine = 3\n", "is no subclass of tta.methods.Method"),
    "nameless": (
        "from tta.methods import Method\nclass Mine(Method): pass\n",
        "has no name; give it one, such as name = 'mine'",
    ),
    "needy": (
        "from tta.methods import Method\nclass Mine(Method):\n    name = 'needy'\n"
        "    @classmethod\n    def needs(cls, params): raise OSError('gone')\n",
        "cannot be asked what it needs (OSError: gone)",
    ),
}
GOOD = (
    "from tta.methods import Method\nclass Mine(Method):\n    '''Does nothing.'''\n"
    "    name = 'good'\n    def step(self, images): return self.backbone(images)\n"
)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return a folder of installed packages: broken ones and a good one."""
    folder = tmp_path_factory.mktemp("packages")
    for name, text in [*((name, text) for name, (text, _) in BROKEN.items()), ("good", GOOD)]:
        (folder / f"plug_{name}.py").write_text(text)
        info = folder / f"plug_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug-{name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[tta.methods]\n{name} = plug_{name}:Mine\n")
    data = folder / "data-1.0.dist-info"
    data.mkdir()
    (data / "entry_points.txt").write_text("[tta.datasets]\nmine = plug_number:Mine\n")
    return folder


def run(packages, tmp_path, *arguments):
    path = os.pathsep.join([str(packages), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "tta.run", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )


def broken_rows(text):
    """Return the reasons by name; wrapped lines are put together."""
    rows = re.findall(r"^    (\w+) +(.*(?:\n {6,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(reason.split()) for name, reason in rows}


def test_the_list_shows_what_is_broken_and_all_the_rest(packages, tmp_path):
    result = run(packages, tmp_path, "--list")
    assert (result.returncode, result.stderr) == (0, "")
    _, methods, broken, datasets, broken_data, _ = re.split(
        r"^(?:\w+|  broken):\n", result.stdout, flags=re.MULTILINE
    )
    rows = broken_rows(broken)
    assert rows.keys() == BROKEN.keys()
    for name, (_, reason) in BROKEN.items():
        assert reason in rows[name]
    assert "is no subclass of tta.datasets.Dataset" in broken_rows(broken_data)["mine"]
    assert {"good", "tent"} <= {line.split()[0] for line in methods.splitlines() if line}
    assert re.search("^  digits-c ", datasets, re.MULTILINE)
    assert "\n  exits " not in methods
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_others_run_beside_broken_ones_and_a_broken_one_is_refused(packages, tmp_path):
    run_good = ["--method", "good", "--domains", "fog", "--num-samples", "8"]
    assert run(packages, tmp_path, *run_good).returncode == 0
    result = run(packages, tmp_path, "--method", "exits")
    assert result.returncode == 2
    assert "method 'exits' is published by an installed package but" in result.stderr
    assert "cannot be loaded (SystemExit: 3); mend or uninstall" in result.stderr


@pytest.mark.parametrize("content", [b"[tta.methods]\nno equals sign\n", b"[x]\n\xff = x:y\n"])
def test_a_list_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch, content):
    for name, text in [("a_torn", content), ("b_whole", b"[tta.methods]\nmine = b:Mine\n")]:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_bytes(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mine" in METHODS and "tent" in METHODS and "mine" in list(METHODS)


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_raise_exit_or_are_no_method(packages, tmp_path, monkeypatch, capsys, name):
    if name == "needy":
        pytest.skip("only --list asks it so early")
    monkeypatch.chdir(tmp_path)
    expected = BROKEN[name][1]
    if name in ("empty", "number"):
        expected = "no subclass of tta.methods.Method named 'Mine'"
    assert main(["--method", f"{packages}/plug_{name}.py:Mine"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
