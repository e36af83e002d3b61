"""REM's masks and its loss, written out, and attention against the model's own."""

import torch

from tests.fakes import make_backbone, make_images
from tests.methods.selective import IMAGES, make, parameters
from tta.backbones import create_backbone
from tta.backbones.vision_transformer import (
    PatchChoice,
    attended_logits,
    is_class_token_transformer,
)

Z = torch.tensor([[2, 0, -1], [0, 1, 0.5], [1, 1, 1]])
T = torch.tensor([[1, 0, 0], [0, 3, 0], [0.5, 0, -0.5]])


def large_vit():
    return create_backbone(
        "test_vit", num_classes=5, pretrained=False, model_kwargs={"img_size": 64}
    )


def test_attention_is_that_of_the_last_block():
    backbone, images = large_vit(), make_images(2)
    images = torch.nn.functional.interpolate(images, (64, 64))
    logits, attention = attended_logits(backbone, images)
    last = backbone.model.blocks[-1].attn
    last.fused_attn, kept = False, []
    last.attn_drop.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    assert torch.equal(logits, backbone(images)) or torch.allclose(logits, backbone(images))
    torch.testing.assert_close(attention, kept[0].mean(1)[:, 0, 1:])
    assert attention.shape == (2, 16)


def test_patches_left_out_do_not_count():
    backbone, images = large_vit(), torch.rand(2, 3, 64, 64)
    choice = PatchChoice(backbone)
    kept = torch.tensor([[0, 5, 6], [15, 2, 3]])
    outputs = choice.run(backbone, images, kept)
    changed = torch.rand(2, 3, 64, 64)
    for row, patches in enumerate(kept.tolist()):
        for patch in patches:
            y, x = divmod(patch, 4)
            place = (row, slice(None), slice(16 * y, 16 * y + 16), slice(16 * x, 16 * x + 16))
            changed[place] = images[place]
    torch.testing.assert_close(choice.run(backbone, changed, kept), outputs)
    assert not torch.allclose(backbone(changed), backbone(images))


def test_the_golden_vectors_of_its_terms():
    rem = make("rem", views=2)
    # H(Z) = .524267, 1.020191, 1.098612 and CE(T -> Z) = 1.229554, .748187, 1.098612
    entropies = -(T.softmax(1) * T.log_softmax(1)).sum(1)
    rank = (entropies - torch.tensor([0.524267, 1.020191, 1.098612])).relu().mean()
    expected = (1.229554 + 0.748187 + 1.098612) / 3 + rank
    torch.testing.assert_close(rem.ranking_loss([T, Z]), expected, atol=1e-5, rtol=0)


def test_one_step_written_out():
    options = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False}
    rem, naive = (make("rem", **options) for _ in range(2))
    logits, attention = attended_logits(naive.backbone, IMAGES)
    views = [logits]
    for keep in (3, 3):  # of four patches, int(3.6) and int(3.2)
        order = [sorted(range(4), key=row.__getitem__)[:keep] for row in attention.tolist()]
        views.append(naive.patches.run(naive.backbone, IMAGES, torch.tensor(order)))
    loss = 0
    for more in range(3):
        for less in range(more + 1, 3):
            p, q = views[more].softmax(1), views[less].softmax(1)
            loss = loss - (p.detach() * q.log()).sum(1).mean()
            rise = -(p * p.log()).sum(1) + (q * q.log()).sum(1).detach()
            loss = loss + rise.relu().mean()
    gradients = torch.autograd.grad(loss, naive.parameters)
    expected = parameters(naive) - 0.1 * torch.cat([part.flatten() for part in gradients])
    torch.testing.assert_close(rem.step(IMAGES), logits.detach())
    torch.testing.assert_close(parameters(rem), expected, atol=1e-6, rtol=1e-4)


def test_the_last_stages_and_the_final_norm_are_not_trained():
    rem = make("rem")
    names = {name for name, p in rem.backbone.model.named_parameters() if p.requires_grad}
    assert any(name.startswith("blocks.4.") for name in names)
    assert not any(name.startswith(("blocks.5.", "norm.")) for name in names)


def test_which_models_are_transformers():
    assert is_class_token_transformer(make_backbone("layer_norm"))
    assert not is_class_token_transformer(make_backbone("batch_norm"))
    without = create_backbone(
        "test_vit",
        num_classes=5,
        pretrained=False,
        model_kwargs={"img_size": 32, "class_token": False, "global_pool": "avg"},
    )
    assert not is_class_token_transformer(without)
