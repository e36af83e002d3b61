"""The README's method is run as it is printed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tta.commands.run import main
from tta.streams import SCENARIOS
from tta.streams.composing import PARTS
from tta.streams.scenarios import COMPOSED
from tta.sweeps.grid import read_grid

README = Path(__file__).parents[1] / "README.md"


RECORDS = README.parent / "tta" / "experiment" / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_is_one_that_is_read_through():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    prose = re.sub(r"```sh\n.*?```", "", text, flags=re.DOTALL)
    assert max(map(len, prose.splitlines())) <= 100


def test_its_links_lead_somewhere():
    pages = [README, *(README.parent / "tta").rglob("README.md")]
    pages += [README.parent / name / "README.md" for name in ("results", "benchmarks", "tests")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_five_lines_of_python():
    (code,) = [block for block in python_blocks() if "tta.adapt" in block]
    assert len([line for line in code.splitlines() if line]) == 5
    convolution = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)
    model = nn.Sequential(*convolution, nn.Flatten(), nn.Linear(4, 5))
    parts = {"model": model, "loader": torch.rand(2, 6, 3, 16, 16)}
    code = code.replace("lr=1e-3", "lr=1e-3, input_size=(3, 16, 16)")
    exec(compile(code, "README", "exec"), parts)
    assert parts["logits"].shape == (6, 5)


def test_the_method_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = [block for block in python_blocks() if "(Method):" in block]
    assert len(code.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    Path("my_file.py").write_text(code)
    run = ["--method", "my_file.py:ConfidentTent", "--set", "threshold=0.3", "--json"]
    assert main([*run, "--domains", "fog", "--num-samples", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "confident_tent"


def use_block() -> str:
    use = README.read_text(encoding="utf-8").partition("\n## Use\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", use, re.DOTALL)
    return block


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def test_every_command_of_the_readme_is_one_with_the_options_that_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tta.commands.run._run", lambda *_: 0)  # what is checked before that is
    first = use_block()
    grid = first.partition("<<'END'\n")[2].partition("END\n")[0]
    Path("grid.yaml").write_text(grid)
    assert len(read_grid(Path("grid.yaml"))) == 12
    lines = [words(line) for line in first.replace(grid, "").splitlines()]
    assert len([line for line in lines if line[:2] == ["python", "-m"]]) >= 12
    for line in lines:
        if line[:3] == ["python", "-m", "tta.run"] and "--list" not in line:
            assert main(line[3:]) == 0, line


def test_the_commands_on_records_are_ones(tmp_path, monkeypatch, capsys):
    """Those that need a user's files get as far as to miss them."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", RECORDS.read_text(encoding="utf-8"), re.DOTALL)
    lines = [words(line) for line in block.splitlines()]
    assert [
        main(line[3:]) for line in lines if line[2] == "tta.run" and "--resume" not in line
    ] == [2, 2]
    errors = capsys.readouterr().err
    assert "mine.npz" in errors and "config.yaml" in errors


def test_the_commands_on_streams_are_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tta.commands.run._run", lambda *_: 0)
    text = (README.parent / "tta" / "streams" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [words(line)[3:] for block in blocks for line in block.splitlines()]
    assert len(lines) == 8 and [main(line) for line in lines] == [0] * 8
    names = set(re.findall(r"`(\w+)`", text))
    assert {*PARTS, *SCENARIOS} - {"recorded"} <= names | set(COMPOSED.values())


@pytest.mark.slow
def test_the_commands_of_the_readme_work_in_their_order(tmp_path):
    first = use_block()
    script = first.replace("python -m", f"{sys.executable} -m")
    script = re.sub(r"^tta ", f"{sys.executable} -m tta ", script, flags=re.MULTILINE)
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    result = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "stream.svg").is_file() and (tmp_path / "report.html").is_file()
