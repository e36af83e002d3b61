"""The page as text: template, style, scripts and data in one file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from tta.foundation.text import printable
from tta.reporting.page.columns import COLUMNS, DOMAINS

SCRIPTS = ("state", "table", "chart", "stream", "trade_off", "heat_map", "page")
"""Each uses what stands before it; the last starts."""
PICTURES = {
    "stream": "along the stream",
    "ms_per_image": "against time",
    "passes": "against passes",
    "memory_mib": "against memory",
    "heat": "by domain",
}
DRAWN = ("key", "label", "style", "curve", "nonfinite_at", "mean", "std", "errors", "best", "costs")


def render_page(
    sections: Sequence[dict[str, Any]], left_out: Sequence[str], title: str, metric: str
) -> str:
    """Return HTML that needs no other file and no network.

    Names and texts come from run directories: the template escapes them, and the scripts that read
    them set text, never markup.

    Args:
        sections: see :func:`tta.reporting.page.content.section`.
        left_out: which runs are not shown, and why.
        title: of the page.
        metric: shown at first, ``error`` or ``accuracy``.
    """
    from jinja2 import Environment

    folder = files("tta.reporting.page")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "template.html").read_text(encoding="utf-8"))
    columns = _columns(sections)
    return template.render(
        title=printable(title),
        sections=sections,
        columns=columns,
        known=COLUMNS,
        metric=metric,
        pictures=PICTURES,
        left_out=[printable(line) for line in left_out],
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script="\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
        data={"metric": metric, "columns": columns, "sections": _drawn(sections)},
    )


def _columns(sections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns that can be ticked."""
    found = {name for section in sections for name in section["columns"]}
    ticked = [
        {"key": name, "heading": column.heading, "shown": column.shown}
        for name, column in COLUMNS.items()
        if name in found
    ]
    return [{"key": DOMAINS, "heading": "every domain", "shown": False}, *ticked]


def _drawn(sections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what pictures need: the tables stand in the page already."""
    return {
        section["key"]: {
            **{name: section[name] for name in ("metric", "window", "domains", "bands")},
            "methods": [{name: method[name] for name in DRAWN} for method in section["methods"]],
        }
        for section in sections
    }
