"""The tables of a comparison, as text with what stands in bold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.published import beside_ours
from tta.reporting.comparing.rows import Row
from tta.reporting.comparing.statistics import LEVEL, MINIMUM_DOMAINS
from tta.reporting.tables import MISSING, as_metric
from tta.tasks.metric import RUN_FIGURES, RunFigure
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.summary_figures import PROTOCOL_FIGURES
from tta.tasks.task import SEGMENTATION

FACTS = ("predicts", "source data", "seeds")
"""Columns that follow the figures where a table is folded."""
VISITS = {"first_visit": "first visit", "last_visit": "last visit"}
"""Figures of streams in which domains come back, and their columns."""
SOURCE_NEEDS = {
    "source_at_step": "every step",
    "source_at_prepare": "before",
}


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        name: what the table shows.
        cells: text, one row per method.
        bold: which cells stand out, of the same shape; None for none.
        notes: lines below the table.
        caption: a line of what and on what, for formats that have captions.
        parts: columns that stay together where the table is folded, see
            :func:`tta.reporting.folding.folded`; none: all of them, in their order.
    """

    name: str
    cells: pd.DataFrame
    bold: pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)
    caption: str = ""
    parts: tuple[tuple[str, ...], ...] = ()


def error_table(comparison: Comparison, metric: str) -> Table:
    """Return methods by domains, in percent; the best and what is tied with it in bold."""
    metric = comparison.called(metric)
    figures, best = comparison.figures, comparison.best
    rates = as_metric(figures[["mean", "pooled"]], metric)
    cells = _methods(comparison.rows)
    taken = {*cells, "mean", "pooled", "rank", *VISITS.values()}
    domains = {f"domain {name}" if name in taken else name: name for name in comparison.domains}
    for header, domain in domains.items():
        cells[header] = _percent(as_metric(comparison.errors[domain], metric))
    cells["mean"] = _with_deviation(_percent(rates["mean"]), figures["std"])
    cells["pooled"] = _percent(rates["pooled"])
    for name, header in VISITS.items():
        if name in figures:
            cells[header] = _percent(as_metric(figures[name], metric))
    cells["rank"] = _text(figures["rank"], "{:.2f}")
    if comparison.baseline is not None:
        column = f"difference to {comparison.baseline}"
        cells[column] = _text(100 * (rates["mean"] - rates["mean"][comparison.baseline]), "{:+.2f}")
    bold = pd.DataFrame(False, cells.index, cells.columns)
    for header, domain in (domains | {"mean": "mean"}).items():
        bold[header] = best[domain].to_numpy()
    bold_note = MAP_BOLD_NOTE if comparison.task is SEGMENTATION else BOLD_NOTE
    notes = [_protocol(comparison, metric), bold_note, *row_notes(comparison.rows)]
    if any("unknown_images" in row.summary for row in comparison.rows):
        notes.insert(1, f"{metric}s are of the known images alone")
    _, *others = [name for name in cells if name not in domains]
    figures_first = sorted(others, key=lambda name: name in FACTS)
    caption = _caption(f"Online {metric} in %", comparison)
    return Table("errors", cells, bold, notes, caption, (tuple(figures_first), tuple(domains)))


def cost_table(comparison: Comparison) -> Table:
    """Return what methods cost per image of the stream, and how well they know themselves."""
    figures = comparison.figures
    cells = pd.DataFrame({"method": figures.index}, figures.index)
    cells["forwards"] = _text(figures["forwards"], "{:.2f}")
    cells["backwards"] = _text(figures["backwards"], "{:.2f}")
    cells["ms"] = _text(figures["ms_per_image"], "{:.2f}")
    cells["time / source"] = _text(figures["source_ratio"], "{:.2f}")
    cells["memory MiB"] = _text(figures["memory_mib"], "{:.0f}")
    cells["over source MiB"] = _text(figures["extra_memory_mib"], "{:+.0f}")
    if figures["upload_fraction"].notna().any():
        cells["uploads %"] = _percent(figures["upload_fraction"])
    for figure in (figure for figure in RUN_FIGURES if figure.name in figures):
        cells[figure.header] = _shown(figure, figures)
    note = (
        "forwards, backwards (images through the model and its copies) and ms are per image of "
        "the stream, preparation apart; time / source and memory over source where both ran on "
        "the same machine; memory is the peak of the device, on a CPU of the process; over source, "
        "how much further than the source model's run it rose above what was held before; mean ECE "
        "over 15 bins, NLL in nats and Brier score (0 to 2) are means over domains, pooled ECE is "
        f"that of all images together; {MISSING} where a run's outputs were not all numbers"
    )
    caption = _caption("Cost and calibration", comparison)
    notes = [note, *_shared_notes(comparison.rows), *unlike_notes(comparison.rows)]
    return Table("cost", cells, None, notes, caption)


def _shared_notes(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on runs that shared their stream with others."""
    labels = [
        row.label
        for row in rows
        if any("runs_on_the_stream" in run.summary["cost"] for run in row.runs)
    ]
    shared = "runs shared a stream: times are of their own turns and of waiting for images, memory "
    return [f"{shared}is without that of the others: {'; '.join(labels)}"] if labels else []


def open_set_table(comparison: Comparison) -> Table:
    """Return how well methods tell known images from unknown ones."""
    figures = comparison.figures
    cells = pd.DataFrame({"method": figures.index}, figures.index)
    cells["score"] = [row.summary.get("score") or MISSING for row in comparison.rows]
    for figure in OPEN_SET_FIGURES:
        if figure.name in figures:
            cells[figure.header] = _shown(figure, figures)
    note = (
        "means over domains; accuracy is of known images, none rejected; a score says how known an "
        "image looks, and COME's figures ask it to tell the known and rightly classified images "
        "from all others; higher is better but for FPR; "
        f"{MISSING} where a run's outputs were not all numbers"
    )
    return Table("open_set", cells, None, [note], _caption("Open-set recognition", comparison))


def segmentation_table(comparison: Comparison) -> Table:
    """Return the further figures of label maps, and the IoU of every class over the stream."""
    figures, task = comparison.figures, comparison.task
    cells = pd.DataFrame({"method": figures.index}, figures.index)
    for figure in task.figures:
        if figure.metric.better == "higher" and figure.metric is not task.headline:
            cells[figure.header] = _shown(figure, figures)
    for name, values in class_ious(comparison.rows).items():
        cells[f"class {name}" if name in cells else name] = _percent(values)
    note = (
        "in %; image mIoU is the mean over images of their own mIoU, the others are of summed "
        "confusion matrices: means over visits to domains, pooled of the whole stream; by class, "
        f"the intersection over union over the whole stream; {MISSING} where a class is neither "
        "among labels nor among predictions"
    )
    return Table("segmentation", cells, None, [note], _caption("Segmentation", comparison))


def class_ious(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the IoU of each class over the stream, means over seeds: methods by classes."""
    found = {
        row.label: pd.DataFrame(
            [
                {name: values[0] for name, values in run.summary["class_iou"].items()}
                for run in row.runs
            ],
            dtype=float,
        ).mean()
        for row in rows
    }
    return pd.DataFrame.from_dict(found, orient="index")


def protocol_table(comparison: Comparison) -> Table:
    """Return what the protocol of the runs says of them, beside their errors."""
    figures = comparison.figures
    known = [figure for figure in PROTOCOL_FIGURES if figure.name in figures]
    cells = pd.DataFrame({"method": figures.index}, figures.index)
    for figure in known:
        factor = 100 if figure.percent else 1
        cells[figure.header] = _text(factor * figures[figure.name], f"{{:.{figure.digits}f}}")
    rules = dict.fromkeys(
        row.summary["pace"]["rule"] for row in comparison.rows if row.summary.get("pace")
    )
    notes = [f"under {'; '.join(rules)}"] if rules else []
    notes.append("; ".join(f"{figure.header}: {figure.meaning}" for figure in known))
    return Table("protocol", cells, None, notes, _caption("Protocol", comparison))


def has_protocol(comparison: Comparison) -> bool:
    """Return whether a protocol has more to say than any stream does: of recovery."""
    parts = ("pace", "tasks", "held_out", "probe", "estimates")
    return any(row.summary.get(part) for row in comparison.rows for part in parts)


def _shown(figure: RunFigure, figures: pd.DataFrame) -> list[str]:
    factor = 100 if figure.metric.percent else 1
    return _text(factor * figures[figure.name], f"{{:.{figure.metric.digits}f}}")


def paired_table(comparison: Comparison) -> Table:
    """Return the paired tests against the baseline, or else against the best."""
    tests, reference = in_headline(comparison), comparison.reference
    cells = pd.DataFrame({"method": tests.index}, tests.index)
    cells["difference"] = _text(100 * tests["difference"], "{:+.2f}")
    cells["95 % interval"] = [
        MISSING if pd.isna(low) else f"{100 * low:+.2f} to {100 * high:+.2f}"
        for low, high in zip(tests["low"], tests["high"], strict=True)
    ]
    cells["p bootstrap"] = tests["p_bootstrap"].map(p_value)
    if "p_images" in tests:
        cells["p images"] = tests["p_images"].map(p_value)
        note = (
            f"difference of mean {comparison.called('error')} in points to "
            f"{reference.label if reference else MISSING}, below 0 is worse; its interval and p "
            "images: bootstrap over the images of every visit, the same for both; p bootstrap: "
            f"over seeds and domains (from {MINIMUM_DOMAINS} domains on); several runs: twice the "
            "median p; p-values Holm-corrected"
        )
        return Table("tests", cells, None, [note], _caption("Paired tests", comparison))
    cells["p McNemar"] = tests["p_mcnemar"].map(p_value)
    cells["only one right, by run"] = [
        ", ".join(f"{count.only_first}:{count.only_second}" for count in counts) or MISSING
        for counts in tests["discordant"]
    ]
    note = (
        f"difference of mean error in points to {reference.label if reference else MISSING}, "
        "above 0 is worse; bootstrap over "
        f"seeds and domains (from {MINIMUM_DOMAINS} domains on), McNemar's exact test in each "
        "run (several: twice the median p); p-values Holm-corrected; images that the method "
        "alone : the other alone got right"
    )
    return Table("tests", cells, None, [note], _caption("Paired tests", comparison))


def in_headline(comparison: Comparison) -> pd.DataFrame:
    """Return the paired tests with differences of the headline, as it is shown."""
    tests, task = comparison.tests, comparison.task
    ends = ("low", "high") if task.headline.better == "lower" else ("high", "low")
    changed = {
        name: task.change(tests[end]) for name, end in zip(("low", "high"), ends, strict=True)
    }
    return tests.assign(difference=task.change(tests["difference"]), **changed)


def published_table(comparison: Comparison, published: pd.DataFrame, metric: str) -> Table:
    """Return published figures beside ours, with what differs in their protocol."""
    entries = pd.DataFrame(
        beside_ours(comparison, published),
        columns=["label", "ours", "theirs", "differs", "citation", "remarks"],
    )
    metric = comparison.called(metric)
    rates = as_metric(entries[["ours", "theirs"]].astype(float), metric)
    cells = pd.DataFrame({"method": entries["label"]})
    cells["ours"], cells["published"] = _percent(rates["ours"]), _percent(rates["theirs"])
    cells["difference"] = _text(100 * (rates["ours"] - rates["theirs"]), "{:+.2f}")
    cells["their protocol differs in"] = entries["differs"].replace("", "nothing recorded")
    cells["citation"], cells["remarks"] = entries["citation"], entries["remarks"]
    note = f"mean {metric} in % of this table and of the papers, and their difference in points"
    if cells.empty:
        note = "no published figure is known for these methods on this data set and scenario"
    caption = _caption(f"Our {metric} beside published figures", comparison)
    return Table("published", cells, None, [note], caption)


BOLD_NOTE = (
    "bold: the best, and what paired tests do not tell from it at "
    f"{LEVEL:.0%} (by domain McNemar's test; in the mean also the bootstrap over seeds and domains)"
)
MAP_BOLD_NOTE = BOLD_NOTE.replace("McNemar's test", "the bootstrap over images")


def _methods(rows: Sequence[Row]) -> pd.DataFrame:
    labels = [row.label for row in rows]
    facts = {
        "method": labels,
        "predicts": [row.summary["predicts"] for row in rows],
        "source data": [source_data(row) for row in rows],
        "seeds": [str(len(row.runs)) for row in rows],
    }
    return pd.DataFrame(facts, labels)


def source_data(row: Row) -> str:
    """Return when a method sees source images: ``every step``, ``before`` or ``no``."""
    needs = row.summary.get("needs")
    if needs is None:
        return MISSING
    return next((words for need, words in SOURCE_NEEDS.items() if need in needs), "no")


def row_notes(rows: Sequence[Row]) -> list[str]:
    """Return :func:`unlike_notes`, and why figures of rows marked as doubtful are."""
    labels = defaultdict(list)
    for row in rows:
        for warning in row.warnings:
            labels[warning].append(row.label)
    return [
        *unlike_notes(rows),
        *(f"doubtful: {'; '.join(names)}: {warning}" for warning, names in labels.items()),
    ]


def unlike_notes(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on rows whose seeds were not all run with the same code or machine."""
    groups = defaultdict(list)
    for row in rows:
        if row.unlike:
            groups[", ".join(row.unlike).replace("_", " "), row.machine is None].append(row.label)
    return [
        f"seeds were run with different {names}"
        + (", so time and memory are not compared" if apart else "")
        + f": {'; '.join(labels)}"
        for (names, apart), labels in groups.items()
    ]


def _caption(what: str, comparison: Comparison) -> str:
    return f"{what}: {comparison.title}."


def _protocol(comparison: Comparison, metric: str) -> str:
    facts = "; ".join(f"{name} {value}" for name, value in comparison.protocol.items())
    return f"online {metric} in %; {facts}"


def _text(numbers: pd.Series, form: str) -> list[str]:
    return [MISSING if pd.isna(number) else form.format(number) for number in numbers]


def _percent(fractions: pd.Series) -> list[str]:
    return _text(100 * fractions, "{:.2f}")


def _with_deviation(means: list[str], deviations: pd.Series) -> list[str]:
    return [
        mean if pd.isna(deviation) else f"{mean} ± {100 * deviation:.2f}"
        for mean, deviation in zip(means, deviations, strict=True)
    ]


def p_value(p: float) -> str:
    """Return a p-value as tables show it."""
    if pd.isna(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"
