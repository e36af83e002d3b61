r"""Text for pdfLaTeX, whatever it holds: nothing is a command, and no letter stops it."""

from __future__ import annotations

import re
import unicodedata

from tta.foundation.text import printable

_SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "[": "{[}",  # after the end of a row it would open an argument
    "]": "{]}",
    "*": "{*}",  # so would this be read as part of the end of a row
    "`": "{`}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\ne$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "°": r"$^\circ$",
    "²": "$^2$",
    "³": "$^3$",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_GREEK = re.compile(
    "GREEK (?:SMALL LETTER (ALPHA|BETA|GAMMA|DELTA|EPSILON|ZETA|ETA|THETA|IOTA|KAPPA|MU|NU|XI|PI|"
    "RHO|SIGMA|TAU|UPSILON|PHI|CHI|PSI|OMEGA)"
    "|CAPITAL LETTER (GAMMA|DELTA|THETA|XI|PI|SIGMA|UPSILON|PHI|PSI|OMEGA))"
)
_LIGATURE = re.compile(r"-(?=-)|(?<=[?!])(?=`)")
_MINUS = re.compile(r"(?:(?<=^)|(?<= ))-(?=\d)")


def escaped(text: str) -> str:
    """Return text that pdfLaTeX sets as it is; a letter that it lacks, by its number in Unicode."""
    text = unicodedata.normalize("NFC", printable(" ".join(text.split())))
    text = _LIGATURE.sub(lambda match: f"{match.group()}\0", _MINUS.sub("−", text))
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    if letter == "\0":
        return "{}"
    if letter in _SIGNS:
        return _SIGNS[letter]
    if letter.isascii():
        return letter
    return _accented(letter) or _greek(letter) or f"{{[}}U+{ord(letter):04X}{{]}}"


def _accented(letter: str) -> str:
    base, *marks = unicodedata.normalize("NFD", letter)
    if len(marks) != 1 or marks[0] not in _ACCENTS or not base.isascii():
        return ""
    return f"\\{_ACCENTS[marks[0]]}{{{base}}}"


def _greek(letter: str) -> str:
    found = _GREEK.fullmatch(unicodedata.name(letter, ""))
    if not found:
        return ""
    small, capital = found.groups()
    return f"$\\{small.lower()}$" if small else f"$\\{capital.capitalize()}$"
