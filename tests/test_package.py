"""What an installed package has, and what its commands need of it."""

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def settings() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def shipped() -> set[Path]:
    """Return the files of data that setup.cfg names."""
    patterns = settings()["options.package_data"]["tta"].split()
    return {file for pattern in patterns for file in (ROOT / "tta").glob(pattern)}


def test_every_file_of_data_is_shipped():
    there = {
        file
        for file in (ROOT / "tta").rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    assert len(there) > 25
    assert shipped() == there


def test_every_folder_of_code_is_a_package():
    for file in (ROOT / "tta").rglob("*.py"):
        assert (file.parent / "__init__.py").is_file(), file


def test_no_message_names_a_script_that_is_not_shipped():
    for file in (ROOT / "tta").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "data_scripts/" not in text, file


@pytest.mark.slow
def test_the_commands_of_an_installed_package_find_what_they_need(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tta", source / "tta", ignore=ignored)
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--target", str(target), "--no-deps"]
    built_here = ["--use-pep517", "--no-build-isolation"]  # by the setuptools of the extra `test`
    subprocess.run([*pip, *built_here, str(source)], check=True)
    for file in shipped():
        assert (target / file.relative_to(ROOT)).read_bytes() == file.read_bytes()

    def command(*words: str, status: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(target), "TTA_DATA_DIR": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        assert result.returncode == status, result.stderr
        return result.stdout + result.stderr

    run = ["--domains", "fog,snow", "--num-samples", "60", "--batch-size", "20"]
    command("tta.run", "--method", "source", *run)
    assert "| source " in command("tta.compare", "results/runs", "--published")
    refused = command("tta.run", "--dataset", "cifar10-c", status=2)
    assert f"get it with `python -m tta.get cifar10-c --data-dir {tmp_path}`" in refused
    assert "problems" in command("tta.get", "verify", "cifar10-c", status=2)
    assert "python -m tta.get cifar10" in command("tta.published", "cifar10c_mixed", status=2)
    for name in ("tta.get", "tta.published", "tta.generate_corrupted", "tta.train_source"):
        assert f"usage: python -m {name} " in command(name, "--help")
    script = target / "bin" / "tta"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run([script, "--version"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "tta 0.1.0\n")
    assert "usage: python -m tta run " in command("tta", "run", "--help")
