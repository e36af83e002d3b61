"""The names that ``import tta`` offers, and the examples in their documentation."""

import doctest
import inspect
import subprocess
import sys
import typing

import pytest

import tta
import tta.library.adapting
import tta.library.evaluating


def test_import_tta_imports_nothing_that_takes_long():
    code = "import sys, tta; print(sorted({'torch', 'numpy', 'timm', 'pandas'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", tta.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(tta, name)
    assert name in dir(tta)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("name", [n for n in tta.__all__ if callable(getattr(tta, n))])
def test_public_functions_and_what_classes_offer_are_annotated(name):
    found = getattr(tta, name)
    public = (
        [v for k, v in vars(found).items() if not k.startswith("_")]
        if (inspect.isclass(found))
        else [found]
    )
    for function in filter(inspect.isfunction, public):
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, function
        for parameter in signature.parameters.values():
            assert parameter.name == "self" or parameter.annotation is not parameter.empty


def test_hints_of_adapt_and_evaluate_can_be_resolved():
    for function in (tta.adapt, tta.evaluate, tta.load_runs):
        assert typing.get_type_hints(function)["return"]


def test_another_name_is_none():
    with pytest.raises(AttributeError, match="'tta' has no attribute 'adopt'"):
        tta.adopt  # noqa: B018


@pytest.mark.parametrize("module", [tta.library.adapting, tta.library.evaluating])
def test_examples_in_the_documentation_give_what_they_say(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
