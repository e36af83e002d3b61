"""Tables for papers: LaTeX with nothing but booktabs and graphicx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tta.reporting.comparing.comparison_tables import Table
from tta.reporting.comparing.latex_text import escaped
from tta.reporting.tables import is_number, numeric_columns

PREAMBLE = r"% needs \usepackage{booktabs} and \usepackage{graphicx}"
MOST_LEVEL_HEADINGS = 8
"""Columns, above which the headings of numbers stand on end."""
LONGEST = 24
"""Letters of words on one line; what is longer goes on several."""


def render_latex(tables: Sequence[Table]) -> str:
    """Return one floating table each, with caption, label and notes; no two labels are alike."""
    seen: Counter[str] = Counter()
    parts = [PREAMBLE]
    for table in tables:
        seen[table.name] += 1
        number = f"-{seen[table.name]}" if seen[table.name] > 1 else ""
        parts.append(_float(table, f"tab:{table.name}{number}"))
    return "\n\n".join(parts)


def _float(table: Table, label: str) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\label{{{label}}}",
            r"\setlength{\tabcolsep}{3pt}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *_tabular(table),
            "}",
            *(_note(note) for note in table.notes),
            r"\end{table}",
        ]
    )


def _note(note: str) -> str:
    return rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize\raggedright {escaped(note)}}}"


def _tabular(table: Table) -> list[str]:
    cells = table.cells
    numeric = numeric_columns(cells.to_numpy().tolist(), len(cells.columns))
    on_end = len(numeric) > MOST_LEVEL_HEADINGS
    heads = [
        rf"\rotatebox{{90}}{{{escaped(name)}}}" if right and on_end else escaped(name)
        for name, right in zip(cells.columns, numeric, strict=True)
    ]
    return [
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
        r"\toprule",
        _row(heads),
        r"\midrule",
        *map(_row, _texts(table)),
        r"\bottomrule",
        r"\end{tabular}%",
    ]


def _texts(table: Table) -> list[list[str]]:
    texts = table.cells.apply(lambda column: column.map(_text))
    if table.bold is not None:
        texts = texts.mask(table.bold, r"\textbf{" + texts + "}")
    return texts.to_numpy().tolist()


def _text(cell: str) -> str:
    text = escaped(cell)
    if len(cell) <= LONGEST or is_number(cell):
        return text
    return rf"\parbox[t]{{12em}}{{\raggedright {text}\strut}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
