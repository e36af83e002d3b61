"""A comparison as Markdown, LaTeX, HTML, CSV or JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
from pandas.io.formats.style import Styler

from tta.foundation.errors import UserError
from tta.foundation.terminal import wrapped
from tta.foundation.text import markdown_text
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.comparison_tables import (
    VISITS,
    Table,
    cost_table,
    error_table,
    has_protocol,
    in_headline,
    open_set_table,
    paired_table,
    protocol_table,
    published_table,
    segmentation_table,
    source_data,
)
from tta.reporting.comparing.latex import render_latex
from tta.reporting.comparing.published import beside_ours
from tta.reporting.comparing.rows import Row
from tta.reporting.folding import folded
from tta.reporting.records.runs import Run
from tta.reporting.records.stored_tables import to_csv
from tta.reporting.tables import markdown
from tta.tasks.task import SEGMENTATION


def _markdown(table: Table, width: int | None = None) -> str:
    cells, notes = table.cells, list(map(markdown_text, table.notes))
    if table.bold is not None:
        cells = cells.mask(table.bold, "**" + cells + "**")
    header, rows = list(cells.columns), cells.to_numpy().tolist()
    if width is None:
        return "\n\n".join([markdown(header, rows), *notes])
    parts = [[header.index(name) for name in part] for part in table.parts]
    shown = folded(header, rows, width, parts)
    return "\n\n".join([shown, *(wrapped(note, width) for note in notes)])


def _html(table: Table) -> str:
    text = _styled(table).to_html(
        table_uuid=table.name,
        table_attributes=f'class="{table.name}"',
        caption=html.escape(table.caption),
    )
    return text + "".join(f"<p>{html.escape(note)}</p>\n" for note in table.notes)


def _styled(table: Table) -> Styler:
    styler = Styler(table.cells, uuid=table.name).hide(axis="index")
    styler = styler.format(escape="html").format_index(escape="html", axis="columns")
    if table.bold is None:
        return styler
    style = table.bold.replace({True: "font-weight: bold;", False: ""})
    return styler.apply(lambda _: style, axis=None)


TABLES: dict[str, Callable[[Comparison, str], Table]] = {
    "errors": error_table,
    "open_set": lambda comparison, _: open_set_table(comparison),
    "segmentation": lambda comparison, _: segmentation_table(comparison),
    "protocol": lambda comparison, _: protocol_table(comparison),
    "cost": lambda comparison, _: cost_table(comparison),
    "tests": lambda comparison, _: paired_table(comparison),
}
"""What makes each table of a comparison, of the metric shown."""


def tables(
    comparison: Comparison,
    names: Sequence[str],
    metric: str,
    published: pd.DataFrame | None = None,
) -> list[Table]:
    """Return the named tables of a comparison, see :data:`TABLES`.

    Those of open-set recognition and of protocols are there where any run has such figures; that
    of protocols also where it alone is asked for, as any stream tells of recovery.

    Raises:
        UserError: only such are asked for as no run has any figure of.
    """
    empty = {
        "open_set": not any("unknown_images" in row.summary for row in comparison.rows),
        "segmentation": comparison.task is not SEGMENTATION,
        "protocol": not has_protocol(comparison) and list(names) != ["protocol"],
    }
    made = [TABLES[name](comparison, metric) for name in names if not empty.get(name)]
    if not made:
        lacks = {"open_set": "was shown unknown images", "segmentation": "segments"}
        words = " or ".join(words for name, words in lacks.items() if name in names)
        raise UserError(
            f"no run of {comparison.title!r} {words}: leave --tables {','.join(names)} out"
        )
    if published is not None:
        made.append(published_table(comparison, published, metric))
    return made


def render_tables(tables: Sequence[Table], form: str, width: int | None = None) -> str:
    """Return tables below each other as ``markdown``, ``latex`` or ``html``.

    Names come from run directories: they are escaped for the format.

    Args:
        tables: see :func:`tables`.
        form: see above.
        width: of the terminal that Markdown is folded for; None: nothing is folded.
    """
    if form == "latex":
        return render_latex(tables)
    render = partial(_markdown, width=width) if form == "markdown" else _html
    return "\n\n".join(render(table).rstrip() for table in tables)


def render_csv(comparisons: Sequence[Comparison]) -> str:
    """Return one line of figures per method, fractions unrounded, the protocol in columns."""
    frames = []
    for comparison in comparisons:
        protocol = pd.Series(comparison.protocol).rename(lambda name: name.replace(" ", "_"))
        frames.append(_frame(comparison).assign(**protocol.add_prefix("protocol_")))
    return to_csv(pd.concat(frames, ignore_index=True)).rstrip()


def _frame(comparison: Comparison) -> pd.DataFrame:
    rows = comparison.rows
    facts = pd.DataFrame(
        {
            "label": [row.label for row in rows],
            "method": [row.summary["method"] for row in rows],
            "predicts": [row.summary["predicts"] for row in rows],
            "source_data": [source_data(row) for row in rows],
            "finished": [row.finished for row in rows],
            "nonfinite_at_batch": [_batches(row, "nonfinite_at_batch") for row in rows],
            "nonfinite_images": [_total(row, "nonfinite_images") for row in rows],
            "seeds_differ_in": [", ".join(row.unlike) for row in rows],
            "warnings": ["; ".join(row.warnings) for row in rows],
        },
        [row.label for row in rows],
    )
    tests = in_headline(comparison).drop(columns=["difference", "discordant"], errors="ignore")
    task = comparison.task
    parts = [
        facts,
        task.shortfall(comparison.errors).add_prefix(f"{task.headline.name}_"),
        _headline_figures(comparison),
        comparison.best[["mean"]].rename(columns={"mean": "best_or_tied"}),
        tests.add_prefix("test_"),
    ]
    return pd.concat(parts, axis=1)


def _headline_figures(comparison: Comparison) -> pd.DataFrame:
    """Return the figures with headlines as they are, not what they fall short of."""
    figures, task = comparison.figures, comparison.task
    rates = [name for name in ("mean", "pooled", *VISITS) if name in figures]
    changed = figures.assign(**{name: task.shortfall(figures[name]) for name in rates})
    if "difference" in figures:
        changed["difference"] = task.change(figures["difference"])
    return changed


def _batches(row: Row, fact: str) -> str:
    """Return the batches that the row's runs name, in order of their seeds."""
    known = [run.summary.get(fact) for run in row.runs]
    return ", ".join(str(batch) for batch in known if batch is not None)


def _total(row: Row, fact: str) -> int:
    return sum(run.summary.get(fact) or 0 for run in row.runs)


def render_json(
    comparisons: Sequence[Comparison],
    left_out: Sequence[str],
    published: pd.DataFrame | None = None,
) -> str:
    """Return protocols, figures and tests, fractions unrounded."""
    tables = [
        {
            "protocol": comparison.protocol,
            "reference": comparison.reference and comparison.reference.label,
            "methods": [_method(comparison, position) for position in range(len(comparison.rows))],
            "published": None if published is None else beside_ours(comparison, published),
        }
        for comparison in comparisons
    ]
    return json.dumps({"tables": tables, "left_out": list(left_out)}, indent=2)


def _method(comparison: Comparison, position: int) -> dict[str, object]:
    row = comparison.rows[position]
    label = row.label
    tests, task = in_headline(comparison), comparison.task
    return {
        "label": label,
        "method": row.summary["method"],
        "params": row.summary["params"],
        "predicts": row.summary["predicts"],
        "source_data": source_data(row),
        "finished": row.finished,
        "seeds_differ_in": row.unlike,
        "domains": _plain(task.shortfall(comparison.errors.loc[label])),
        "best_or_tied": _plain(comparison.best.loc[label]),
        "figures": _plain(_headline_figures(comparison).loc[label]),
        "test": _test(tests.loc[label]) if label in tests.index else None,
        "runs": [_run(run) for run in row.runs],
    }


def _run(run: Run) -> dict[str, object]:
    marks = ("collapsed_at_batch", "nonfinite_at_batch", "nonfinite_at_image", "nonfinite_images")
    facts = {name: run.summary.get(name) for name in marks}
    own = {"seed": run.summary["seed"], "path": str(run.path)}
    return own | facts | {"warnings": run.warnings}


def _test(test: pd.Series) -> dict[str, object]:
    runs = [
        {"only_this": count.only_first, "only_reference": count.only_second, "p": count.p}
        for count in test["discordant"]
    ]
    return {**_plain(test.drop("discordant")), "runs": runs}


def _plain(numbers: pd.Series) -> dict[str, object]:
    """Return plain values; JSON has no NaN."""
    return json.loads(numbers.to_json(double_precision=15))
