import pytest
import torch

from tta.ops.losses import class_correlation

LOGITS = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 1], [0.3, -2, 0]], dtype=torch.float64)


def naive(logits, norm):
    p = logits.softmax(1)
    B, C = p.shape
    total = torch.zeros((), dtype=p.dtype)
    r = torch.stack([torch.stack([(p[:, i] * p[:, j]).sum() for j in range(C)]) for i in range(C)])
    for i in range(C):
        for j in range(C):
            if i != j:
                scale = {"cosine": C * (r[i, i] * r[j, j]).sqrt(), "row": C * r[i].sum(), "none": B}
                total = total + r[i, j] / scale[norm]
    return total


@pytest.mark.parametrize("norm", ["cosine", "row", "none"])
def test_agrees_with_the_double_sum(norm):
    torch.testing.assert_close(class_correlation(LOGITS, norm), naive(LOGITS, norm))


@pytest.mark.parametrize("norm", ["cosine", "row", "none"])
def test_certain_predictions_have_no_correlation(norm):
    assert class_correlation(1e4 * torch.eye(3), norm) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("norm", ["cosine", "row", "none"])
def test_gradients_are_finite_where_a_class_is_never_predicted(norm):
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    class_correlation(logits, norm).backward()
    assert torch.isfinite(logits.grad).all()
