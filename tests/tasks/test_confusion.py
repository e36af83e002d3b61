"""Figures of label maps, against numbers worked out by hand and a loop over pixels."""

import math

import numpy as np
import pytest
import torch

from tta.ops.maps import enlarged
from tta.tasks.calibration import expected_calibration_error
from tta.tasks.confusion import class_iou, mean_class_accuracy, mean_iou, pixel_accuracy
from tta.tasks.dense_metrics import confusion, pixel_metrics
from tta.tasks.segmentation import MATRIX, PIXEL_COLUMNS, SEGMENTATION_METRICS

LABELS = torch.tensor([[[0, 0, 1], [1, 255, 0]], [[1, 1, 1], [0, 2, 2]]])
PREDICTED = torch.tensor([[[0, 1, 1], [1, 0, 0]], [[1, 0, 1], [0, 2, 1]]])


def logits_of(predicted, classes):
    return 3.0 * torch.nn.functional.one_hot(predicted, classes).movedim(-1, 1).float()


def naive(labels, predicted, classes, ignore):
    """Return the matrix of label maps, pixel by pixel."""
    matrix = np.zeros((classes, classes + 1), int)
    for label, guess in zip(labels.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if label != ignore and label < classes:
            matrix[label, guess] += 1
    return matrix


def naive_iou(matrix):
    found = []
    for c in range(len(matrix)):
        union = sum(matrix[c]) + sum(matrix[:, c]) - matrix[c, c]
        if union:
            found.append(matrix[c, c] / union)
    return sum(found) / len(found) if found else math.nan


def test_the_figures_of_two_small_maps_are_those_worked_out_by_hand():
    _, matrices = pixel_metrics(logits_of(PREDICTED, 3), LABELS, "logits", 255)
    total = matrices.sum(0).numpy()
    assert total[:, :3].tolist() == [[3, 1, 0], [1, 4, 0], [0, 1, 1]]
    assert not total[:, 3].any()
    assert class_iou(total) == pytest.approx([0.6, 0.571429, 0.5], abs=1e-6)
    assert mean_iou(total) == pytest.approx(0.557143, abs=1e-6)
    assert mean_iou(matrices.numpy()) == pytest.approx([0.666667, 0.5], abs=1e-6)
    assert pixel_accuracy(total) == pytest.approx(0.727273, abs=1e-6)
    assert mean_class_accuracy(total) == pytest.approx(0.683333, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 20)])
@pytest.mark.parametrize("ignored", [0.0, 0.4, 1.0])
def test_matrices_and_miou_are_those_of_a_loop_over_pixels(shape, ignored):
    rng = np.random.default_rng([*shape, int(10 * ignored)])
    labels = rng.integers(0, 6, (3, *shape))  # 5 is no class: it is ignored too
    labels[rng.random(labels.shape) < ignored] = 255
    outputs = torch.from_numpy(rng.normal(size=(3, 5, *shape)).astype(np.float32))
    _, matrices = pixel_metrics(outputs, torch.from_numpy(labels), "logits", 255)
    predicted = outputs.argmax(1).numpy()
    for image in range(3):
        expected = naive(labels[image], predicted[image], 5, 255)
        assert (matrices[image].numpy() == expected).all()
        assert mean_iou(expected) == pytest.approx(naive_iou(expected), nan_ok=True)


def test_a_class_that_is_predicted_and_not_there_scores_0_and_an_absent_one_does_not_count():
    matrix = np.array([[4, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert class_iou(matrix) == pytest.approx([4 / 6, 0.0, math.nan], nan_ok=True)
    assert mean_iou(matrix) == pytest.approx(1 / 3)


def test_pixels_without_a_number_are_wrong_and_of_no_class():
    outputs = logits_of(PREDICTED, 3)
    outputs[0, :, 0, 0] = torch.nan
    rows, matrices = pixel_metrics(outputs, LABELS, "logits", 255)
    assert matrices[0, 0].tolist() == [1, 1, 0, 1]  # right before, of no class now
    assert rows[:, 0].isnan().all() and rows[:, 1].isfinite().all()


def test_all_pixels_ignored_leave_no_figure_and_no_nan_in_the_sums():
    labels = torch.full((1, 4, 4), 255)
    rows, matrices = pixel_metrics(torch.rand(1, 3, 2, 2), labels, "logits", 255)
    assert not matrices.any() and not rows.any()
    samples = dict(zip(PIXEL_COLUMNS, rows.double().numpy(), strict=True))
    samples[MATRIX] = matrices.long().numpy()
    assert all(math.isnan(metric.aggregate(samples)) for metric in SEGMENTATION_METRICS)


@pytest.mark.parametrize("side", [40, 256])
def test_calibration_is_that_of_the_chosen_pixels(side):
    step = 1 if side < 256 else 8
    generator = torch.Generator().manual_seed(side)
    outputs = 3 * torch.randn(2, 4, side, side, generator=generator)
    labels = torch.randint(0, 5, (2, side, side), generator=generator)  # 4 is ignored
    rows, matrices = pixel_metrics(outputs, labels, "logits", 4)
    samples = dict(zip(PIXEL_COLUMNS, rows.double().numpy(), strict=True))
    samples[MATRIX] = matrices.long().numpy()
    found = {metric.name: metric.aggregate(samples) for metric in SEGMENTATION_METRICS}
    chosen, some = labels[:, ::step, ::step], outputs[..., ::step, ::step]
    counted = chosen < 4
    confidence, guess = some.softmax(1).max(1)
    correct = (guess == chosen)[counted].double().numpy()
    expected = expected_calibration_error(confidence[counted].double().numpy(), correct)
    assert found["ece"] == pytest.approx(expected, abs=1e-5)
    losses = torch.nn.functional.cross_entropy(some, chosen, ignore_index=4)
    assert found["nll"] == pytest.approx(float(losses), rel=1e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_outputs_are_enlarged_to_the_labels_and_in_parts_as_together(aligned, monkeypatch):
    outputs, labels = torch.rand(5, 3, 6, 9), torch.randint(0, 3, (5, 21, 40))
    together = pixel_metrics(outputs, labels, "logits", 255, aligned)[1]
    monkeypatch.setattr("tta.tasks.dense_metrics.AT_ONCE", 1)
    alone = pixel_metrics(outputs, labels, "logits", 255, aligned)[1]
    assert torch.equal(together, alone)
    predicted = enlarged(outputs, (21, 40), aligned).argmax(1)
    assert torch.equal(together, confusion(labels, predicted, labels >= 0, 3))
