"""Published hyper-parameters: one YAML file per data set, each entry with its source.

An entry has ``source`` (a citation) and ``params``. Where values are published for some backbones
apart, ``backbones`` holds entries that go over it, by patterns of timm names such as
``vit_*, swin_*``; the first that matches counts. A file that says ``extends: NAME`` has all
entries of that preset, and its own in place of those of the same method. Its first line is a
comment that tells what it is.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.yaml_files import parse_yaml

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def heading(name: str) -> str:
    """Return the line that tells what a preset is."""
    with (FOLDER / f"{name}.yaml").open(encoding="utf-8") as file:
        return file.readline().strip().removeprefix("# ").removesuffix(".")


@cache
def load_preset(name: str) -> dict[str, Any]:
    """Return a preset's own entries, by method, and the name it ``extends`` if it does.

    Raises:
        UserError: there is no such preset.
    """
    if name not in preset_names():
        raise UserError(f"unknown preset {name!r}; {did_you_mean(name, preset_names())}")
    return parse_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"preset {name!r}")


def published_params(name: str, method: str, backbone: str) -> tuple[dict[str, Any], str]:
    """Return what a preset says of a method on a backbone, and where that comes from.

    Nothing and no words where it says nothing of the method.

    Raises:
        UserError: there is no such preset.
    """
    preset = load_preset(name)
    if method not in preset:
        base = preset.get("extends")
        return published_params(base, method, backbone) if base else ({}, "")
    entry = preset[method]
    for patterns, own in entry.get("backbones", {}).items():
        if any(fnmatchcase(backbone, pattern.strip()) for pattern in patterns.split(",")):
            return {**entry["params"], **own["params"]}, f"{name}, {patterns} ({own['source']})"
    return entry["params"], f"{name} ({entry['source']})"


def columns_of(method: str) -> dict[str, dict[str, Any]]:
    """Return the values of every entry there is for a method, by preset and backbones."""
    columns = {}
    for name in preset_names():
        entry = load_preset(name).get(method)
        if entry:
            columns[name] = entry["params"]
            for patterns, own in entry.get("backbones", {}).items():
                columns[f"{name}, {patterns}"] = {**entry["params"], **own["params"]}
    return columns
