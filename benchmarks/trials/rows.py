"""The rows of ``benchmarks/versions.py``: what is tried, and what came of it."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from tta.foundation.files import write_atomically

from .page import COLUMNS, MAIN, SHOWN, Row, read_rows, render
from .virtual import (
    StepError,
    find_python,
    last_line,
    make,
    output,
    place,
    run,
    source,
    versions,
)

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "setup.cfg"
STRICT = ("DeprecationWarning", "FutureWarning", "PendingDeprecationWarning")
"""Warnings that are errors in tests where the code of `tta` causes them."""
NEWEST_ON = ("3.14", "3.13", "3.12", "3.11", "3.10")
MIDDLE = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""Between the bounds, as machines with an older driver have it."""
FAILED = "failed: "
NOT_TRIED = "not tried: "


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


def update(
    names: Sequence[str], file: Path, words: Sequence[str] = (), keep: Path | None = None
) -> list[Row]:
    """Try environments and write the row of each to ``file`` at once; return these rows.

    Args:
        names: of the environments; rows of others stay as they are.
        file: the table.
        words: for pytest.
        keep: the folder where environments stay; by default they are removed.
    """
    there = {environment.name: environment for environment in environments(SETTINGS)}
    tried = []
    for name in names:
        with place(name, keep) as folder:
            print(f"{name}: in {folder}", file=sys.stderr, flush=True)
            tried.append(try_out(there[name], folder, words))
        rows = read_rows(file.read_text(encoding="utf-8")) if file.is_file() else {}
        rows[name] = tried[-1]
        write_atomically(file, render([rows[known] for known in there if known in rows]))
    return tried


def environments(settings: Path) -> list[Environment]:
    """Return every environment, the lower bounds being those of setup.cfg."""
    python, bounds = lower_bounds(settings)
    newest = [Environment(f"newest-{version}", version) for version in NEWEST_ON]
    lowest = Environment(f"lowest-{python}", python, bounds)
    return [lowest, *newest, Environment("middle-3.11", "3.11", MIDDLE)]


def lower_bounds(settings: Path) -> tuple[str, dict[str, str]]:
    """Return the lowest Python, and the lowest version of every requirement and extra.

    Raises:
        ValueError: a requirement is not written as ``name>=version``.
    """
    parser = read_settings(settings)
    lists = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    bounds = dict(_bound(line) for lines in lists for line in lines.split())
    return _bound(f"python{parser['options']['python_requires']}")[1], bounds


def read_settings(settings: Path) -> ConfigParser:
    """Return what is in setup.cfg."""
    parser = ConfigParser()
    parser.read_string(settings.read_text(encoding="utf-8"))
    return parser


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
    made = attempt("tests", lambda: installed(environment, interpreter, folder))
    if has_failed(made):
        return row | made
    row |= made
    row |= attempt("error %", lambda: {"error %": main_error(folder)})
    row |= attempt("tests", lambda: {"tests": tested(folder, words)})
    return row


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


def installed(environment: Environment, interpreter: str, folder: Path) -> Row:
    """Make an environment and return the cells of what is in it."""
    extras = list(read_settings(SETTINGS)["options.extras_require"])
    make(interpreter, folder, ROOT, environment.pins, extras)
    names = list(lower_bounds(SETTINGS)[1])
    python, found = versions(folder, names)
    others = [f"{name} {found[name]}" for name in names if name not in SHOWN]
    shown = {name: found[name] for name in SHOWN}
    return {"Python": python, **shown, "others": ", ".join(others)}


def main_error(folder: Path) -> str:
    """Run the main command away from the sources and return its mean error in percent."""
    words = [*MAIN, "--json", "--output", str(folder / "runs")]
    summary = json.loads(output(folder, words, OMP_NUM_THREADS="1"))
    return f"{100 * summary['mean_error']:.2f}"


def tested(folder: Path, words: Sequence[str]) -> str:
    """Run the tests, which write tests.log, and return what came of them."""
    filters = "\n".join(rf"error::{name}:tta\." for name in STRICT)
    command = ["-m", "pytest", "-q", "-o", f"filterwarnings={filters}", *words]
    log = folder / "tests.log"
    with log.open("w") as file:
        status = run(folder, command, source(folder), stdout=file, stderr=subprocess.STDOUT)
    counts = summarised(log.read_text(), status)
    return " of ".join(filter(None, [counts, " ".join(words)]))


def summarised(printed: str, status: int) -> str:
    """Return the counts of pytest's last line and the names of the tests that failed.

    Raises:
        StepError: there are no counts, as nothing was run, or the tests were stopped before
            their end: pytest's ``status`` is then neither 0 nor 1.
    """
    counts = re.findall(r"^=* ?(\d+ (?:passed|failed|error|skipped).*?) in [\d.]+s", printed, re.M)
    if not counts:
        raise StepError(last_line(printed) or "pytest said nothing")
    if status not in (0, 1):
        raise StepError(f"stopped with status {status} at {counts[-1]}")
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, re.M)
    return counts[-1] + (f" ({', '.join(names)})" if names else "")
