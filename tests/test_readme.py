"""The README's method is run as it is printed."""

import json
import re
from pathlib import Path

from tta.run import main

README = Path(__file__).parents[1] / "README.md"


def test_the_method_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    Path("my_file.py").write_text(code)
    run = ["--method", "my_file.py:ConfidentTent", "--set", "threshold=0.3", "--json"]
    assert main([*run, "--domains", "fog", "--num-samples", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "confident_tent"
