import signal
import subprocess
import sys

import pytest

from tta.foundation.errors import UserError
from tta.foundation.lock import FolderLock

HOLDER = """
import os, sys, time
from pathlib import Path
from tta.foundation.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if os.fork() == 0:
    print(os.getpid(), flush=True)  # the child, once it has let go
time.sleep(60)
"""


def test_a_forked_process_that_outlives_the_holder_does_not_hold_on(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        with pytest.raises(UserError, match="another process is writing"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        try:
            FolderLock(tmp_path).release()
        finally:
            subprocess.run(["kill", f"-{signal.SIGKILL:d}", str(child)], check=True)


def test_released_twice_in_turn(tmp_path):
    for _ in range(2):
        FolderLock(tmp_path).release()
    assert not any(tmp_path.iterdir())
