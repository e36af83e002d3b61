"""Warnings that nobody is to see, in whichever thread they are raised."""

from __future__ import annotations

import re
import warnings


def mute(message: str = "", module: str = "") -> None:
    """Let warnings of a kind be ignored from now on, before any filter that would show them.

    In place of ``warnings.catch_warnings``, which exchanges the filters of the whole process: where
    two threads are within it at once, what one of them ignores may stay ignored for ever.

    Args:
        message: regular expression of how they begin.
        module: regular expression of how the name of the module that warns begins.
    """
    wanted = [re.compile(message, re.IGNORECASE) if message else None, Warning]
    wanted += [re.compile(module) if module else None]
    for action, *kind in warnings.filters:
        if action != "ignore":
            break
        if kind[:3] == wanted:
            return
    warnings.filterwarnings("ignore", message, Warning, module)
