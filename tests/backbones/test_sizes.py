"""Which sizes backbones take: said for every architecture, never a traceback."""

from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from tests.fakes import make_backbone
from tta.backbones import create_backbone
from tta.backbones.sizes import create_for_size, evaluation_transform, stride, why_not
from tta.foundation.errors import UserError

SIZES = [(1, 1), (8, 8), (32, 32), (48, 64), (100, 100)]
TINY = [
    *("test_byobnet", "test_coatnet", "test_convnext", "test_maxvit", "test_resnet", "test_vit"),
    *("test_vit_relpos", "digits_vit"),
]


@pytest.mark.parametrize("name", TINY)
def test_what_is_said_is_so(name):
    backbone = create_backbone(name, pretrained=False)
    counted = backbone.passes.forward
    said = {size: why_not(backbone, size) for size in SIZES}
    assert backbone.passes.forward == counted
    for size, reason in said.items():
        try:
            with torch.no_grad():
                taken = bool(backbone(torch.zeros(2, 3, *size)).isfinite().all())
        except (RuntimeError, AssertionError, ValueError):
            taken = False
        assert (reason is None) == taken, (size, reason)
        assert reason is None or reason and "\n" not in reason
    assert why_not(backbone, backbone.input_size[1:]) is None


def thin(name, **options):
    """Return a maker of a network of that name, one block deep where that can be said."""
    depth = {} if name.startswith("mixer") else {"depth": 1}

    def create(model_kwargs=None):
        kwargs = {**depth, **(model_kwargs or {})}
        return create_backbone(name, model_kwargs=kwargs, num_classes=5, **options)

    return create


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s16_224"])
def test_networks_of_one_size_are_made_for_the_size(name):
    create = thin(name, pretrained=False)
    assert "224" in why_not(create(), (32, 32))
    made = create_for_size(create, (96, 96), own_file=False)
    assert made.input_size == (3, 96, 96)
    assert made(torch.zeros(2, 3, 96, 96)).shape == (2, 5)
    with pytest.raises(UserError, match="images of 8x8.* configured for 224x224: pass --input-s"):
        create_for_size(create, (8, 8), own_file=False)


def test_a_position_embedding_is_resampled_as_timm_does_it(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    create = thin("vit_tiny_patch16_224", weights=tmp_path / "w.pth")
    made = create_for_size(create, (96, 64), own_file=True)
    theirs = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=5, img_size=(96, 64))
    theirs.load_state_dict(checkpoint_filter_fn(model.state_dict(), theirs))
    images = torch.rand(2, 3, 96, 64)
    expected = theirs.eval()((images - made.mean) / made.std)
    torch.testing.assert_close(made(images), expected)
    assert made.weights_sha256 == create().weights_sha256  # of the file


def test_a_checkpoint_of_the_size_that_is_asked_for(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=5, img_size=96)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    create = thin("vit_tiny_patch16_224", weights=tmp_path / "w.pth")
    with pytest.raises(UserError, match="of another shape: pos_embed"):
        create()
    made = create_for_size(create, (96, 96), own_file=True)
    images = torch.rand(2, 3, 96, 96)
    expected = model.eval()((images - made.mean) / made.std)
    torch.testing.assert_close(made(images), expected)
    with pytest.raises(UserError, match="of another shape: pos_embed"):
        create_for_size(create, (64, 64), own_file=True)


def test_networks_of_any_size_stay_as_they_are():
    create = partial(create_backbone, "test_resnet", pretrained=False)
    made = create_for_size(create, (50, 70), own_file=False)
    assert made.input_size == (3, 160, 160)
    assert made.weights_sha256 == create().weights_sha256


def test_a_network_for_grey_images_is_refused():
    grey = make_backbone("batch_norm")
    grey.input_size = (1, 32, 32)
    assert why_not(grey, (32, 32)) == "it takes images of 1 channels, and these have 3"


def test_outputs_that_are_not_finite_are_no_outputs():
    backbone = make_backbone("batch_norm")
    forward = backbone.model.forward_features
    backbone.model.forward_features = lambda images: (
        forward(images) * (float("nan") if images.shape[-1] == 40 else 1.0)
    )
    assert why_not(backbone, (40, 40)) == "its outputs are not finite"
    assert why_not(backbone, (48, 48)) is None


def test_lack_of_memory_is_not_taken_for_a_wrong_size():
    backbone = make_backbone("batch_norm")
    with pytest.raises(RuntimeError, match="memory"):
        why_not(backbone, (1 << 22, 1 << 22))


def test_stride_and_transform_are_timm_s():
    backbone = create_backbone("test_resnet", pretrained=False)
    assert stride(backbone) == 32
    transform = evaluation_transform(create_backbone("test_vit.r160_in1k", pretrained=False))
    assert (transform.how, transform.filter.name, transform.crop) == ("shorter", "BICUBIC", 0.95)
    backbone.model.pretrained_cfg["crop_mode"] = "border"
    assert evaluation_transform(backbone, "squash").how == "squash"  # the cure
    with pytest.raises(UserError, match="crop_mode 'border'.*--resize shorter"):
        evaluation_transform(backbone)
