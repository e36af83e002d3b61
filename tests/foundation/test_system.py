"""Where the modules of Linux and macOS are missing, commands say so in one line."""

import subprocess
import sys

import pytest

from tta.foundation.errors import UserError
from tta.foundation.system import require_posix

COMMANDS = (
    "run",
    "sweep",
    "compare",
    "plot",
    "report",
    "get",
    "generate_corrupted",
    "train_source",
    "published",
)
BLOCKED = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
for name in ("fcntl", "resource"):
    sys.modules.pop(name, None)
for name in sys.argv[1:]:
    main = importlib.import_module(f"tta.{name}").main
    print(name, main([]), flush=True)
"""


def test_every_command_refuses_a_system_without_its_modules():
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCKED, *COMMANDS], capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == [f"{name} 2" for name in COMMANDS], ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == len(COMMANDS)
    assert all("runs on Linux and macOS" in line and "'fcntl'" in line for line in lines)


def test_the_library_says_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(UserError, match="on Windows, run it in WSL"):
        require_posix()
