"""MEMO's episodes and TTAug's average, written out."""

import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters

FEW = {"views": 4}


@pytest.mark.parametrize("kind", ["layer_norm", "batch_norm"])
def test_an_episode_is_one_step_on_the_marginal_entropy_and_then_the_image(kind):
    memo, naive = (make("memo", kind, lr=0.5, **FEW) for _ in range(2))
    image = IMAGES[:1]
    source = naive.predict(image)
    mean = naive.backbone(naive.views(image)).softmax(1).mean(0)
    gradients = torch.autograd.grad(-(mean * mean.log()).sum(), naive.parameters)
    with torch.no_grad():
        for parameter, gradient in zip(naive.parameters, gradients, strict=True):
            parameter -= 0.5 * gradient
    outputs = memo.step(image)
    torch.testing.assert_close(outputs, naive.predict(image), atol=1e-5, rtol=1e-4)
    assert (outputs - source).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["memo", "ttaug"])
def test_images_do_not_see_each_other(name):
    together, apart = (make(name, "batch_norm", **FEW) for _ in range(2))
    outputs = together.step(IMAGES[:3])
    assert torch.equal(outputs, torch.cat([apart.step(image) for image in IMAGES[:3].split(1)]))


def test_the_model_is_the_sources_again_but_views_are_new_ones():
    memo = make("memo", optimizer="adam", lr=0.1, **FEW)
    before = parameters(memo)
    first, second = memo.step(IMAGES[:1]), memo.step(IMAGES[:1])
    assert torch.equal(parameters(memo), before)
    assert not torch.equal(first, second)


def test_all_parameters_are_trained():
    memo = make("memo", **FEW)
    assert sum(p.numel() for p in memo.parameters) == sum(
        p.numel() for p in memo.backbone.parameters()
    )


@pytest.mark.parametrize("compat", [False, True])
def test_the_average_over_the_image_and_its_views(compat):
    ttaug, naive = (make("ttaug", compat=compat, **FEW) for _ in range(2))
    image = IMAGES[:1]
    logits = torch.cat([naive.backbone(image), naive.backbone(naive.views(image))])
    output = ttaug.step(image)
    if compat:
        torch.testing.assert_close(output, logits.mean(0, keepdim=True))
    else:
        torch.testing.assert_close(output.softmax(1), logits.softmax(1).mean(0, keepdim=True))
