"""The scripts by which shells complete."""

import shutil
import subprocess
import sys

import pytest

from tta.commands.completion import SHELLS, main

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Return the script for bash, in a file."""
    pytest.importorskip("shtab")
    if BASH is None:
        pytest.skip("no bash here")
    file = tmp_path_factory.mktemp("completion") / "tta.bash"
    with file.open("w") as out:
        command = [sys.executable, "-m", "tta", "completion", "bash"]
        subprocess.run(command, stdout=out, check=True)
    return file


def completed(script, line, folder="."):
    """Return what a shell offers where the line ends."""
    words = line.split(" ")
    code = (
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'function=$(complete -p tta | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); "$function"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [BASH, "--norc", "-c", code, str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout.split()


def test_bash_reads_the_script(script):
    assert subprocess.run([BASH, "-n", str(script)]).returncode == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tta ru", ["run"]),
        ("tta run --method ro", ["roid", "rotta"]),
        ("tta run --method tent --preset digits", ["digits-c", "digits-r", "digits-seg"]),
        ("tta run --scenario mixed", ["mixed_domains", "mixed_domains_correlated"]),
        ("tta run --dataset digits-r", ["digits-r", "digits-r-source"]),
        ("tta run --sce", ["--scenario"]),
        ("tta run --device c", ["cpu", "cuda"]),
        ("tta compare --format la", ["latex"]),
        ("tta compare --bas", ["--baseline"]),
        ("tta list me", ["methods", "metrics"]),
        ("tta get office", ["office-home"]),
        ("tta published cifar10c", ["cifar10c_continual", "cifar10c_mixed"]),
        ("tta generate-corrupted imagenet", ["imagenet-c", "imagenet-c-full"]),
        ("tta plot hea", ["heatmap"]),
        ("tta completion z", ["zsh"]),
    ],
)
def test_names_and_options_are_completed(script, line, expected):
    assert completed(script, line) == expected


def test_paths_are_completed(script, tmp_path):
    (tmp_path / "grid.yaml").touch()
    (tmp_path / "graphs").mkdir()
    for line in ("tta sweep gr", "tta run --config gr", "tta run --weights gr", "tta compare gr"):
        assert sorted(completed(script, line, tmp_path)) == ["graphs", "grid.yaml"]
    assert completed(script, "tta run --output gr", tmp_path) == ["graphs"]


def test_every_shell_has_a_script(capsys):
    pytest.importorskip("shtab")
    for shell in SHELLS:
        assert main([shell], "tta completion") == 0
        text = capsys.readouterr().out
        assert "roid" in text and "generate-corrupted" in text and "checkpoint-every" in text


def test_without_shtab_its_installation_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["bash"], "tta completion") == 2
    assert "pip install 'tta-harness[completion]'" in capsys.readouterr().err
