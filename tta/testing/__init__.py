"""Whether a method keeps what every method promises: for tests of one's own, and `tta check`.

In a test::

    from tta.testing import check_method

    def test_my_method():
        check_method(MyMethod, lr=0.01)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tta.foundation.registry import lazy_attributes

if TYPE_CHECKING:
    from tta.testing.checking import Finding, check_method, findings

__all__ = ["Finding", "check_method", "findings"]

__getattr__ = lazy_attributes(__name__, dict.fromkeys(__all__, f"{__name__}.checking"))
