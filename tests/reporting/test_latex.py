"""LaTeX: names are text, numbers are aligned, and pdfLaTeX takes it all."""

import shutil
import subprocess

import pandas as pd
import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main
from tta.reporting.comparing.comparison_tables import Table
from tta.reporting.comparing.latex import render_latex
from tta.reporting.comparing.latex_text import escaped

PDFLATEX = shutil.which("pdflatex")
ODD = r"[*] a_b & 100% #1 ${x}$ ~^ \input{x} <b> | `q' -- ?` é ł Ω β 中 😀 ± “x”"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 100% #1 {x} $y$", r"a\_b \& 100\% \#1 \{x\} \$y\$"),
        ("\\input ~^", r"\textbackslash{}input \textasciitilde{}\textasciicircum{}"),
        ("<0.001", "$<$0.001"),
        ("48.93 ± 0.89", r"48.93 $\pm$ 0.89"),
        ("-1.20 to -0.50", "$-$1.20 to $-$0.50"),
        ("--set a-b --- –", "-{}-set a-b -{}-{}- --"),
        ("éÅçø", r"\'{e}\r{A}\c{c}\o{}"),
        ("βΩΑ", r"$\beta$$\Omega${[}U+0391{]}"),
        ("中\x1b", r"{[}U+4E2D{]}\textbackslash{}x1b"),
        ("a\n b", "a b"),
    ],
)
def test_text_is_escaped(text, expected):
    assert escaped(text) == expected


@pytest.fixture
def table():
    cells = pd.DataFrame(
        {"method": ["bn", ODD], "p": ["<0.001", "–"], "mean %": ["1.00 ± 0.10", "-2.00"]}
    )
    bold = pd.DataFrame({"method": False, "p": False, "mean %": [True, False]})
    return Table("errors", cells, bold, ["note: 5 %"], "Online error in %")


def test_words_to_the_left_and_numbers_to_the_right(table):
    text = render_latex([table])
    assert text.startswith("% needs")
    assert r"\begin{tabular}{lrr}" in text
    assert "method & p & mean \\% \\\\" in text
    assert r"bn & $<$0.001 & \textbf{1.00 $\pm$ 0.10} \\" in text
    assert r"& -- & $-$2.00 \\" in text
    assert text.count(r"\begin{tabular}") == 1
    assert r"\caption{Online error in \%}" in text
    assert r"\footnotesize\raggedright note: 5 \%" in text.split(r"\end{tabular}")[1]


def test_labels_are_unlike(table):
    text = render_latex([table, table])
    assert r"\label{tab:errors}" in text
    assert r"\label{tab:errors-2}" in text


@pytest.mark.skipif(not PDFLATEX, reason="compiling needs pdflatex (Debian: texlive-latex-base)")
def test_pdflatex_takes_it(tmp_path, capsys):
    domains = ("a_b", ODD, *"cdefgh")
    write_run(tmp_path, "bn", domains=domains, dataset=ODD, images=20)
    write_run(tmp_path, "tent", domains=domains, dataset=ODD, images=20, title=ODD, warnings=[ODD])
    assert main([str(tmp_path), "--format", "latex", "--baseline", "bn"]) == 0
    packages = r"\usepackage{booktabs}\usepackage{graphicx}"
    text = capsys.readouterr().out
    document = (
        rf"\documentclass{{article}}{packages}\begin{{document}}{text}See \ref{{tab:cost}}."
        r"\end{document}"
    )
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
