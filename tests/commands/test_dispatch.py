"""The command ``tta``: every command under its name, and none of the others slowed down."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tta
from tta.commands import COMMANDS, module_of
from tta.commands.dispatch import dispatch

ROOT = Path(__file__).parents[2]
MODULES = sorted(file.stem for file in ROOT.glob("tta/*.py") if "leave(main())" in file.read_text())


def printed(capsys, *arguments, prog="tta"):
    with pytest.raises(SystemExit) as end:
        dispatch(arguments, prog)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command_in_a_line(capsys):
    text = printed(capsys, "--help")
    for name, line in COMMANDS.items():
        assert f"  {name}  " in text and line in text
    assert max(map(len, text.splitlines())) <= 80
    assert dispatch([], "tta") == 0
    assert capsys.readouterr().out == text


def test_version(capsys):
    assert printed(capsys, "--version") == f"tta {tta.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_was_typed(capsys, name):
    assert printed(capsys, name, "--help").startswith(f"usage: tta {name} ")


@pytest.mark.parametrize("name", MODULES)
def test_modules_keep_their_names(capsys, name):
    assert name.replace("_", "-") in COMMANDS
    with pytest.raises(SystemExit):
        import_module(f"tta.{name}").main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: python -m tta.{name} ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "error: unknown command 'rum'; did you mean 'run'?\n"),
        (["generate_corrupted"], "did you mean 'generate-corrupted'?\n"),
        ([""], "error: unknown command ''; known: check, compare, completion, "),
        (["--bogus"], "error: unrecognized arguments: --bogus; see tta --help\n"),
        (["run", "--bogus"], "error: unrecognized arguments: --bogus; see tta run --help\n"),
        (["get", "verify", "--data-dir", "."], "write: tta get verify NAME\n"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(capsys, arguments, message):
    assert dispatch(arguments, "tta") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_status_of_a_command_is_that_of_the_program():
    command = [sys.executable, "-m", "tta"]
    done = subprocess.run([*command, "compare", "none"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m tta COMMAND")


def test_help_of_all_commands_goes_without_what_takes_long():
    code = (
        "import sys; from importlib import import_module; from tta.commands import *; "
        "from tta.commands.dispatch import dispatch; "
        "dispatch([], 'tta'); dispatch(['rum'], 'tta'); "
        "early = {'numpy', 'tqdm'} & set(sys.modules); "
        "[import_module(module_of(name)).parser(name).format_help() for name in COMMANDS]; "
        "sys.exit(str(early or {'torch', 'timm', 'pandas'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.splitlines()[1:] == [""], done.stderr


def test_modules_are_found_by_their_command():
    assert module_of("train-source") == "tta.commands.train_source"
