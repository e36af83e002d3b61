"""Which operating systems this runs on."""

from __future__ import annotations

from tta.foundation.errors import UserError


def require_posix() -> None:
    """Refuse a system without the locks and limits that runs rely on.

    Raises:
        UserError: it is neither Linux nor macOS, nor like them.
    """
    try:
        import fcntl  # noqa: F401
        import resource  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"this runs on Linux and macOS, and here the module {error.name!r} of such systems is "
            "missing; on Windows, run it in WSL"
        ) from error
