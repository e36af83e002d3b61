"""What there is to choose from: names, a line on each, and facts, read as late as may be.

Names and lines of what this package has are read from source: no torch, no timm.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Any

from tta.backbones import clip_names
from tta.backbones.clip_names import is_clip
from tta.backbones.dense.names import listed
from tta.backbones.names import described, homes, is_own
from tta.config import RunConfig
from tta.datasets import DATASETS
from tta.foundation.errors import UserError, did_you_mean, message_of
from tta.foundation.registry import Registry
from tta.foundation.terminal import columns, output_width
from tta.foundation.text import printable
from tta.methods import METHODS
from tta.methods.declared import first_line
from tta.presets import heading, load_preset, preset_names
from tta.streams import SCENARIOS, find_scenario
from tta.sweeps.tuning.rules import meanings

WIDTH = 100
"""No list is wider."""
Facts = dict[str, str]


def _metrics() -> dict[str, str]:
    from tta.tasks.task import ALL_METRICS  # NumPy

    return {metric.name: metric.in_words for metric in ALL_METRICS}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of what can be chosen.

    Attributes:
        names: all there are.
        line: what a name stands for, in one line; raises UserError where that is broken.
        facts: what else is known of it, by label; likewise.
    """

    names: Callable[[], Collection[str]]
    line: Callable[[str], str]
    facts: Callable[[str], Facts]


def _line(registry: Registry[Any], describe: Callable[[str], str]) -> Callable[[str], str]:
    """Return how the line of a registered object is found: from source where that is ours."""

    def line(name: str) -> str:
        location = registry.location(name)
        text = describe(name) if location is None else first_line(location)
        return text.replace("``", "").removeprefix(f"{name}: ").removesuffix(".")

    return line


def _described_method(name: str) -> str:
    _method_facts(name)  # what cannot tell them is broken
    return str(METHODS[name].__doc__ or METHODS[name].paper).strip().partition("\n")[0]


def _method_facts(name: str) -> Facts:
    method = METHODS[name]
    try:
        needs = ", ".join(sorted(need.value for need in method.needs(method.Params())))
        return {
            "paper": str(method.paper),
            "needs": needs or "nothing but the model",
            "predicts": f"{method.predicts} the update",
            "set": assignments({f.name: f.default for f in dataclasses.fields(method.Params)}),
        }
    except Exception as error:  # of another package: a row of its own, not the end of the list
        raise UserError(
            f"method {name!r} cannot be asked what it needs ({type(error).__name__}: {error})"
        ) from error


def assignments(params: dict[str, Any]) -> str:
    """Return hyper-parameters as ``--set`` takes them, with blanks between."""
    return " ".join(f"{name}={_as_yaml(value)}" for name, value in params.items())


def _as_yaml(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), default=str)


def _described_dataset(name: str) -> str:
    return (DATASETS[name].__doc__ or "").strip().partition("\n")[0]


def _dataset_facts(name: str) -> Facts:
    dataset = DATASETS[name]
    found: Facts = {}
    if published := getattr(dataset, "facts", None):
        images = published.images
        if not isinstance(images, int):
            images = ", ".join(f"{domain} {count}" for domain, count in images.items())
        found = {
            "classes": str(published.classes),
            "images": f"{images} per domain",
            "metric": published.metric,
            "licence": published.licence,
            "from": published.origin,
        }
    domains = getattr(dataset, "domains", ())
    return found | ({"domains": ", ".join(domains)} if isinstance(domains, tuple) else {})


def _scenario_facts(name: str) -> Facts:
    flags = ", ".join(f"--{option}" for option in sorted(find_scenario(name).uses))
    return {"options": f"--seed, --domains, --num-samples{', ' if flags else ''}{flags}"}


def _preset_facts(name: str) -> Facts:
    preset = dict(load_preset(name))
    found = {"extends": preset.pop("extends", "")}
    for method, entry in preset.items():
        found[method] = f"{assignments(entry['params'])} ({entry['source']})"
        for patterns, own in entry.get("backbones", {}).items():
            found[f"{method}, {patterns}"] = f"{assignments(own['params'])} ({own['source']})"
    return found


def _backbone_line(name: str) -> str:
    if is_clip(name):
        return clip_names.described(name)
    if name in listed():
        return listed()[name]
    return f"{'tta' if is_own(name) else 'timm'}, {homes()[name].stem}"


def _backbone_facts(name: str) -> Facts:
    if name in listed():
        return {}
    return {"says": "" if is_clip(name) else described(name)}


def _protocols() -> dict[str, dataclasses.Field]:
    return {
        "--" + field.name.replace("_", "-"): field
        for field in dataclasses.fields(RunConfig)
        if field.metadata["group"] == "protocol"
    }


def _protocol_facts(name: str) -> Facts:
    field = _protocols()[name]
    usual = "" if field.default in (None, False) else str(field.default)
    return {"values": ", ".join(field.metadata["choices"] or ()), "default": usual}


KINDS = {
    "methods": Kind(lambda: list(METHODS), _line(METHODS, _described_method), _method_facts),
    "datasets": Kind(lambda: list(DATASETS), _line(DATASETS, _described_dataset), _dataset_facts),
    "scenarios": Kind(
        lambda: list(SCENARIOS),
        _line(SCENARIOS, lambda name: find_scenario(name).description),
        _scenario_facts,
    ),
    "presets": Kind(preset_names, heading, _preset_facts),
    "backbones": Kind(
        lambda: [*sorted([*homes(), *clip_names.known_names()]), *listed()],
        _backbone_line,
        _backbone_facts,
    ),
    "protocols": Kind(
        lambda: list(_protocols()),
        lambda name: _protocols()[name].metadata["help"],
        _protocol_facts,
    ),
    "metrics": Kind(_metrics, lambda name: _metrics()[name], lambda _: {}),
    "rules": Kind(meanings, lambda name: meanings()[name], lambda _: {"of": "tta sweep --select"}),
}


def listing(kind: str, pattern: str = "*", *, long: bool = False, width: int = WIDTH) -> list[str]:
    """Return the lines of a list: a name and what it is, with ``long`` all that is known of it.

    What other packages publish and is broken comes last, with the reason.

    Args:
        kind: of :data:`KINDS`.
        pattern: that names match, such as ``resnet*``.
        long: see above.
        width: of the longest line.

    Raises:
        UserError: no name matches.
    """
    names = [name for name in KINDS[kind].names() if fnmatchcase(name, pattern)]
    if not names:
        raise UserError(
            f"none of the {kind} matches {pattern!r}; {did_you_mean(pattern, KINDS[kind].names())}"
        )
    rows, broken = [], []
    for name in names:
        try:
            line = KINDS[kind].line(name)
            rows.append((name, line, KINDS[kind].facts(name) if long else {}))
        except UserError as error:
            broken.append((f"  {printable(name)}", message_of(error)))
    shown = _long(rows, width) if long else columns([row[:2] for row in rows], width)
    shown = [printable(line) for line in shown]
    return shown + ["", "broken:", *columns(broken, width)] if broken else shown


def _long(rows: list[tuple[str, str, Facts]], width: int) -> list[str]:
    lines = []
    for name, line, facts in rows:
        lines += [name, *columns([("  ", line)], width)]
        lines += columns([(f"    {label}", text) for label, text in facts.items() if text], width)
    return lines


def list_width() -> int:
    """Return how wide lists may be: :data:`WIDTH`, or what a narrower terminal has."""
    return min(WIDTH, output_width() or WIDTH)


def short_lists() -> list[str]:
    """Return the lines of the lists that a first run chooses from, and how to see the others."""
    lines = []
    for kind in ("methods", "datasets", "scenarios"):
        shown = listing(kind, width=list_width() - 2)
        lines += [f"{kind}:", *(f"  {line}".rstrip() for line in shown), ""]
    others = ", ".join(kind for kind in KINDS if f"{kind}:" not in lines)
    return [*lines, f"`tta list` shows {others}, and --long tells more of each."]
