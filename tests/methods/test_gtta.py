"""GTTA-MIX's two steps against their definition."""

import torch
import torch.nn.functional as F

from tests.methods.selective import IMAGES, make, parameters

SGD = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "nesterov": False}


def descend(method, loss):
    for parameter, gradient in zip(
        method.parameters, torch.autograd.grad(loss, method.parameters), strict=True
    ):
        parameter.data -= 0.01 * gradient


def test_two_steps_written_out():
    confidence = make("gtta").predict(IMAGES).softmax(1).amax(1)
    half = len(IMAGES) // 2
    between = confidence.sort().values[half - 1 : half + 1].mean()  # on no image's confidence
    middle = (between.item() ** 2 - 0.1 * confidence.mean().item()) / 0.9
    gtta, naive = (make("gtta", initial_confidence=middle, **SGD) for _ in range(2))
    p = naive.backbone(IMAGES).softmax(1).detach()
    confidence, labels = p.max(1)
    threshold = (0.9 * middle + 0.1 * confidence.mean()).sqrt()
    kept = [i for i in range(len(IMAGES)) if confidence[i] >= threshold]
    assert 0 < len(kept) < len(IMAGES)

    source_images, source_labels = next(naive.source_batches)
    mixed = []
    for image, q in zip(source_images, naive.backbone(source_images).softmax(1), strict=True):
        nearest = max(range(len(IMAGES)), key=lambda i: (q @ p[i]).item())
        mixed.append(IMAGES[nearest] / 3 + 2 * image / 3)
    descend(naive, F.cross_entropy(naive.backbone(torch.stack(mixed)), source_labels))
    outputs = naive.backbone(IMAGES)
    descend(naive, F.cross_entropy(outputs[kept], labels[kept]))

    torch.testing.assert_close(gtta.step(IMAGES), outputs.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parameters(gtta), parameters(naive), atol=1e-6, rtol=1e-4)


def test_without_a_confident_prediction_the_source_step_remains():
    gtta = make("gtta", initial_confidence=1.0, confidence_decay=1.0)
    start = parameters(gtta)
    outputs = gtta.step(IMAGES)
    assert not torch.equal(parameters(gtta), start)
    torch.testing.assert_close(gtta.predict(IMAGES), outputs)


def test_the_source_batch_is_no_larger_than_the_test_batch():
    gtta = make("gtta")
    assert [len(part) for part in gtta._source(2)] == [2, 2]
