"""What a run prints."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from tta.foundation.terminal import wrapped
from tta.foundation.text import printable_lines
from tta.reporting.folding import folded
from tta.reporting.tables import as_metric, markdown, percent


def domain_table(summary: dict[str, Any], width: int | None = None) -> str:
    """Return the per-domain table of one run, with what the method counts.

    Args:
        summary: of the run.
        width: of the terminal that it is printed to: there the visits of a domain are one row, and
            what is wider is folded. None: all of it.
    """
    counters = list(summary["counters"])
    visits = summary["domains"]
    domains = visits if width is None else by_domain(visits, counters)
    header = ["domain", "severity", "n", "accuracy %", "error %", *_counted_header(counters)]
    rows = [_row(domain, counters) for domain in domains] + _totals(summary, counters)
    if width is None:
        return markdown(header, rows)
    table = folded(header, rows, width)
    if len(domains) == len(visits):
        return table
    note = f"a domain's figures are means over its visits; --wide shows all {len(visits)} of them"
    return f"{table}\n\n{wrapped(note, width)}"


def by_domain(visits: list[dict[str, Any]], counters: list[str]) -> list[dict[str, Any]]:
    """Return one row per domain: means of accuracy and error over its visits, sums of counts."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for visit in visits:
        groups.setdefault(visit["domain"], []).append(visit)
    return [_mean(group, counters) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(visits: list[dict[str, Any]], counters: list[str]) -> dict[str, Any]:
    severities = sorted({visit["severity"] for visit in visits})
    sums = {name: sum(visit[name] for visit in visits) for name in ("samples", *counters)}
    return {
        "domain": visits[0]["domain"],
        "severity": "–".join(map(str, dict.fromkeys((severities[0], severities[-1])))),
        **{name: fmean(visit[name] for visit in visits) for name in ("accuracy", "error")},
        **sums,
        "upload_fraction": sums.get("uploads", 0) / sums["samples"],
    }


def _row(domain: dict[str, Any], counters: list[str]) -> list[str]:
    return [
        domain["domain"],
        str(domain["severity"]),
        str(domain["samples"]),
        percent(domain["accuracy"]),
        percent(domain["error"]),
        *_counted(domain, counters),
    ]


def _totals(summary: dict[str, Any], counters: list[str]) -> list[list[str]]:
    pooled = summary["pooled_error"]
    totals = {**summary["counters"], "upload_fraction": summary.get("upload_fraction")}
    samples = str(summary["samples"])
    return [
        [
            "**mean over domains**",
            "",
            samples,
            percent(summary["mean_accuracy"]),
            percent(summary["mean_error"]),
            *[""] * len(_counted_header(counters)),
        ],
        ["pooled", "", samples, percent(1 - pooled), percent(pooled), *_counted(totals, counters)],
    ]


def _counted_header(counters: list[str]) -> list[str]:
    header = [name.replace("_bytes", "_KiB").replace("_", " ") for name in counters]
    return [*header, "upload %"] if "uploads" in counters else header


def _counted(row: dict[str, Any], counters: list[str]) -> list[str]:
    cells = [
        f"{row[name] / 1024:.1f}" if name.endswith("_bytes") else str(row[name])
        for name in counters
    ]
    return [*cells, percent(row["upload_fraction"])] if "uploads" in counters else cells


def visit_table(summary: dict[str, Any]) -> str:
    """Return the table of visits where domains come back; empty where they do not."""
    errors = summary.get("visits")
    if not errors:
        return ""
    named = [(str(number), error) for number, error in enumerate(errors, 1)]
    rows = [[name, percent(1 - error), percent(error)] for name, error in named]
    rows.append(["**mean over visits**", percent(1 - fmean(errors)), percent(fmean(errors))])
    return "\n\n" + markdown(["visit", "accuracy %", "error %"], rows)


def _in_short(summary: dict[str, Any], metric: str) -> str:
    """Return the first and the last visit in words, or nothing."""
    errors = summary.get("visits")
    if not errors:
        return ""
    first, last = (percent(as_metric(errors[row], metric)) for row in (0, -1))
    return f" (visit 1 {first} %, visit {len(errors)} {last} %)"


def _cloud(summary: dict[str, Any]) -> str:
    return f" with {summary['cloud_backbone']} in the cloud" if summary["cloud_backbone"] else ""


def run_report(summary: dict[str, Any], metric: str, width: int | None = None) -> str:
    """Return what a run prints: its table, figures, provenance and where the record is.

    Args:
        summary: of the run.
        metric: ``error`` or ``accuracy``.
        width: see :func:`domain_table`.
    """
    cost = summary["cost"]
    lines = [
        domain_table(summary, width) + visit_table(summary),
        "",
        f"{summary['method']} on {summary['dataset']}, {summary['scenario']}, "
        f"{summary['backbone']}{_cloud(summary)}; predicts {summary['predicts']} the update; "
        f"batch {summary['batch_size']}, seed {summary['seed']}",
        f"hyper-parameters: {summary['preset']}",
        f"mean {metric} {percent(summary[f'mean_{metric}'])} %{_in_short(summary, metric)}; "
        f"{cost['images_per_second']:.0f} images/s; "
        f"peak memory {cost['peak_memory_bytes'] / 2**20:.0f} MiB; "
        f"prepared in {cost['prepare_seconds']:.1f} s, streamed in {cost['stream_seconds']:.1f} s",
        f"stream {summary['stream_digest'][:16]}  weights {summary['weights_sha256'][:16]}",
        f"record: {summary['path']}",
    ]
    if summary.get("precision_reason"):
        lines.insert(-1, f"precision: {summary['precision']}, {summary['precision_reason']}")
    if summary["reused"]:
        lines.append("this run was finished before; --force runs it again")
    return printable_lines("\n".join(lines))
