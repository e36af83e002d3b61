"""What the folder tree says of imports."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules() -> dict[str, Path]:
    files = {file.relative_to(ROOT).with_suffix(""): file for file in ROOT.glob("tta/**/*.py")}
    return {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}


def imported(file: Path, known) -> set[str]:
    """Return what a module imports, also inside functions and for type checkers alone."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inside & known) or {node.module}
    return names & known


def test_no_modules_import_each_other():
    files = modules()
    assert len(files) > 100
    graph = {name: imported(file, files.keys()) - {name} for name, file in files.items()}
    TopologicalSorter(graph).prepare()  # raises where there is a cycle, and names it


def test_imports_follow_the_order_that_the_house_has():
    layout = (ROOT / "tta" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^- (`.*?):", layout, re.MULTILINE | re.DOTALL)
    level = {name: i for i, line in enumerate(lines) for name in re.findall(r"`(\w+)`", line)}
    files = modules()
    parts = {name: name.split(".")[1] for name in files if "." in name}
    assert set(parts.values()) == level.keys()
    for name, part in parts.items():
        for other in imported(files[name], files.keys()) & parts.keys():
            assert level[parts[other]] <= level[part], f"{name} imports {other}"
