"""What of this package's code can change a figure, and its digest."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tta.foundation.cache import cache_folder
from tta.foundation.files import written_aside
from tta.foundation.imported_code import with_imports

PACKAGE = Path(__file__).parents[1]
COMMANDS = (
    "__init__",
    "__main__",
    "check",
    "compare",
    "completion",
    "experiment/preflight",
    "generate_corrupted",
    "get",
    "list",
    "plot",
    "published",
    "report",
    "run",
    "sweep",
    "train_source",
)
"""Modules that say what is done, or refuse it; the public face, which hands it on."""
WORDS = tuple(
    f"foundation/{name}"
    for name in ("errors", "notes", "orphans", "stops", "system", "terminal", "text", "waiting")
)
"""Messages, signals and how threads wait: whoever decides figures uses them, and gets none back."""
APART = (
    "commands",
    "datasets/getting",
    "library",
    "reporting/comparing",
    "reporting/page",
    "reporting/pictures",
    "sweeps",
    "testing",
)
"""Packages that no figure passes through."""
SHOWING = (
    "experiment/observing/progress",
    "experiment/observing/trackers",
    "experiment/saving/unfinished",
    "reporting/records/finding",
    "reporting/records/run_folders",
    "reporting/records/runs",
    "reporting/records/soundness",
    "reporting/folding",
    "reporting/run_report",
    "reporting/tables",
)
"""Modules that read what runs have left, or show how far one is."""


def code_digest(*files: str | Path) -> str:
    """Return a SHA-256 over the code of this package that decides figures, and the given files.

    Files that do not belong to this package bring those that they import, see
    :mod:`tta.foundation.imported_code`.

    Whoever edits a method gets a new key: no result of older code is taken for one of newer.
    Comments, docstrings and blank lines do not count, nor does what only shows figures.
    """
    sha = hashlib.sha256(_package_digest().encode())
    own = with_imports(map(Path, files), PACKAGE)
    for digest in sorted(_bare_digest(file.read_bytes()) for file in own):
        sha.update(bytes.fromhex(digest))
    return sha.hexdigest()


def _package_digest() -> str:
    """Return the digest of this package; those of its modules are kept until they change."""
    contents = [file.read_bytes() for file in deciding_modules()]
    keys = [_digest(sys.version.encode() + content) for content in contents]
    kept = cache_folder() / "code_digest"
    known = _read_kept(kept)
    found = {
        key: known.get(key) or _bare_digest(content)
        for key, content in zip(keys, contents, strict=True)
    }
    if found != known:
        _keep(kept, found)
    return _digest(b"".join(bytes.fromhex(found[key]) for key in keys))


def _read_kept(file: Path) -> dict[str, str]:
    """Return the digests kept, by key; damaged lines are passed over."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return {}
    return {words[0]: words[1] for words in lines if len(words) == 3 and words == _line(*words[:2])}


def _keep(file: Path, found: dict[str, str]) -> None:
    lines = [" ".join(_line(key, digest)) for key, digest in found.items()]
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time alone
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file, shared=True) as aside:
            aside.write_text("\n".join(lines), encoding="ascii")


def _line(key: str, digest: str) -> list[str]:
    return [key, digest, _digest(f"{key} {digest}".encode())]


def deciding_modules() -> list[Path]:
    """Return this package's modules that can change a figure, sorted."""
    return sorted(file for file in PACKAGE.rglob("*.py") if _decides(file))


def _decides(file: Path) -> bool:
    path = file.relative_to(PACKAGE).with_suffix("").as_posix()
    return path not in (*COMMANDS, *WORDS, *SHOWING) and not path.startswith(
        tuple(f"{folder}/" for folder in APART)
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _bare_digest(content: bytes) -> str:
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()  # any ends of lines
    return _digest(bare(text).encode())


def bare(source: str) -> str:
    """Return Python code without comments, docstrings and blank lines.

    Code that cannot be parsed comes back as it is: running it will say what is wrong.
    """
    try:
        blank, comments = _blank_and_comments(source)
        spans = [*comments, *_docstrings(source)]
    except (SyntaxError, tokenize.TokenError, ValueError):
        return source
    # Lines as Python counts them, which ends none at a form feed.
    lines: list[str | None] = list(source.removesuffix("\n").split("\n"))
    for row in blank:
        lines[row - 1] = None
    for (row, start), (last, end) in sorted(spans, reverse=True):
        kept = lines[row - 1].encode()[:start] + lines[last - 1].encode()[end:]
        lines[row - 1 : last] = [kept.decode().rstrip() or None]
    return "\n".join(line for line in lines if line is not None)


Span = tuple[tuple[int, int], tuple[int, int]]
"""Start and end as (line from 1, byte in it)."""


def _blank_and_comments(source: str) -> tuple[list[int], list[Span]]:
    """Return the numbers of lines outside strings that hold nothing, and where comments are."""
    blank, comments = [], []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            start = len(token.line[: token.start[1]].encode())
            end = start + len(token.string.encode())
            comments.append(((token.start[0], start), (token.end[0], end)))
        elif token.type == tokenize.NL and not token.line.strip():
            blank.append(token.start[0])
    return blank, comments


def _docstrings(source: str) -> Iterator[Span]:
    """Yield where docstrings are, those of attributes included."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        attributes = isinstance(node, (ast.Module, ast.ClassDef))
        for line in node.body if attributes else node.body[:1]:
            text = line.value if isinstance(line, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield (line.lineno, line.col_offset), (line.end_lineno, line.end_col_offset)
