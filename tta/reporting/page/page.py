"""The page as text: template, style, script, data and the plotting library in one file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.text import printable


def render_page(sections: Sequence[dict[str, Any]], left_out: Sequence[str], title: str) -> str:
    """Return HTML that needs no other file and no network.

    Names and texts come from run directories: the template escapes them, and the script that reads
    them sets text, never markup.

    Raises:
        UserError: plotly is not installed.
    """
    try:
        from jinja2 import Environment
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(
            "the page needs plotly, which is not installed; "
            "pip install 'tta-harness[report]' (or plotly)"
        ) from error
    folder = files("tta.reporting.page")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=printable(title),
        sections=sections,
        left_out=[printable(line) for line in left_out],
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        library=get_plotlyjs(),
        data=_plotted(sections),
    )


def _plotted(sections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the script needs: the table stands in the page already."""
    return [
        {
            "metric": section["metric"],
            "window": section["window"],
            "bands": section["bands"],
            "curves": [
                {"label": method["label"], "style": method["style"], **(method["curve"] or {})}
                for method in section["methods"]
            ],
        }
        for section in sections
    ]
