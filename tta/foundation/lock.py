"""One writer per folder, enforced by the operating system."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from tta.foundation.errors import UserError

with contextlib.suppress(ImportError):  # a command says so, see tta.foundation.system
    import fcntl

_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """Holds the lock of a folder until it is released or the process ends, however it ends.

    Args:
        folder: an existing folder; the file ``lock`` in it is removed on release.
        wait: until no other process holds the lock.

    Raises:
        UserError: another process holds the lock, and ``wait`` is not set.
        OSError: the folder cannot be written, or ``lock`` is a link to some other file.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        self.path = folder / "lock"
        kind = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        while True:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(self._file, kind)
            except BlockingIOError as error:
                os.close(self._file)
                raise UserError(
                    f"another process is writing to {str(folder)!r}; wait until it has finished, "
                    "or choose another --output"
                ) from error
            if self._is_current():
                _held.add(self)
                return
            os.close(self._file)

    def _is_current(self) -> bool:
        """Return whether the locked file is still the one in the folder.

        The holder before may have removed it between our opening and our locking it.
        """
        try:
            return os.path.samestat(os.fstat(self._file), self.path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others write."""
        _held.discard(self)
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def _let_go() -> None:
    """Close what a forked process, such as one that loads images, has inherited.

    A lock lasts as long as any process has its file open, and that one may outlive its parent.
    """
    for lock in _held:
        os.close(lock._file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
