"""The parts of one run, and what they make it: its resolved options, its fingerprint."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.backbones.dropout import StageDropout
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.with_unknown import WithUnknown, known_part
from tta.experiment.given import NOTHING, Given
from tta.experiment.map_sanity import map_warnings
from tta.experiment.pacing import Adapting, pacing_choices
from tta.experiment.parts import batch_size_of
from tta.experiment.prompting import prompts_of
from tta.experiment.resolving import (
    OWN_SOURCE,
    cloud_choices,
    estimate_dropout,
    preset_of,
    stream_choices,
)
from tta.experiment.sanity import source_warnings
from tta.experiment.showing import Geometry, described, described_source
from tta.foundation.code_digest import PACKAGE, code_digest
from tta.foundation.notes import in_order, with_those_of
from tta.foundation.own_file import split_own
from tta.methods import Method, Need
from tta.methods.params import choices_inside, plain_params
from tta.methods.plug_in import chain
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.reporting.records.run_directory import run_path
from tta.source.source_data import SourceData
from tta.streams import Scenario, StreamPlan, unitta
from tta.streams.stream import Stream
from tta.tasks.known_scores import KNOWN_SCORES
from tta.tasks.task import OPEN_SET, SEGMENTATION, Task, task_of

LOCATIONS = (
    "dataset",
    "preset",
    "weights",
    "weights_kind",
    "num_classes",
    "classes",
    "class_order",
    "source",
    "cloud_weights",
    "unknown",
    "probe",
)
"""Options that say where or what something is; fingerprints hold digests of what was found."""


@dataclass(frozen=True)
class Experiment:
    """The parts of one run.

    Attributes:
        config: as the user gave it, but for a precision that was left open.
        dataset: the test data.
        geometry: in which size its images are shown, and how they get it.
        order: the scenario.
        plan: order of the stream.
        stream: batches in that order.
        backbone: the source model, as loaded.
        cloud: the cloud's model of edge-cloud methods, as loaded, or None.
        method: the adaptation method around it, not yet started.
        params: the method's resolved hyper-parameters.
        preset: where they come from, in words.
        source: source images, or None where the method needs none.
        clean: clean images by which forgetting is measured, or None.
        precision_reason: why ``--precision auto`` picked what it did; None where it was given.
        compile_reason: why ``--compile`` came to nothing here; None where it did not.
        method_bytes: of memory that the method took to be made: its models, its optimiser.
        given: the parts that a program handed over.
        model_digest: of the source model's weights, settings and code, where it was handed over.
        dropout: in the model and its copies, switched on for estimates; None where there is none.
        beside: the run whose data, stream and source model this one shares; None for none.
    """

    config: RunConfig
    dataset: Dataset
    geometry: Geometry
    order: Scenario
    plan: StreamPlan
    stream: Stream
    backbone: Backbone
    cloud: Backbone | None
    method: Adapting
    params: Any
    preset: str
    source: SourceData | None
    clean: SourceData | None
    precision_reason: str | None
    compile_reason: str | None
    method_bytes: int
    given: Given = NOTHING
    model_digest: str | None = None
    dropout: StageDropout | None = None
    beside: Experiment | None = None

    @property
    def understood(self) -> dict[str, str]:
        """What was understood of the user's data and model, in words."""
        images = described(self.geometry, self.dataset, self.backbone)
        data = {**self.dataset.understood(), **images}
        if self.source:
            source = self.source.dataset
            others = {**source.understood(), **described_source(source, self.backbone, images)}
            data = with_those_of("source images", data, others)
        cloud = self.cloud.understood if self.cloud else {}
        return in_order(data, with_those_of("cloud", self.backbone.understood, cloud))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Why figures may not be what they seem; known once some images have been classified."""
        if self.beside is not None:
            return self.beside.warnings
        named = (self.config.backbone, self.config.weights)
        own = any(part is not None for part in (*named, self.given.model, self.given.dataset))
        own = own or self.dataset.argument == "path" or split_own(self.config.dataset) is not None
        # Where nothing is one's own, all of it is known to fit.
        doubted = self._doubts_of_model() if own else ()
        return (*self._doubts_of_stream(), *doubted)

    def _doubts_of_model(self) -> tuple[str, ...]:
        if self.task is SEGMENTATION:
            return map_warnings(self.stream, self.backbone, self.dataset.ignore_label)
        return source_warnings(self.stream, self.backbone)

    def _doubts_of_stream(self) -> tuple[str, ...]:
        if self.config.scenario != "markov":
            return ()
        return unitta.doubts(self.plan, batch_size_of(self.config, self.dataset))

    @property
    def prompts(self) -> dict[str, Any] | None:
        """Names of classes, templates and their digest, of a model that reads them; else None."""
        return prompts_of(self.backbone)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.stream.device

    @property
    def adapting_method(self) -> Method:
        """The method itself, without what stands around it."""
        return self.method if isinstance(self.method, Method) else self.method.method

    @property
    def prepares(self) -> bool:
        """Whether the method computes something from source images before the stream."""
        return self._reads_source(Need.SOURCE_AT_PREPARE)

    @property
    def is_folded(self) -> bool:
        """Whether the method has a network with batch norm folded into convolutions."""
        keeps = type(self.adapting_method).keeps_network(self.params)
        folds = any(True for _ in batch_norm_layers(self.backbone))
        return self.config.fold and keeps and folds and self.backbone.precision is torch.float32

    @property
    def replays(self) -> bool:
        """Whether the method reads source images along the stream."""
        return self._reads_source(Need.SOURCE_AT_STEP)

    @cached_property
    def task(self) -> Task:
        """What the stream is judged by: whether it shows unknown images."""
        return task_of(self.stream.labels(), self.dataset.task)

    @property
    def score(self) -> Callable[[Tensor], Tensor]:
        """How much images look known, of outputs of the method ``[B, C]``."""
        method, name = self.adapting_method, self.score_name
        if name == "own":
            return method.score
        return partial(KNOWN_SCORES[name], kind=method.outputs)

    @property
    def score_name(self) -> str:
        """Its name: a method that has no score of its own goes by the energy."""
        name = self.config.score or "own"
        return "energy" if name == "own" and not self.adapting_method.has_own_score else name

    def _reads_source(self, need: Need) -> bool:
        needs = type(self.adapting_method).needs(self.params)
        return self.source is not None and need in needs

    def close(self) -> None:
        """End the processes that load source images; those of the stream end with it."""
        for images in (self.source, self.clean):
            if images is not None:
                images.close()

    @property
    def scenario(self) -> str:
        """Name of the scenario; of one's own, without its file."""
        return self.order.name

    @cached_property
    def code(self) -> str:
        """Digest of this package's code and one's own, as it was when first asked for."""
        mro = [kind for one in chain(self.adapting_method) for kind in type(one).__mro__]
        methods = [kind for kind in mro if issubclass(kind, Method)]
        read = [images.dataset for images in (self.source, self.clean) if images is not None]
        data = (*_parts(self.dataset), self.given.source, *read)
        kinds = {kind for part in data for kind in type(part).__mro__ if issubclass(kind, Dataset)}
        config = self.config
        inside = choices_inside(plain_params(self.params)).values()
        named = (
            config.method,
            *inside,
            config.dataset,
            config.source,
            config.unknown,
            config.probe,
        )
        files = {str(own[0]) for own in map(split_own, filter(None, named)) if own is not None}
        files |= set(filter(None, map(_file_of, [*kinds, self.order.plan])))
        own = {file for file in files if not Path(file).resolve().is_relative_to(PACKAGE)}
        return code_digest(*{inspect.getfile(kind) for kind in methods}, *own)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration with its choices made explicit; it runs again as it is.

        Whatever is typed for a default, or for a choice without effect here, is the same as
        nothing: equal runs have equal mappings.
        """
        config = self.config.to_mapping()
        config.update(
            stream_choices(self.config, known_part(self.dataset), self.plan, self.order.uses),
            **self.geometry.resolved(),
            batch_size=batch_size_of(self.config, self.dataset),
            set=plain_params(self.params),
            preset=preset_of(self.config, self.dataset) or "defaults",
            backbone=self.backbone.name,
            templates=self.backbone.text and list(self.backbone.text.templates),
            source=self.source and self._source_name,
            probe=self._probe_name,
            **pacing_choices(self.config, self.plan),
            probe_samples=self.config.probe_samples if self.clean else RunConfig.probe_samples,
            device=self.device.type,
            fold=self.is_folded,
            deterministic=self.config.deterministic and self.device.type == "cuda",
            memory_format=str(self.stream.memory_format)
            .removeprefix("torch.")
            .removesuffix("_format"),
            score=self.score_name if self.task is OPEN_SET else None,
            estimate_dropout=estimate_dropout(self.config, self.backbone),
            **cloud_choices(self.config, self.cloud),
            **dict(zip(("mean", "std"), map(list, self.backbone.normalisation), strict=True)),
            force=False,
            resume=False,
        )
        return config

    @property
    def _source_name(self) -> str | None:
        """Specification of the source images, whether the run reads them or not."""
        return self.config.source or self.dataset.benchmark.source

    @property
    def _probe_name(self) -> str | None:
        """Specification of the clean images: that of the source, where these are meant."""
        own = self.config.probe == OWN_SOURCE and self.given.source is None
        return self._source_name if own else self.config.probe

    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits that differ where figures may differ."""
        passed_over = (*RunConfig.UNRECORDED, *LOCATIONS)
        facts = {k: v for k, v in self.resolved().items() if k not in passed_over}
        facts["method"] = type(self.adapting_method).__qualname__  # "code" has its file
        facts["scenario"] = self.scenario  # likewise
        facts["set"] = {**facts["set"], **self.adapting_method.digests}
        facts["stream"] = self.plan.digest
        facts["data"] = self.dataset.digest()
        facts["classes"] = self.backbone.class_ids  # what --classes and --class-order came to
        facts["weights_sha256"] = self.backbone.weights_sha256
        facts["prompts"] = self.prompts and self.prompts["digest"]
        facts["source"] = self.source and self.source.dataset.digest()
        if self.clean is not None:
            facts["clean"] = self.clean.dataset.digest()
        facts["cloud_weights_sha256"] = self.cloud and self.cloud.weights_sha256
        facts["cloud"] = self.cloud and self.cloud.preprocessing
        facts["code"] = self.code
        if self.model_digest is not None:
            facts["model"] = self.model_digest
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def path(self) -> Path:
        """Return the run directory."""
        parts = [self.dataset.name, self.scenario, self.backbone.name, self.method.name]
        return run_path(self.config.output, parts, self.fingerprint())


def _parts(dataset: Dataset) -> tuple[Dataset, ...]:
    if isinstance(dataset, WithUnknown):
        return dataset.known, dataset.unknown
    return (dataset,)


def _file_of(found: Any) -> str | None:
    return getattr(sys.modules.get(found.__module__), "__file__", None)
