"""What the table of versions is made of, without making an environment."""

import os
import sys

import pytest

from benchmarks.trials import rows
from benchmarks.trials.page import COLUMNS, SHOWN, read_rows, render
from benchmarks.trials.rows import (
    SETTINGS,
    Environment,
    environments,
    has_failed,
    lower_bounds,
    summarised,
    try_out,
    update,
)
from benchmarks.trials.virtual import StepError, find_python, output, place

SETUP = """\
[options]
python_requires = >=3.10
install_requires =
    torch>=2.4
    scikit-learn>=1.3

[options.extras_require]
test =
    pytest-xdist>=3.5
ray =
    ray>=2.9
"""


def row(name: str, **cells: str) -> dict[str, str]:
    return dict.fromkeys(COLUMNS, "1.0") | {"environment": name, "tests": "3 passed"} | cells


def test_lower_bounds_are_those_of_the_file(tmp_path):
    file = tmp_path / "setup.cfg"
    file.write_text(SETUP)
    pins = {"torch": "2.4", "scikit-learn": "1.3", "pytest-xdist": "3.5", "ray": "2.9"}
    assert lower_bounds(file) == ("3.10", pins)
    assert environments(file)[0] == Environment("lowest-3.10", "3.10", pins)


@pytest.mark.parametrize("line", ["torch", "torch==2.4", "torch>=2.4,<3", "torch[x]>=2"])
def test_a_requirement_without_a_lower_bound_is_refused(tmp_path, line):
    file = tmp_path / "setup.cfg"
    file.write_text(SETUP.replace("torch>=2.4", line))
    with pytest.raises(ValueError, match="not of the form name>=version"):
        lower_bounds(file)


def test_environments_are_told_apart_and_have_the_shown_packages():
    there = environments(SETTINGS)
    assert len({environment.name for environment in there}) == len(there)
    python, bounds = lower_bounds(SETTINGS)
    assert set(SHOWN) <= bounds.keys()
    assert rows.MIDDLE.keys() <= bounds.keys()
    assert python in rows.NEWEST_ON


def test_a_table_is_read_back_as_it_was_rendered():
    table = [
        row("lowest-3.10", tests=r"1 failed, 2 passed (tests/a.py::test_b[x|y\z])"),
        row("newest-3.13", others="cmaes 0.10, tqdm 4.60, " * 9 + "ray 2", torch=""),
        row("newest-3.12", others="", tests=""),
    ]
    assert read_rows(render(table)) == {one["environment"]: one for one in table}
    assert read_rows(render(table).replace("| passed", "| trials")) == {}


def test_no_row_of_the_table_is_wide_and_what_is_long_stands_below_it():
    text = render(
        [row("lowest-3.10", others="tqdm 4.60, " * 40, tests="3 failed, 41 passed of -n 1")]
    )
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, table)) <= 100
    assert [cell.strip() for cell in table[-1].split("|")][-2] == "41"
    assert text.endswith("tests: 3 failed, 41 passed of -n 1\n")
    assert max(map(len, text.splitlines())) <= 100


def test_a_python_that_is_not_there_is_said_not_to_be_tried(tmp_path):
    tried = try_out(Environment("oldest", "3.0"), tmp_path, [])
    assert tried["tests"] == "not tried: there is no python3.0 here"
    assert not has_failed(tried)


def test_a_shim_of_a_python_that_does_not_run_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    shim = tmp_path / "python3.0"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert find_python("3.0") is None
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_python("3.0") == str(shim)


@pytest.fixture
def made(monkeypatch):
    """Take every Python for there, and every environment for made."""
    monkeypatch.setattr(rows, "find_python", lambda _: sys.executable)
    monkeypatch.setattr(rows, "installed", lambda *_: {"torch": "2.4.0"})
    monkeypatch.setattr(rows, "main_error", lambda _: "5.34")
    monkeypatch.setattr(rows, "tested", lambda *_: "3 passed")
    return monkeypatch


def failing(*_: object) -> str:
    raise StepError("no wheel")


def test_a_row_says_which_step_failed_and_why(made, tmp_path):
    environment = Environment("lowest-3.10", "3.10")
    whole = try_out(environment, tmp_path, [])
    assert tuple(whole) == COLUMNS
    assert (whole["torch"], whole["error %"], whole["tests"]) == ("2.4.0", "5.34", "3 passed")
    assert not has_failed(whole)
    made.setattr(rows, "main_error", failing)
    half = try_out(environment, tmp_path, [])
    assert (half["error %"], half["tests"]) == ("failed: no wheel", "3 passed")
    made.setattr(rows, "installed", failing)
    none = try_out(environment, tmp_path, [])
    assert (none["torch"], none["error %"], none["tests"]) == ("", "", "failed: no wheel")
    assert has_failed(half) and has_failed(none)


def test_other_rows_stay_and_failures_do_not_keep_the_next_from_being_tried(made, tmp_path):
    file = tmp_path / "versions.md"
    file.write_text(render([row("middle-3.11"), row("of-old"), row("newest-3.12")]))
    made.setattr(rows, "installed", failing)
    tried = update(["newest-3.12", "lowest-3.10"], file)
    assert [cells["environment"] for cells in tried] == ["newest-3.12", "lowest-3.10"]
    assert all(map(has_failed, tried))
    tests = {name: cells["tests"] for name, cells in read_rows(file.read_text()).items()}
    assert list(tests.items()) == [
        ("lowest-3.10", "failed: no wheel"),
        ("newest-3.12", "failed: no wheel"),
        ("middle-3.11", "3 passed"),
    ]


def test_an_environment_stays_where_it_is_to_be_kept_and_nowhere_else(tmp_path):
    with place("lowest-3.10", None) as folder:
        (folder / "file").touch()
    assert not folder.exists()
    for _ in range(2):
        with place("lowest-3.10", tmp_path / "kept") as folder:
            (folder / "file").touch()
    assert (tmp_path / "kept" / "lowest-3.10" / "file").is_file()


def test_counts_and_failures_are_taken_from_what_pytest_prints():
    green = "....\nSKIPPED [2] tests/assets.py:17: not set\n1701 passed, 25 skipped in 240.11s\n"
    assert summarised(green, 0) == "1701 passed, 25 skipped"
    red = (
        "FAILED tests/a.py::test_b[x] - AssertionError: 1 failed\nERROR tests/c.py - ImportError\n"
        "===== 1 failed, 1700 passed, 3 warnings, 1 error in 240.11s (0:04:00) =====\n"
    )
    expected = "1 failed, 1700 passed, 3 warnings, 1 error (tests/a.py::test_b[x], tests/c.py)"
    assert summarised(red, 1) == expected
    assert has_failed(row("a", tests=expected)) and not has_failed(row("a", tests="3 passed"))
    with pytest.raises(StepError, match="no module named pytest"):
        summarised("no module named pytest\n", 1)
    with pytest.raises(StepError, match="stopped with status 2 at 1701 passed"):
        summarised(green, 2)


@pytest.mark.parametrize(("status", "said"), [("'no wheel'", "no wheel"), ("3", "status 3")])
def test_a_command_that_failed_is_known_by_its_last_word_or_its_status(tmp_path, status, said):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    with pytest.raises(StepError, match=f"^{said}$"):
        output(tmp_path, ["-c", f"raise SystemExit({status})"])
    print_home = "import os; print(os.environ.get('PYTHONPATH'), os.environ['HOME'])"
    assert output(tmp_path, ["-c", print_home], HOME="here") == "None here\n"
