"""Words that no option expects, and bytes that no writer wrote."""

from __future__ import annotations

import random

WORDS = (
    "",
    " ",
    "0",
    "-1",
    "1e-3",
    "1e300",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "9" * 40,
    "18446744073709551616",
    "true",
    "null",
    "none",
    "auto",
    "[]",
    "{}",
    "[1, 2",
    "!!python/object/apply:os.system [id]",
    "!!int x",
    "&a [*a]",
    "../../x",
    "/",
    ".",
    "x" * 300,
    "x\0y",
    "\udcff",
    "\x1b[31mred\x1b[0m",
    "a\rb",
    "a,b",
    ",",
    "=",
    "lr=",
    "=1",
    "lr=nan",
    "lr=1e300",
    "steps=0",
    "arrays:",
    "folder:",
    "folder@gen:",
    "arrays:missing.npz",
    "folder:.",
    "imagenet-c",
    "ccc:difficulty=x",
    "digits-c:x",
    "tent",
    "digits",
    "fog",
    "gradual",
    "recorded",
    "cuda",
    "mps",
    "bf16",
    "my_file.py:MyMethod",
    "method.py:Missing",
    ":",
    "::",
    "resnet18",
    "test_resnet",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "\u202egpj.exe",
)

NUMBERS = ("0", "1", "2", "-1", "0.5", "1e-3", "1e-300", "1e20", "1e300", "4294967296", "nan", "[]")


def word(rng: random.Random) -> str:
    """Return a word, at times one with a character changed or two run together."""
    chosen = rng.choice(WORDS)
    if rng.random() < 0.2:
        chosen += rng.choice(WORDS)
    if chosen and rng.random() < 0.2:
        place = rng.randrange(len(chosen))
        chosen = chosen[:place] + chr(rng.randrange(1, 0x500)) + chosen[place + 1 :]
    return chosen


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return ``content`` with some bytes flipped, cut, put in, doubled or blanked."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        rng.choice(_DAMAGES)(changed, rng)
    return bytes(changed)


def _place(content: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _set(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[_place(content, rng) :]


def _remove(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    del content[start : start + rng.choice((1, 4, 100))]


def _insert(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    content[start:start] = rng.randbytes(rng.choice((1, 4, 100)))


def _double(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    content[start:start] = content[start : start + rng.choice((4, 100, 10_000))]


def _blank(content: bytearray, rng: random.Random) -> None:
    start = _place(content, rng)
    stop = min(len(content), start + rng.choice((4, 100, 10_000)))
    content[start:stop] = bytes(stop - start)


_DAMAGES = (_flip, _flip, _set, _cut, _remove, _insert, _double, _blank)
