"""Published tables: the papers' figures, and a YAML file per table that says how to make them."""

from __future__ import annotations

from pathlib import Path

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.inputs import is_file

FOLDER = Path(__file__).parent
FIGURES = FOLDER / "published.csv"


def table_names() -> list[str]:
    """Return the names of the tables that the package has."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def table_file(name: str) -> Path:
    """Return the file of a table of the package, by name, or one's own, by path.

    Raises:
        UserError: there is neither.
    """
    if name in table_names():
        return FOLDER / f"{name}.yaml"
    if not is_file(name, "table"):
        raise UserError(f"no table or YAML file {name!r}; {did_you_mean(name, table_names())}")
    return Path(name)
