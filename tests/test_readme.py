"""The README's method is run as it is printed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tta.commands.run import main
from tta.sweeps.grid import read_grid

README = Path(__file__).parents[1] / "README.md"


def test_the_method_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    Path("my_file.py").write_text(code)
    run = ["--method", "my_file.py:ConfidentTent", "--set", "threshold=0.3", "--json"]
    assert main([*run, "--domains", "fog", "--num-samples", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "confident_tent"


def use_blocks() -> list[str]:
    use = README.read_text(encoding="utf-8").partition("\n## Use\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", use, re.DOTALL)


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def test_every_command_of_the_readme_is_one_with_the_options_that_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tta.commands.run._run", lambda *_: 0)  # what is checked before that is
    first, _ = use_blocks()
    grid = first.partition("<<'END'\n")[2].partition("END\n")[0]
    Path("grid.yaml").write_text(grid)
    assert len(read_grid(Path("grid.yaml"))) == 12
    lines = [words(line) for line in first.replace(grid, "").splitlines()]
    assert len([line for line in lines if line[:2] == ["python", "-m"]]) >= 12
    for line in lines:
        if line[:3] == ["python", "-m", "tta.run"] and "--list" not in line:
            assert main(line[3:]) == 0, line


@pytest.mark.slow
def test_the_commands_of_the_readme_work_in_their_order(tmp_path):
    first, _ = use_blocks()
    script = first.replace("python -m", f"{sys.executable} -m")
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    result = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "stream.svg").is_file() and (tmp_path / "report.html").is_file()
