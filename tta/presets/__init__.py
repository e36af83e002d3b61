"""Published hyper-parameters: one YAML file per data set, each entry with its source."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tta.errors import UserError, did_you_mean

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


@cache
def load_preset(name: str) -> dict[str, Any]:
    """Return a preset: per method a mapping with ``source`` (a citation) and ``params``.

    Raises:
        UserError: there is no such preset.
    """
    if name not in preset_names():
        raise UserError(f"unknown preset {name!r}; {did_you_mean(name, preset_names())}")
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
