"""Virtual environments with the committed code, made and used without a trace of this process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSIONS = """\
import json, platform, sys
from importlib.metadata import version
print(json.dumps([platform.python_version(), {name: version(name) for name in sys.argv[1:]}]))
"""


class StepError(Exception):
    """A command ended with another status than 0; the message is the last that it said."""


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


def find_python(version: str) -> str | None:
    """Return the interpreter of a version, None where there is none that runs."""
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "-c", "import venv"], capture_output=True)
    return found if works and works.returncode == 0 else None


def make(
    interpreter: str,
    folder: Path,
    repository: Path,
    pins: Mapping[str, str],
    extras: Sequence[str],
) -> None:
    """Install the committed code of ``repository``, in the environment that is there or a new one.

    Raises:
        StepError: something cannot be installed.
    """
    if source(folder).exists():
        shutil.rmtree(source(folder))
    _output(["git", "clone", "--quiet", str(repository), str(source(folder))], folder)
    held = "".join(f"{name}=={version}\n" for name, version in pins.items())
    (folder / "pins.txt").write_text(held)
    _output([interpreter, "-m", "venv", str(folder / "venv")], folder)
    pip = ["-m", "pip", "install", "--constraint", str(folder / "pins.txt")]
    _output([_python(folder), *pip, f".[{','.join(extras)}]"], source(folder))


def source(folder: Path) -> Path:
    """Return where the code lies that an environment was made from."""
    return folder / "source"


def versions(folder: Path, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the version of Python in an environment, and those of packages."""
    python, found = json.loads(output(folder, ["-c", VERSIONS, *names]))
    return python, found


def output(folder: Path, words: Sequence[str], **variables: str) -> str:
    """Return what an environment's Python prints, away from the code.

    Raises:
        StepError: it ends with another status than 0.
    """
    return _output([_python(folder), *words], folder, **variables)


def run(folder: Path, words: Sequence[str], at: Path, **options: Any) -> int:
    """Run an environment's Python in the folder ``at`` and return its status."""
    command = [_python(folder), *words]
    return subprocess.run(command, cwd=at, env=_variables(folder), **options).returncode


def _python(folder: Path) -> str:
    return str(folder / "venv" / "bin" / "python")


def _output(command: Sequence[str], folder: Path, **variables: str) -> str:
    env = _variables(folder) | variables
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if result.returncode != 0:
        raise StepError(last_line(result.stderr) or f"status {result.returncode}")
    return result.stdout


def _variables(folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return inherited | {
        "PIP_CONSTRAINT": os.devnull,  # pins of the machine would make other rows
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",  # a notice would be the last word of a failure
        "PIP_NO_COMPILE": "1",  # of torch, a minute; what is imported is compiled then
        "TTA_CACHE_DIR": str(folder / "cache"),
    }


def last_line(text: str) -> str:
    """Return the last line that has something on it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
