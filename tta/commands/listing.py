"""What ``--list`` and ``--params`` print."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

from tta.datasets import DATASETS, Dataset
from tta.datasets.facts import DatasetFacts
from tta.foundation.errors import UserError, message_of
from tta.methods import METHODS, Method, find_method
from tta.presets import columns_of
from tta.reporting.tables import markdown
from tta.streams import SCENARIOS, find_scenario


def listing() -> str:
    """Return tables of the methods, data sets and scenarios that are installed."""
    methods, broken = _rows_of_methods()
    datasets, broken_datasets = _loaded_datasets()
    broken += broken_datasets
    scenarios, broken_scenarios = _rows_of_scenarios()
    broken += broken_scenarios
    return "\n\n".join(
        [
            markdown(["method", "needs", "predicts", "paper"], methods),
            _dataset_tables(datasets),
            markdown(["scenario", "what"], scenarios),
            "Backbones: any timm model; `python -c 'import timm; print(timm.list_models())'`.",
            *([markdown(["broken", "why"], broken)] if broken else []),
        ]
    )


def _rows_of_methods() -> tuple[list[list[str]], list[list[str]]]:
    """Return a row of each method, and of each that another package publishes and is broken."""
    rows, broken = [], []
    for name in METHODS:
        try:
            rows.append(_method_row(name, METHODS[name]))
        except UserError as error:
            broken.append([name, message_of(error)])
    return rows, broken


def _rows_of_scenarios() -> tuple[list[list[str]], list[list[str]]]:
    rows, broken = [], []
    for name in SCENARIOS:
        try:
            rows.append([name, find_scenario(name).description])
        except UserError as error:
            broken.append([name, message_of(error)])
    return rows, broken


def _loaded_datasets() -> tuple[dict[str, type[Dataset]], list[list[str]]]:
    loaded, broken = {}, []
    for name in DATASETS:
        try:
            loaded[name] = DATASETS[name]
        except UserError as error:
            broken.append([name, message_of(error)])
    return loaded, broken


def _method_row(name: str, method: type[Method]) -> list[str]:
    try:
        needs = sorted(need.value for need in method.needs(method.Params()))
        paper = method.paper or _first_line(method.__doc__)
        return [name, ", ".join(needs) or "-", str(method.predicts), str(paper)]
    except Exception as error:  # of another package: a row of its own, not the end of the list
        raise UserError(
            f"method {name!r} cannot be asked what it needs ({type(error).__name__}: {error})"
        ) from error


def _dataset_tables(datasets: dict[str, type[Dataset]]) -> str:
    published = {
        name: item
        for name, item in datasets.items()
        if isinstance(getattr(item, "facts", None), DatasetFacts)
    }
    descriptions = [[name, _first_line(item.__doc__)] for name, item in datasets.items()]
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
