"""Scripts do something when they are called."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    file
    for folder in ("benchmarks", "data_scripts")
    for file in sorted((ROOT / folder).glob("*.py"))
    if "\ndef main(" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_a_script_calls_its_main(file):
    module = ast.parse(file.read_text(encoding="utf-8"))
    (main,) = [node for node in module.body if getattr(node, "name", "") == "main"]
    call = "main()" if ast.unparse(main.returns) == "None" else "raise SystemExit(main())"
    assert ast.unparse(module.body[-1]) == f"if __name__ == '__main__':\n    {call}"
