"""What a run prints."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from tta.foundation.templates import templates_in_words
from tta.foundation.terminal import wrapped
from tta.foundation.text import printable_lines
from tta.reporting.folding import folded
from tta.reporting.tables import MISSING, as_metric, markdown, percent
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.task import SEGMENTATION, recorded_task

MOST_VISITS = 6
"""To domains, up to which the IoU of classes is shown for each."""

RATES = {"accuracy": "accuracy %", "error": "error %"}
"""What is shown of classification, and its headers."""
OPEN_SET = {figure.name: figure.header for figure in OPEN_SET_FIGURES if figure.metric.shown}
"""What is shown of open-set recognition, and its headers."""


def domain_table(summary: dict[str, Any], width: int | None = None) -> str:
    """Return the per-domain table of one run, with what the method counts.

    Args:
        summary: of the run.
        width: of the terminal that it is printed to: there the visits of a domain are one row, and
            what is wider is folded. None: all of it.
    """
    counters = list(summary["counters"])
    visits = summary["domains"]
    domains = visits if width is None else by_domain(visits, counters, tuple(_rates_of(summary)))
    further = _open_set_headers(summary)
    header = [
        "domain",
        "severity",
        "n",
        *_rates_of(summary).values(),
        *further,
        *_counted_header(counters),
    ]
    rows = [_row(domain, counters, _rates_of(summary)) for domain in domains]
    rows += _totals(summary, counters)
    if width is None:
        return markdown(header, rows)
    table = folded(header, rows, width)
    if len(domains) == len(visits):
        return table
    note = f"a domain's figures are means over its visits; --wide shows all {len(visits)} of them"
    return f"{table}\n\n{wrapped(note, width)}"


def _rates_of(summary: dict[str, Any]) -> dict[str, str]:
    """Return what is shown of every visit, beside open-set recognition, and its headers."""
    task = recorded_task(summary)
    if task is not SEGMENTATION:
        return RATES
    return {m.name: m.header for m in task.metrics if m.percent and m.better == "higher"}


def by_domain(
    visits: list[dict[str, Any]], counters: list[str], rates: tuple[str, ...] = tuple(RATES)
) -> list[dict[str, Any]]:
    """Return one row per domain: means of ``rates`` over its visits, sums of counts."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for visit in visits:
        groups.setdefault(visit["domain"], []).append(visit)
    return [
        _mean(group, counters, rates) if len(group) > 1 else group[0] for group in groups.values()
    ]


def _mean(
    visits: list[dict[str, Any]], counters: list[str], rates: tuple[str, ...]
) -> dict[str, Any]:
    severities = sorted({visit["severity"] for visit in visits})
    sums = {name: sum(visit[name] for visit in visits) for name in ("samples", *counters)}
    return {
        "domain": visits[0]["domain"],
        "severity": "–".join(map(str, dict.fromkeys((severities[0], severities[-1])))),
        **{name: _mean_of(visits, name) for name in rates},
        **{name: _mean_of(visits, name) for name in OPEN_SET if name in visits[0]},
        **sums,
        "upload_fraction": sums.get("uploads", 0) / sums["samples"],
    }


def _mean_of(visits: list[dict[str, Any]], name: str) -> float | None:
    """Return the mean over the visits that have a figure."""
    known = [visit[name] for visit in visits if visit[name] is not None]
    return fmean(known) if known else None


def _open_set_headers(figures: dict[str, Any]) -> list[str]:
    """Return the headers of what a run or a domain has of open-set recognition."""
    return [header for name, header in OPEN_SET.items() if name in figures]


def _open_set(figures: dict[str, Any]) -> list[str]:
    return [percent(figures[name]) for name in OPEN_SET if name in figures]


def _row(domain: dict[str, Any], counters: list[str], rates: dict[str, str]) -> list[str]:
    return [
        domain["domain"],
        str(domain["severity"]),
        str(domain["samples"]),
        *(percent(domain[name]) for name in rates),
        *_open_set(domain),
        *_counted(domain, counters),
    ]


def _totals(summary: dict[str, Any], counters: list[str]) -> list[list[str]]:
    rates = _rates_of(summary)
    means = [percent(summary[f"mean_{name}"]) for name in rates]
    totals = {**summary["counters"], "upload_fraction": summary.get("upload_fraction")}
    samples = str(summary["samples"])
    return [
        [
            "**mean over domains**",
            "",
            samples,
            *means,
            *_open_set(summary),
            *[""] * len(_counted_header(counters)),
        ],
        [
            "pooled",
            "",
            samples,
            *_pooled(summary, rates),
            *[""] * len(_open_set_headers(summary)),
            *_counted(totals, counters),
        ],
    ]


def _pooled(summary: dict[str, Any], rates: dict[str, str]) -> list[str]:
    """Return the rates of all samples together; of means over images there are none."""
    if rates is RATES:
        return [percent(1 - summary["pooled_error"]), percent(summary["pooled_error"])]
    known = [f"pooled_{name}" in summary for name in rates]
    values = (summary.get(f"pooled_{name}") for name in rates)
    return [percent(value) if here else "" for value, here in zip(values, known, strict=True)]


def class_table(summary: dict[str, Any]) -> str:
    """Return the IoU of each class, over the stream and, where visits are few, at each of them."""
    found = summary.get("class_iou")
    if not found:
        return ""
    visits = [row["domain"] for row in summary["domains"]]
    shown = visits if len(visits) <= MOST_VISITS else []
    rows = [[name, *map(percent, values[: 1 + len(shown)])] for name, values in found.items()]
    return "\n\n" + markdown(["IoU %", "stream", *shown], rows)


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
    found, task = summary.get("visits"), recorded_task(summary)
    if not found:
        return ""
    mean = fmean(value for value in found if value is not None)
    named = [*enumerate(found, 1), ("**mean over visits**", mean)]
    if task is SEGMENTATION:
        rows = [[str(name), percent(value)] for name, value in named]
        return "\n\n" + markdown(["visit", task.headline.header], rows)
    rows = [[str(name), *_rates(error)] for name, error in named]
    return "\n\n" + markdown(["visit", *RATES.values()], rows)


def _rates(error: float | None) -> list[str]:
    """Return accuracy and error, or that there is none."""
    return [MISSING, MISSING] if error is None else [percent(1 - error), percent(error)]


def _in_short(summary: dict[str, Any], metric: str) -> str:
    """Return the first and the last visit in words, or nothing."""
    errors = summary.get("visits")
    if not errors or None in (errors[0], errors[-1]):
        return ""
    task = recorded_task(summary)
    ends = (task.shortfall(errors[row]) for row in (0, -1))
    first, last = (percent(as_metric(lost, task.called(metric))) for lost in ends)
    return f" (visit 1 {first} %, visit {len(errors)} {last} %)"


def _cloud(summary: dict[str, Any]) -> str:
    if not summary["cloud_backbone"]:
        return ""
    place = "in the cloud" if "uploads" in summary["counters"] else "beside it"
    return f" with {summary['cloud_backbone']} {place}"


def _of_open_set(summary: dict[str, Any]) -> str:
    text = (
        f"{summary['known_images']} images are known, {summary['unknown_images']} unknown; "
        f"accuracy and error are of the known ones; score: {summary['score']}"
    )
    if summary.get("acc_h") is not None:
        rates = [f"{name} {percent(summary[f'acc_{name.lower()}'])} %" for name in "SNH"]
        text += f"; with its rule of rejection ACC {', '.join(rates)}"
    alone = summary["visits_left_out"]
    return text + (f"; {alone} visits show one kind alone, and have no AUROC" if alone else "")


def protocol_lines(summary: dict[str, Any]) -> list[str]:
    """Return what a protocol has made of a run; nothing where the method simply adapts."""
    lines = []
    if pace := summary.get("pace"):
        share = pace["adapted_batches"] / pace["batches"]
        cost = "" if pace["cost"] is None else f", a step costs {pace['cost']:.2f} forward passes"
        cost = cost if "--stream-rate" in pace["rule"] else ""
        lines.append(f"protocol: {pace['rule']}; adapted to {percent(share)} % of batches{cost}")
    if (tasks := summary.get("tasks")) and tasks["count"]:
        lines.append(f"accuracy over {tasks['count']} tasks: {percent(tasks['mean_accuracy'])} %")
    if held_out := summary.get("held_out"):
        lines.append(
            f"adapted to {held_out['adapted_images']} images, then frozen; accuracy on test images "
            + ", ".join(
                f"{percent(held_out[f'{kind}_accuracy'])} % of {held_out[f'{kind}_classes']} "
                f"classes {kind}"
                for kind in ("seen", "unseen")
                if held_out[f"{kind}_accuracy"] is not None
            )
        )
    moved = summary.get("translations")
    if moved and moved["copies"]:
        lines.append(
            f"translations: {percent(moved['consistency'])} % of {moved['copies']} moved copies "
            "have the class of the image unmoved"
        )
    probe = summary.get("probe")
    if probe and probe["after"]:
        lines.append(
            f"forgetting: {percent(probe['start'])} % of {probe['samples']} clean images of "
            f"{probe['dataset']} right before the stream, {percent(probe['after'][-1])} % after "
            f"it; at worst {percent(probe['worst_drop'])} points lost"
        )
    return lines


def prompt_lines(summary: dict[str, Any]) -> list[str]:
    """Return what a model was told of the classes in words; nothing where it reads none."""
    prompts = summary.get("prompts")
    if prompts is None:
        return []
    words, classes = templates_in_words(prompts["templates"]), len(prompts["names"])
    return [f"prompts: {classes} classes under {words}, digest {prompts['digest'][:16]}"]


def estimate_lines(summary: dict[str, Any]) -> list[str]:
    """Return what was estimated of the accuracy, and how often that led to a reset."""
    lines = [
        f"accuracy estimated by {name}: {_percent_or_none(found['mean'])}, a batch's is off by "
        f"{_percent_or_none(found['mean_absolute_error'])} on average"
        for name, found in summary.get("estimates", {}).items()
    ]
    if "reset_rule" in summary:
        count = len(summary["reset_rule"]["after_batches"])
        lines.append(f"reset by the rule of {summary['reset_rule']['name']} after {count} batches")
    return lines


def _percent_or_none(fraction: float | None) -> str:
    return "not a number" if fraction is None else f"{percent(fraction)} %"


def run_report(summary: dict[str, Any], metric: str, width: int | None = None) -> str:
    """Return what a run prints: its table, figures, provenance and where the record is.

    Args:
        summary: of the run.
        metric: ``error`` or ``accuracy``.
        width: see :func:`domain_table`.
    """
    cost, task = summary["cost"], recorded_task(summary)
    mean = percent(as_metric(task.mean_shortfall(summary), task.called(metric)))
    lines = [
        domain_table(summary, width) + visit_table(summary) + class_table(summary),
        "",
        f"{summary['method']} on {summary['dataset']}, {summary['scenario']}, "
        f"{summary['backbone']}{_cloud(summary)}; predicts {summary['predicts']} the update; "
        f"batch {summary['batch_size']}, seed {summary['seed']}",
        f"hyper-parameters: {summary['preset']}",
        f"mean {task.called(metric)} {mean} %{_in_short(summary, metric)}; "
        f"{cost['images_per_second']:.0f} images/s; "
        f"peak memory {cost['peak_memory_bytes'] / 2**20:.0f} MiB; "
        f"prepared in {cost['prepare_seconds']:.1f} s, streamed in {cost['stream_seconds']:.1f} s",
        f"stream {summary['stream_digest'][:16]}  weights {summary['weights_sha256'][:16]}",
        f"record: {summary['path']}",
    ]
    if "runs_on_the_stream" in cost:
        shared = f"{cost['runs_on_the_stream']} runs shared the stream"
        lines.insert(-2, f"{shared}; times are of its own turns and of waiting for images")
    lines[-2:-2] = [*prompt_lines(summary), *protocol_lines(summary), *estimate_lines(summary)]
    if "unknown_images" in summary:
        lines.insert(3, _of_open_set(summary))
    if summary.get("precision_reason"):
        lines.insert(-1, f"precision: {summary['precision']}, {summary['precision_reason']}")
    if summary.get("compile", "none") != "none":
        took = f" in {cost['compile_seconds']:.1f} s" if "compile_seconds" in cost else ""
        steps = (
            "" if summary.get("graphs_reason", "") is not None else "; whole steps are CUDA graphs"
        )
        lines.insert(-1, f"compiled: {summary['compile']}{took}, before the stream{steps}")
    if summary.get("compile_reason"):
        lines.insert(-1, f"not compiled: {summary['compile_reason']}")
    if summary["reused"]:
        lines.append("this run was finished before; --force runs it again")
    return printable_lines("\n".join(lines))
