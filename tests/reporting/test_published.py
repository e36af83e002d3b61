"""Published figures beside ours."""

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main
from tta.foundation.errors import UserError
from tta.reporting.comparing.published import COLUMNS, read_published
from tta.sweeps.publications import FIGURES
from tta.sweeps.publications.table import published_figures

ROWS = [
    "Paper 2021,bn,random,net,continual,10,5,error,50.0,same protocol",
    'Paper 2022,bn,random,wide,continual,200.0,,accuracy,40.0,"all, images"',
    "Paper 2022,bn,random,net,gradual,10,5,error,12.0,another scenario",
    "Paper 2023,bn,random,net,continual,10,5,uploads,34215,another metric",
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("\n".join([",".join(COLUMNS), *ROWS]) + "\n")
    return path


def test_beside_ours(tmp_path, file, capsys):
    run = write_run(tmp_path / "runs", "bn")
    options = ["--tables", "errors", "--published", str(file)]
    assert main([str(run), *options]) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if "Paper" in line]
    ours, published, difference = (float(cell) for cell in lines[0].split("|")[2:5])
    assert published == 50.0
    assert difference == pytest.approx(ours - 50, abs=0.011)
    assert "nothing recorded" in lines[0]
    assert "backbone wide, batch size 200.0" in lines[1]
    assert "60.00" in lines[1]
    assert len(lines) == 2


def test_variants_are_named(tmp_path, file, capsys):
    rows = [",".join([*COLUMNS, "variant"]), ROWS[0] + ",small"]
    file.write_text("\n".join(rows))
    run = write_run(tmp_path / "runs", "bn")
    assert main([str(run), "--published", str(file)]) == 0
    assert "| variant small " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("citation,method\n", "lacks the columns dataset"),
        (",".join(COLUMNS) + "\nP,bn,d,n,s,1,5,error,many,\n", "row 1 needs"),
        (",".join(COLUMNS) + "\nP,bn,d,n,s,1,5,accuracy,101,\n", "row 1 needs"),
    ],
)
def test_bad_files(file, text, reason):
    file.write_text(text)
    with pytest.raises(UserError, match=reason):
        read_published(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot read published figures"):
        read_published(tmp_path / "none.csv")


def test_the_published_figures_of_the_package_are_the_default(tmp_path, capsys):
    figures = published_figures()
    assert (
        len(read_published(FIGURES))
        == figures.metric.isin(["error", "accuracy", "mIoU"]).sum()
        > 100
    )
    run = write_run(tmp_path / "runs", "bn")
    assert main([str(run), "--published"]) == 0
