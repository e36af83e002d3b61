"""Online test-time adaptation of trained networks, and its evaluation with figures to trust.

Names are imported when they are asked for, so that ``import tta`` takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tta.foundation.registry import lazy_attributes
from tta.foundation.version import __version__ as __version__
from tta.foundation.waiting import choose_waiting

if TYPE_CHECKING:
    from tta.config import RunConfig
    from tta.foundation.errors import UserError
    from tta.library.adapted import Adapted
    from tta.library.adapting import adapt
    from tta.library.evaluating import Result, evaluate
    from tta.library.runs import load_runs
    from tta.library.zero_shot import zero_shot
    from tta.methods import METHODS, Method
    from tta.testing import check_method

_HOMES = {
    "Adapted": "tta.library.adapted",
    "METHODS": "tta.methods",
    "Method": "tta.methods",
    "Result": "tta.library.evaluating",
    "RunConfig": "tta.config",
    "UserError": "tta.foundation.errors",
    "adapt": "tta.library.adapting",
    "check_method": "tta.testing",
    "evaluate": "tta.library.evaluating",
    "load_runs": "tta.library.runs",
    "zero_shot": "tta.library.zero_shot",
}

__all__ = [
    "METHODS",
    "Adapted",
    "Method",
    "Result",
    "RunConfig",
    "UserError",
    "adapt",
    "check_method",
    "evaluate",
    "load_runs",
    "zero_shot",
]

_lookup = lazy_attributes(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if _HOMES.get(name, "").startswith("tta.library"):  # these load torch
        choose_waiting()
    return _lookup(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
