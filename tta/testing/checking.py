"""Runs the checks over every kind of backbone that suits a method, and says in words what fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.foundation.errors import UserError
from tta.methods import Method, Need, find_method
from tta.methods.dense import dense_defaults
from tta.methods.params import build_params
from tta.methods.requirements import check_needs
from tta.testing.checks import BATCHES, CHECKS, BrokenPromiseError, Check
from tta.testing.dense_checks import DENSE_CHECKS
from tta.testing.stand_ins import (
    BACKBONES,
    DENSE_BACKBONES,
    IMAGE_TEXT,
    attach_domain_heads,
    make_backbone,
    make_source,
)

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finding:
    """What came of one check on one kind of backbone.

    Attributes:
        check: what was checked.
        backbone: kind of :data:`tta.testing.stand_ins.KINDS`.
        fault: what was found in place of what is promised; None where all is well.
    """

    check: Check
    backbone: str
    fault: str | None

    def __str__(self) -> str:
        if self.fault is None:
            return f"{self.check.name} ({self.backbone})"
        return (
            f"{self.check.name} ({self.backbone}): {self.fault}\n"
            f"  tried: {self.check.tried}\n"
            f"  usual cause: {self.check.usual_cause}"
        )


def check_method(method: type[Method] | str, /, **params: Any) -> None:
    """Check that a method keeps what every method promises; see :mod:`tta.testing.checks`.

    Args:
        method: a class, a registered name, or ``path/to/file.py:ClassName``.
        **params: hyper-parameters with which every part of the method runs on batches of six
            images of five classes; the defaults where none are given.

    Raises:
        AssertionError: it does not; says for each check what was tried, what was found and the
            usual cause.
        UserError: there is no such method, or no stand-in backbone that suits it.
    """
    faults = [finding for finding in findings(method, **params) if finding.fault is not None]
    if faults:
        raise AssertionError("\n".join(map(str, faults)))


def findings(method: type[Method] | str, /, **params: Any) -> Iterator[Finding]:
    """Yield what came of each check on each kind of backbone; see :func:`check_method`."""
    kind = find_method(method) if isinstance(method, str) else method
    values = build_params(kind.Params, params, kind.name)
    suited = suited_backbones(kind, values)
    for check in CHECKS:
        for backbone in suited:
            yield Finding(check, backbone, _fault(check, _maker(kind, values, backbone)))
    yield from _dense_findings(kind, params)


def _dense_findings(kind: type[Method], params: dict[str, Any]) -> Iterator[Finding]:
    """Yield what came of the checks on networks that segment, where a method says it does."""
    defaults = dense_defaults(kind)
    if defaults is None:
        return
    values = build_params(kind.Params, {**defaults, **params}, kind.name)
    try:
        kind(make_backbone(next(iter(DENSE_BACKBONES))), values, seed=0)
    except UserError:  # parameters that are for images of classes alone
        return
    for backbone in DENSE_BACKBONES:
        for check in (*CHECKS, *DENSE_CHECKS):
            yield Finding(check, backbone, _fault(check, _maker(kind, values, backbone)))


def suited_backbones(kind: type[Method], params: Any) -> list[str]:
    """Return the kinds of stand-in backbones that a method runs on.

    Raises:
        UserError: there is none; why the first does not suit.
    """
    image_text = Need.IMAGE_TEXT in kind.needs(params)
    names = [IMAGE_TEXT] if image_text else list(BACKBONES)
    reasons = {name: _unsuited(kind, params, name) for name in names}
    suited = [name for name, reason in reasons.items() if reason is None]
    if not suited:
        raise UserError(str(next(iter(reasons.values()))))
    return suited


def _unsuited(kind: type[Method], params: Any, name: str) -> str | None:
    backbone = _backbone(kind, params, name)
    try:
        check_needs(kind, params, backbone, has_source=True, cloud=backbone)
    except UserError as error:
        return str(error)
    return None


def _backbone(kind: type[Method], params: Any, name: str) -> Any:
    backbone = make_backbone(name)
    if Need.DOMAIN_HEADS in kind.needs(params):
        attach_domain_heads(backbone)
    return backbone


def _maker(kind: type[Method], params: Any, name: str) -> Callable[[], Method]:
    def make() -> Method:
        made = kind(_backbone(kind, params, name), params, seed=7)
        if Need.CLOUD_MODEL in kind.needs(params):
            made.attach_model(make_backbone(name))
        made.stream_length = sum(map(len, BATCHES))
        made.start(make_source(dense=name in DENSE_BACKBONES))
        return made

    return make


def _fault(check: Check, make: Callable[[], Method]) -> str | None:
    try:
        check.run(make)
    except BrokenPromiseError as broken:
        return str(broken)
    except Exception as error:  # noqa: BLE001 - somebody's own code may raise anything
        return f"{_place(error)}{type(error).__name__}: {error}".partition("\n")[0]
    return None


def _place(error: Exception) -> str:
    """Return the innermost line outside this package and torch that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_foreign(Path(frame.filename))]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}: " if own else ""


def _is_foreign(file: Path) -> bool:
    return file.is_relative_to(PACKAGE) or "site-packages" in file.parts
