"""What ``--list`` and ``--params`` print."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

from tta.datasets import DATASETS
from tta.datasets.facts import DatasetFacts
from tta.methods import METHODS, Method, find_method
from tta.presets import columns_of
from tta.reporting.tables import markdown
from tta.scenarios import SCENARIOS


def listing() -> str:
    """Return tables of the methods, data sets and scenarios that are installed."""
    methods = [_method_row(name, METHODS[name]) for name in METHODS]
    scenarios = [[name, scenario.description] for name, scenario in SCENARIOS.items()]
    return "\n\n".join(
        [
            markdown(["method", "needs", "predicts", "paper"], methods),
            _dataset_tables(),
            markdown(["scenario", "what"], scenarios),
            "Backbones: any timm model; `python -c 'import timm; print(timm.list_models())'`.",
        ]
    )


def _method_row(name: str, method: type[Method]) -> list[str]:
    needs = sorted(need.value for need in method.needs(method.Params()))
    paper = method.paper or _first_line(method.__doc__)
    return [name, ", ".join(needs) or "-", method.predicts, paper]


def _dataset_tables() -> str:
    published = {
        name: dataset
        for name in DATASETS
        for dataset in [DATASETS[name]]
        if getattr(dataset, "facts", None)
    }
    descriptions = [[name, _first_line(DATASETS[name].__doc__)] for name in DATASETS]
    columns = ["dataset", "classes", "images per domain", "metric", "licence", "from"]
    orders: dict[tuple[str, ...], list[str]] = {}
    for name, dataset in published.items():
        orders.setdefault(dataset.domains, []).append(name)
    return "\n\n".join(
        [
            markdown(["dataset", "what"], descriptions),
            markdown(columns, [_facts_row(name, item.facts) for name, item in published.items()]),
            markdown(
                ["dataset", "domains, in order"],
                [[", ".join(names), ", ".join(domains)] for domains, names in orders.items()],
            ),
        ]
    )


def _facts_row(name: str, facts: DatasetFacts) -> list[str]:
    images = facts.images
    if not isinstance(images, int):
        images = ", ".join(f"{domain} {count}" for domain, count in images.items())
    return [name, str(facts.classes), str(images), facts.metric, facts.licence, facts.origin]


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0].replace("``", "")


def parameter_table(name: str) -> str:
    """Return a method's hyper-parameters: defaults, units, and what each preset says."""
    method = find_method(name)
    presets = columns_of(method.name)
    hints = get_type_hints(method.Params)
    rows = []
    for field in dataclasses.fields(method.Params):
        values = [str(params.get(field.name, "")) for params in presets.values()]
        rows.append([field.name, str(field.default), *values, _meaning(field, hints[field.name])])
    if not rows:
        return f"method {method.name!r} has no hyper-parameters"
    return markdown(["parameter", "default", *presets, "meaning"], rows)


def _meaning(field: dataclasses.Field, hint: object) -> str:
    parts = [field.metadata.get("help", ""), field.metadata.get("unit", "")]
    choices = field.metadata.get("choices")
    if choices:
        parts.append("one of " + ", ".join(str(choice) for choice in choices))
    kind = getattr(hint, "__name__", str(hint))
    return "; ".join(part for part in parts if part) or kind
