"""OSTTA's keep test and step."""

import torch

from tests.methods.selective import IMAGES, make, parameters
from tta.methods.ostta import not_less_sure
from tta.ops.losses import entropy, marginal_entropy
from tta.ops.selection import selected_mean

SOURCE = torch.tensor(
    [
        [1.5, 0.0, -1.0],
        [0.2, 0.8, 0.5],
        [2.0, 0.0, 0.0],
        [1.2, 0.0, 0.2],
        [0.3, 0.4, 0.0],
        [1.2, 0.2, 0.1],
        [0.2, 0.0, 0.3],
        [1.0, 0.2, 0.1],
    ]
)
ADAPTED = torch.tensor(
    [
        [2.0, 0.0, -1.0],
        [0.0, 1.0, 0.5],
        [3.0, 0.0, 0.0],
        [1.0, 0.0, 0.2],
        [0.3, 0.2, 0.0],
        [1.0, 0.2, 0.1],
        [0.4, 0.0, 0.3],
        [1.5, 0.2, 0.1],
    ]
)


def test_the_worked_example():
    kept = not_less_sure(ADAPTED, SOURCE)
    assert kept.int().tolist() == [1, 1, 1, 0, 0, 0, 0, 1]
    loss = selected_mean(entropy(ADAPTED), kept) - 0.5 * marginal_entropy(ADAPTED)
    torch.testing.assert_close(loss, torch.tensor(0.200907), atol=1e-6, rtol=0)


def test_the_first_batch_is_kept_whole_and_a_later_one_in_part():
    ostta = make("ostta", "batch_norm", optimizer="sgd", lr=0.1, momentum=0.0)
    naive = make("tent", "batch_norm", optimizer="sgd", lr=0.1, momentum=0.0)
    source = make("tent", "batch_norm").backbone
    for kept_all in (True, False):
        logits = naive.backbone(IMAGES)
        kept = not_less_sure(logits, source(IMAGES))
        assert kept.all() == kept_all
        assert kept.any()
        loss = entropy(logits)[kept].mean() - 0.5 * marginal_entropy(logits)
        loss.backward()
        naive.optimizer.step()
        naive.optimizer.zero_grad()
        ostta.step(IMAGES)
        torch.testing.assert_close(parameters(ostta), parameters(naive))


def test_where_nothing_is_kept_only_the_mean_prediction_counts():
    ostta = make("ostta", "batch_norm", lr=0.1)
    none = make("ostta", "batch_norm", lr=0.1, marginal_weight=0.0)
    start = parameters(ostta)
    for method in (ostta, none):
        # A source that is certain: nothing can be as sure.
        method.source.classifier.weight.data.mul_(1e4)
        method.step(IMAGES)
    assert torch.equal(parameters(none), start)
    assert not torch.equal(parameters(ostta), start)
