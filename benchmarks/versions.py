"""The oldest and the newest packages and Pythons that setup.cfg promises, tried one by one.

    python benchmarks/versions.py [--only NAME ...] [--tests "WORDS OF PYTEST"] [--keep FOLDER]

makes a virtual environment per row with the committed code and its tests, runs the main command
with one thread and the fast tests in it, and writes results/versions.md after each. Rows that are
not asked for stay as they are. A Python is found by its name, as `python3.10`. An environment
takes minutes to make and some GB of disk until its row is written; with `--keep` it stays, and the
next command with the same folder goes on from it. Status 1 where a row failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from tta.foundation.files import write_atomically
from tta.reporting.tables import markdown

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "setup.cfg"
OUTPUT = ROOT / "results" / "versions.md"
MAIN = ("-m", "tta.run", "--method", "rmt", "--scenario", "continual")
STRICT = ("DeprecationWarning", "FutureWarning", "PendingDeprecationWarning")
"""Warnings that are errors in tests where the code of `tta` causes them."""
NEWEST_ON = ("3.14", "3.13", "3.12", "3.11", "3.10")
MIDDLE = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""Between the bounds, as machines with an older driver have it."""
SHOWN = ("torch", "torchvision", "timm", "numpy", "pandas")
COLUMNS = ("environment", "tried", "Python", *SHOWN, "others", "error %", "tests")
FAILED = "failed: "
NOT_TRIED = "not tried: "
HEAD = f"""# Versions

`python benchmarks/versions.py`

A row is a virtual environment of its own with `pip install ".[test]"`. `lowest` has every lower
bound of setup.cfg at once, `newest` what pip chose on the day it was tried, `middle` an older
torch under it. The error is that of `python {" ".join(MAIN)}`
with one thread on a CPU. Tests are the fast ones, or those that the row names; in them a
deprecation that the package's own code causes is an error.
"""

Row = dict[str, str]


@dataclass(frozen=True)
class Environment:
    """A Python and what its packages are held to.

    Attributes:
        name: of the row.
        python: its version, as ``3.10``.
        pins: version by package; others are the newest that pip finds.
    """

    name: str
    python: str
    pins: dict[str, str] = field(default_factory=dict)


class StepError(Exception):
    """A command ended with another status than 0; the message is the last that it said."""


def main() -> int:
    """Try the environments that are asked for and write their rows; return the exit status."""
    there = {environment.name: environment for environment in environments(SETTINGS)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=there, default=list(there), metavar="NAME")
    parser.add_argument("--tests", default="", help="what to give pytest; default all fast tests")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where environments stay")
    options = parser.parse_args()
    rows = read_rows(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    for name in options.only:
        with place(name, options.keep) as folder:
            print(f"{name}: in {folder}", file=sys.stderr, flush=True)
            rows[name] = try_out(there[name], folder, shlex.split(options.tests))
        write_atomically(OUTPUT, render([rows[known] for known in there if known in rows]))
    print(markdown(list(COLUMNS), [list(rows[name].values()) for name in options.only]))
    return 1 if any(has_failed(rows[name]) for name in options.only) else 0


@contextlib.contextmanager
def place(name: str, keep: Path | None) -> Iterator[Path]:
    """Give the folder of an environment, one that is removed afterwards unless it is kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix=f"tta-{name}-") as folder:
            yield Path(folder)
    else:
        folder = (keep / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def environments(settings: Path) -> list[Environment]:
    """Return every environment, the lower bounds being those of setup.cfg."""
    python, bounds = lower_bounds(settings)
    newest = [Environment(f"newest-{version}", version) for version in NEWEST_ON]
    lowest = Environment(f"lowest-{python}", python, bounds)
    return [lowest, *newest, Environment("middle-3.11", "3.11", MIDDLE)]


def lower_bounds(settings: Path) -> tuple[str, dict[str, str]]:
    """Return the lowest Python, and the lowest version of every requirement and test extra.

    Raises:
        ValueError: a requirement is not written as ``name>=version``.
    """
    parser = ConfigParser()
    parser.read_string(settings.read_text(encoding="utf-8"))
    lines = parser["options"]["install_requires"].split()
    lines += parser["options.extras_require"]["test"].split()
    bounds = dict(_bound(line) for line in lines)
    return _bound(f"python{parser['options']['python_requires']}")[1], bounds


def _bound(line: str) -> tuple[str, str]:
    found = re.fullmatch(r"([\w.-]+)>=([\d.]+)", line)
    if found is None:
        raise ValueError(f"setup.cfg: `{line}` is not of the form name>=version")
    return found[1], found[2]


def try_out(environment: Environment, folder: Path, words: Sequence[str]) -> Row:
    """Make an environment below ``folder``, use it and return its row, also where that fails."""
    row = dict.fromkeys(COLUMNS, "")
    row["environment"], row["Python"] = environment.name, environment.python
    row["tried"] = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    interpreter = find_python(environment.python)
    if interpreter is None:
        return row | {"tests": f"{NOT_TRIED}there is no python{environment.python} here"}
    made = attempt("tests", lambda: install(environment, interpreter, folder))
    if has_failed(made):
        return row | made
    row |= made
    row |= attempt("error %", lambda: {"error %": main_error(folder)})
    row |= attempt("tests", lambda: {"tests": tested(folder, words)})
    return row


def find_python(version: str) -> str | None:
    """Return the interpreter of a version, None where there is none that runs."""
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "-c", "import venv"], capture_output=True)
    return found if works and works.returncode == 0 else None


def attempt(column: str, step: Callable[[], Row]) -> Row:
    """Return the cells that a step gives, or why it failed in ``column``."""
    try:
        return step()
    except StepError as error:
        return {column: f"{FAILED}{error}"}


def has_failed(row: Row) -> bool:
    """Whether a step of a row failed, or any test."""
    found = re.search(r"\d+ (failed|error)", row.get("tests", ""))
    return found is not None or any(cell.startswith(FAILED) for cell in row.values())


def install(environment: Environment, interpreter: str, folder: Path) -> Row:
    """Install the committed code with its tests and return the cells of what is there."""
    source = folder / "source"
    if source.exists():
        shutil.rmtree(source)
    _output(["git", "clone", "--quiet", str(ROOT), str(source)], folder)
    held = "".join(f"{name}=={version}\n" for name, version in environment.pins.items())
    (folder / "pins.txt").write_text(held)
    _output([interpreter, "-m", "venv", str(folder / "venv")], folder)
    pip = ["-m", "pip", "install", "--constraint", str(folder / "pins.txt")]
    _output([_python(folder), *pip, ".[test]"], source)
    return versions(folder)


def versions(folder: Path) -> Row:
    """Return the versions that an environment has, those of less interest in one cell."""
    names = list(lower_bounds(SETTINGS)[1])
    script = (
        "import importlib.metadata, json, platform, sys; print(json.dumps("
        "[platform.python_version(), *map(importlib.metadata.version, sys.argv[1:])]))"
    )
    python, *found = json.loads(_output([_python(folder), "-c", script, *names], folder))
    by_name = dict(zip(names, found, strict=True))
    others = [f"{name} {by_name[name]}" for name in names if name not in SHOWN]
    shown = {name: by_name[name] for name in SHOWN}
    return {"Python": python, **shown, "others": ", ".join(others)}


def main_error(folder: Path) -> str:
    """Run the main command away from the sources and return its mean error in percent."""
    output = ["--json", "--output", str(folder / "runs")]
    summary = json.loads(_output([_python(folder), *MAIN, *output], folder, OMP_NUM_THREADS="1"))
    return f"{100 * summary['mean_error']:.2f}"


def tested(folder: Path, words: Sequence[str]) -> str:
    """Run the tests and return what came of them."""
    filters = "\n".join(rf"error::{name}:tta\." for name in STRICT)
    command = [_python(folder), "-m", "pytest", "-q", "-o", f"filterwarnings={filters}", *words]
    result = _run(command, folder / "source")
    (folder / "tests.log").write_text(result.stdout + result.stderr, encoding="utf-8")
    return " of ".join(filter(None, [summarised(result.stdout), " ".join(words)]))


def summarised(output: str) -> str:
    """Return the counts of pytest's last line and the names of the tests that failed.

    Raises:
        StepError: there are no counts, as nothing was run.
    """
    counts = re.findall(r"^=* ?(\d+ (?:passed|failed|error|skipped).*?) in [\d.]+s", output, re.M)
    if not counts:
        raise StepError(_last_line(output) or "pytest said nothing")
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
    return counts[-1] + (f" ({', '.join(names)})" if names else "")


def render(rows: Sequence[Row]) -> str:
    """Return the text of results/versions.md."""
    return f"{HEAD}\n{markdown(list(COLUMNS), [list(row.values()) for row in rows])}\n"


def read_rows(text: str) -> dict[str, Row]:
    """Return the rows of a table that was rendered, by name; none where its columns differ."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[_unescaped(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    if not cells or tuple(cells[0]) != COLUMNS:
        return {}
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]]
    return {row["environment"]: row for row in rows}


def _unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell.strip())


def _python(folder: Path) -> str:
    return str(folder / "venv" / "bin" / "python")


def _output(command: Sequence[str], folder: Path, **variables: str) -> str:
    result = _run(command, folder, **variables)
    if result.returncode != 0:
        raise StepError(_last_line(result.stderr) or f"status {result.returncode}")
    return result.stdout


def _run(
    command: Sequence[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command untouched by this process's imports and by the machine's own pins."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = {
        "PIP_CONSTRAINT": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",  # a notice would be the last word of a failure
        "TTA_CACHE_DIR": str(folder / "cache"),
    }
    return subprocess.run(
        command, cwd=folder, env=inherited | own | variables, capture_output=True, text=True
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    raise SystemExit(main())
