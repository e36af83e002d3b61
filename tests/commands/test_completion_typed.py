"""What zsh and tcsh make of their scripts, typed into them with the key Tab."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

PROMPT = "READY"
STARTS = {  # the prompt in two parts: what is typed is echoed, and is no prompt
    "zsh": "PS1='REA''DY'; fpath=({folder} $fpath); autoload -Uz compinit; compinit -D; "
    'tta() {{ print -r -- "GOT:$*" }}\n',
    "tcsh": "set prompt='REA''DY'; source {folder}/_tta; alias tta 'echo GOT:\\!*'\n",
}
TYPED = {
    "tta ru": "run",
    "tta run --method roi": "run --method roid",
    "tta run --method tent --scenario gradu": "run --method tent --scenario gradual",
    "tta run --dataset digits-r-": "run --dataset digits-r-source",
    "tta run --sce": "run --scenario",
    "tta compare --format la": "compare --format latex",
    "tta get office": "get office-home",
    "tta generate-corrupted imagenet-c-": "generate-corrupted imagenet-c-full",
    "tta published cifar10c_m": "published cifar10c_mixed",
    "tta completion z": "completion zsh",
    "tta sweep gri": "sweep grid.yaml",
    "tta run --config gri": "run --config grid.yaml",
    "tta run --method nothing-lik": "run --method nothing-lik",
}


def typed(command, lines, folder):
    """Return what an interactive shell in ``folder`` prints where lines are typed into it."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execvpe(command[0], command, {**os.environ, "TERM": "vt100", "HOME": str(folder)})
    try:
        return "".join(_answer(terminal, line) for line in lines)
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


def _answer(terminal, line, seconds=20):
    os.write(terminal, line.encode())
    printed, end = b"", time.monotonic() + seconds
    while PROMPT.encode() not in printed:
        assert time.monotonic() < end, printed
        if select.select([terminal], [], [], 0.1)[0]:
            printed += os.read(terminal, 65536)
    return printed.decode(errors="replace")


@pytest.mark.parametrize("shell", STARTS)
def test_names_options_and_files_are_completed(shell, tmp_path):
    pytest.importorskip("shtab")
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "grid.yaml").touch()
    with (tmp_path / "_tta").open("w") as out:
        command = [sys.executable, "-m", "tta", "completion", shell]
        subprocess.run(command, stdout=out, check=True)
    lines = [STARTS[shell].format(folder=tmp_path), *(f"{line}\t\n" for line in TYPED)]
    printed = typed([shell, "-f"], lines, tmp_path)
    found = re.findall(r"^GOT:(.*?) *\r?$", printed, re.MULTILINE)
    assert dict(zip(TYPED, found, strict=True)) == TYPED
