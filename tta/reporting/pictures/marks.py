"""Colour, dashes and marker of a method: the same in every picture, and on the page."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

# Okabe and Ito, colour universal design (2008), without yellow, which white paper swallows; in an
# order whose neighbours differ in lightness too.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#D55E00", "#56B4E9")
_IN_TURN = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_FURTHER = ((0, (10, 3)), (0, (1, 4)), (0, (10, 2, 3, 2)), (0, (3, 4)), (0, (14, 2, 1, 2)))
LINES = (*_IN_TURN, *_FURTHER)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
COUNT = len(COLOURS) * len(LINES)
"""Pairs of colour and dashes, see :func:`dashes_of`."""
METHODS = (
    *("rmt", "tent", "source", "cema", "bn", "rotta", "shot_im"),
    *("cotta", "eata", "lame", "sar", "roid", "note", "petta"),
    *("core", "cmf", "rdumb", "deyo", "santa", "adacontrast", "memo"),
    *("bn_ema", "eta", "bn_alpha", "t3a", "spa", "asr", "rem"),
    *("drm", "pl", "foa", "rpl", "gtta", "ttaug"),
    *("unient", "ostta", "stamp", "sotta", "owttt"),
    *("tda", "zero", "vte", "mta", "tpt", "ctpt", "tps"),
    *("dmn", "boostadapter", "dpe", "onzeta", "stata"),
    *("batclip", "clipartt", "watt", "cliptta"),
    *("buffer", "reservoir"),
    *("unmix_tns", "tribe", "palm"),
    *("rws", "atlas"),
    *("dpcore", "imse", "vida"),
    *("neo", "poem", "tea"),
    *("adaptive_smoothing", "crop_selection"),
)
"""Whose place is their position here; a new method is put at the end."""


def places(methods: Mapping[str, str]) -> dict[str, int]:
    """Return the place of every label, no two alike as long as there are enough.

    A method of :data:`METHODS` has its own whatever else is shown. Another's follows from its
    name, and so do those of further rows of one method, which keep its colour where they can.

    Args:
        methods: name of the method by label.
    """
    taken: dict[str, int] = {}
    for label in sorted(methods):
        name = methods[label]
        if name in METHODS and METHODS.index(name) not in taken.values():
            taken[label] = METHODS.index(name)
    for label in sorted(methods.keys() - taken.keys()):
        first = _preferred(methods[label])
        taken[label] = next((place for place in _near(first) if place not in taken.values()), first)
    return {label: taken[label] for label in methods}


def _preferred(name: str) -> int:
    return METHODS.index(name) if name in METHODS else zlib.crc32(name.encode()) % COUNT


def _near(place: int) -> Iterable[int]:
    """Yield all places: first those of the same colour."""
    steps = range(COUNT)
    yield from ((place + len(COLOURS) * step) % COUNT for step in steps[: len(LINES)])
    yield from ((place + step) % COUNT for step in steps)


def dashes_of(place: int) -> Any:
    """Return the dashes of a place: five kinds in turn, then each further kind for all colours.

    With seven colours in turn, no two places have the same of both.
    """
    kinds = len(_IN_TURN)
    further = place // len(COLOURS)
    return LINES[place % kinds] if further < kinds else LINES[further]


def line_styles(methods: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return colour and dashes by label; see :func:`places`."""
    return {
        label: {"color": COLOURS[place % len(COLOURS)], "linestyle": dashes_of(place)}
        for label, place in places(methods).items()
    }


def marker_styles(methods: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker by label; see :func:`places`."""
    return {
        label: {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        for label, place in places(methods).items()
    }
