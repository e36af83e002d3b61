"""Where what a method computes from source images is kept for other runs."""

from __future__ import annotations

from tta.experiment.built import Experiment
from tta.foundation.arithmetic import arithmetic
from tta.foundation.cache import PreparationCache
from tta.methods.params import plain_params


def preparation_cache(experiment: Experiment) -> PreparationCache | None:
    """Return the cache entry of what the method computes from source images, if it does."""
    source = experiment.source
    if experiment.config.no_cache or not experiment.prepares:
        return None
    facts = {
        "method": [experiment.method.name, type(experiment.adapting_method).__qualname__],
        "params": {**plain_params(experiment.params), **experiment.adapting_method.digests},
        "seed": experiment.config.seed,
        "weights": [experiment.backbone.weights_sha256, experiment.model_digest],
        "second model": experiment.cloud
        and [experiment.cloud.weights_sha256, *experiment.cloud.preprocessing],
        "source": [source.dataset.name, source.dataset.digest(), source.batch_size, source.seed],
        "preprocessing": [
            source.dataset.image_size,
            repr(source.dataset.resizing),
            *experiment.backbone.preprocessing,
        ],
        "arithmetic": [
            experiment.config.precision,
            experiment.config.compile,
            experiment.is_folded,
            str(source.memory_format),
            arithmetic(experiment.device),
        ],
        "code": experiment.code,
    }
    return PreparationCache(facts)
