"""MEMO's episodes and TTAug's average, written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from tests.fakes import make_backbone
from tests.methods.selective import IMAGES, make, parameters
from tta.methods.memo import Memo
from tta.ops.losses import marginal_entropy
from tta.ops.views.augmix import OPERATIONS, apply_operation

FEW = {"views": 4}


class BufferedBatchNorm(nn.Module):
    """Mixes with the moments that a forward pass has left in a buffer, as published."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.target_weight = layer, layer.target_weight

    def forward(self, x):
        mean, var = torch.zeros_like(self.layer.running_mean), self.layer.running_var.clone()
        F.batch_norm(x, mean, var, None, None, True, 1.0)
        if not self.layer.unbiased:
            var *= 1 - x.shape[1] / x.numel()
        mean = self.layer.running_mean.lerp(mean, self.target_weight)
        var = self.layer.running_var.lerp(var, self.target_weight)
        affine = self.layer.weight, self.layer.bias
        return self.layer.act(F.batch_norm(x, mean, var, *affine, False, 0.0, self.layer.eps))


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


@pytest.mark.parametrize(("target_weight", "compat"), [(0.3, True), (0.3, False), (1.0, False)])
def test_mixed_statistics_are_constants_of_the_step(target_weight, compat):
    params = {"target_weight": target_weight, "compat": compat}
    memo = make("memo", "fused_batch_norm", **params, **FEW)
    naive, taken = memo.backbone.clone(), {}
    for parent in list(naive.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "target_weight"):
                setattr(parent, name, BufferedBatchNorm(child))
    generator = torch.Generator()
    generator.set_state(memo.generator.get_state())
    views = memo.augment(IMAGES[:1].expand(4, -1, -1, -1), generator)
    marginal_entropy(naive(views)).backward()
    memo.optimizer.register_step_pre_hook(
        lambda *_: taken.update((name, p.grad) for name, p in memo.backbone.named_parameters())
    )
    memo.step(IMAGES[:1])
    for name, parameter in naive.named_parameters():
        gradient = taken[name.replace(".layer.", ".")]
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-3)


def test_the_toolbox_leaves_one_dimensional_layers_to_the_source():
    for compat, weight in ((False, 0.1), (True, 0.0)):
        backbone = make_backbone("batch_norm")
        backbone.model.bottleneck = nn.BatchNorm1d(4)
        memo = Memo(backbone, Memo.Params(compat=compat))
        assert memo.backbone.model.bottleneck.target_weight == weight
        assert memo.backbone.model.bn1.target_weight == 0.1


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


def test_all_parameters_are_trained_unless_weights_and_biases_are_asked_for():
    named = make("memo", trained="weights_and_biases", **FEW)
    assert len(named.parameters) == len(list(named.backbone.parameters())) - 2  # of the test ViT
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


@pytest.mark.parametrize("name", ["memo", "ttaug"])
def test_the_toolbox_moves_black_into_view_as_pillow_does_unasked(name):
    levels = torch.full((1, 3, 32, 32), 200.0)
    picture = Image.new("RGB", (32, 32), (200, 200, 200))
    shift, how = (1, 0, 1, 0, 1, 0), Image.Resampling.BILINEAR
    moved = np.asarray(picture.transform((32, 32), Image.Transform.AFFINE, shift, resample=how))
    options = torch.tensor([OPERATIONS.index("translate_x")]), torch.ones(1), torch.ones(1)
    ours = apply_operation(levels, *options, make(name, compat=True, **FEW).augment.fill)
    assert (moved == 0).mean() == 1 / 32
    assert np.array_equal(ours[0].permute(1, 2, 0).numpy(), moved)
    grey = apply_operation(levels, *options, make(name, **FEW).augment.fill)
    assert grey.min() == 128
