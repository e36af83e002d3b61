"""Names of protocols: what every reader asks for first, and what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NAMED = ("dataset", "scenario", "backbone")
LAST = ("data digest", "seeds", "stream")
"""Facts that often follow from others: named only where they alone tell protocols apart."""


def titles(protocols: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a title per protocol, no two alike.

    It names data set, scenario and backbone, and of namesakes what they differ in.

    Args:
        protocols: facts in words; see :func:`tta.reporting.comparing.protocol.describe`.
    """
    facts = [_in_words(protocol) for protocol in protocols]
    made = [", ".join(own[name] for name in NAMED) for own in facts]
    names = dict.fromkeys(name for own in facts for name in own)
    made = _told_apart(made, facts, [name for name in names if name not in (*NAMED, *LAST)])
    for name in LAST:
        made = _told_apart(made, facts, [name])
    return [_numbered(title, made[:position]) for position, title in enumerate(made)]


def _in_words(protocol: Mapping[str, str]) -> dict[str, str]:
    words = {
        name: value if name in NAMED else f"{name} {value}" for name, value in protocol.items()
    }
    count = len(protocol["seeds"].split(", "))
    words["number of seeds"] = f"{count} {'seed' if count == 1 else 'seeds'}"
    classes = protocol.get("classes digest", "none")
    words["classes digest"] = "all classes" if classes == "none" else f"classes {classes}"
    return words


def _told_apart(
    made: Sequence[str], facts: Sequence[Mapping[str, str]], names: Sequence[str]
) -> list[str]:
    """Return titles with those of the named facts in which namesakes differ."""
    longer = []
    for title, own in zip(made, facts, strict=True):
        namesakes = [other for name, other in zip(made, facts, strict=True) if name == title]
        differing = [name for name in names if len({other.get(name) for other in namesakes}) > 1]
        longer.append(", ".join([title, *(own[name] for name in differing if name in own)]))
    return longer


def _numbered(title: str, before: Sequence[str]) -> str:
    count = before.count(title)
    return f"{title} ({count + 1})" if count else title
