"""A stranger's method: by file, and by entry point."""

import json
import sys
import textwrap
from importlib.metadata import entry_points

import pytest

from tta.commands.run import main
from tta.methods import METHODS, find_method

MINE = textwrap.dedent(
    '''
    from dataclasses import dataclass

    import torch

    from tta.methods import Method, param


    class Sharpened(Method):
        """The source model with its logits divided by a temperature."""

        name = "sharpened"

        @dataclass(frozen=True)
        class Params:
            temperature: float = param(0.5, "divides the logits", minimum=0.01)

        @torch.no_grad()
        def step(self, images):
            return self.backbone(images) / self.params.temperature
    '''
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_file.py").write_text(MINE)
    return tmp_path


def test_method_by_path(folder, capsys):
    run = ["--method", "my_file.py:Sharpened", "--set", "temperature=0.25", "--json"]
    assert main([*run, "--domains", "pixelate", "--num-samples", "20"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["method"] == "sharpened"
    assert summary["params"] == {"temperature": 0.25}


def test_method_by_entry_point(folder, capsys, monkeypatch):
    installed = folder / "my_file-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-file\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[tta.methods]\nsharpened = my_file:Sharpened\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(METHODS, "_objects", {})
    assert entry_points(group="tta.methods", name="sharpened")
    assert main(["--list"]) == 0
    assert "\n  sharpened " in capsys.readouterr().out
    assert find_method("sharpened").__module__ == "my_file"
    sys.modules.pop("my_file")
