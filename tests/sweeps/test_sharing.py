"""Cells of a sweep that share a stream: which go together, and what is left of them."""

import dataclasses
import json
from pathlib import Path

import pytest

from tta.commands.sweep import main
from tta.config import RunConfig
from tta.sweeps.grid import Cell, groups

GRID = """
domains: [contrast, pixelate]
num_samples: 20
batch_size: 10
output: {output}
grid: {{method: [source, bn, '{third}'], seed: [1]}}
"""
DIES = """
import os
from tta.methods import Method

class Dies(Method):
    name = "dies"

    def step(self, images):
        os._exit(9)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def names(parts) -> list[list[str]]:
    return [[cell.name for cell in group] for group in parts]


def cell(name: str, **options) -> Cell:
    return Cell(name, RunConfig(**options))


def test_cells_of_one_stream_go_together_and_no_worker_is_idle():
    pairs = [(method, seed) for method in "ab" for seed in (1, 2)]
    cells = [cell(f"{method} {seed}", method=method, seed=seed) for method, seed in pairs]
    assert names(groups(cells, 1)) == [["a 1", "b 1"], ["a 2", "b 2"]]
    assert names(groups(cells, 2)) == [["a 1", "b 1"], ["a 2", "b 2"]]
    assert names(groups(cells, 4)) == [["a 1"], ["b 1"], ["a 2"], ["b 2"]]
    one = [cell(str(number), method=f"m{number}") for number in range(5)]
    assert names(groups(one, 2)) == [["0", "1"], ["2", "3", "4"]]


def test_what_changes_images_or_is_measured_is_not_shared():
    plain = RunConfig()
    others = {"seed": 2, "batch_size": 5, "backbone": "resnet18", "precision": "bf16"}
    others |= {"estimate": ("softmax",), "severity": 1, "stream_rate": 1.0, "track": "wandb"}
    for name, value in others.items():
        changed = dataclasses.replace(plain, **{name: value})
        assert len(groups([Cell("a", plain), Cell("b", changed)], 1)) == 2, name
    alike = dataclasses.replace(plain, method="tent", set={"lr": 0.1}, adaptation_rate=0.5)
    assert len(groups([Cell("a", plain), Cell("b", alike)], 1)) == 1


def summaries(output) -> dict[str, dict]:
    found = [json.loads(file.read_text()) for file in Path(output).rglob("summary.json")]
    return {summary["method"]: summary for summary in found}


def tables(output) -> dict[str, bytes]:
    files = [*Path(output).rglob("batches.csv"), *Path(output).rglob("domains.csv")]
    return {str(file.relative_to(output)): file.read_bytes() for file in files}


def test_a_sweep_shares_by_itself_and_leaves_the_same_records(capsys):
    Path("grid.yaml").write_text(GRID.format(output="shared", third="tent"))
    assert main(["grid.yaml", "--workers", "1"]) == 0
    Path("grid.yaml").write_text(GRID.format(output="alone", third="tent"))
    assert main(["grid.yaml", "--workers", "1", "--no-share"]) == 0
    assert capsys.readouterr().out.count("3 cells: 3 run, 0 finished before, 0 failed") == 2
    assert tables("shared") == tables("alone")
    shared = [one["cost"].get("runs_on_the_stream") for one in summaries("shared").values()]
    alone = [one["cost"].get("runs_on_the_stream") for one in summaries("alone").values()]
    assert (shared, alone) == ([3] * 3, [None] * 3)


def test_where_one_kills_the_process_the_others_go_on_by_themselves(tmp_path, capsys):
    Path("dies.py").write_text(DIES)
    Path("grid.yaml").write_text(GRID.format(output="runs", third=f"{tmp_path}/dies.py:Dies"))
    assert main(["grid.yaml", "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "3 cells: 2 run, 0 finished before, 1 failed" in captured.out
    assert "its process was killed" in captured.err
    assert all(one["finished"] for one in summaries("runs").values())
