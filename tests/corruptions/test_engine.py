import pytest
import torch

from tests.corruptions.pictures import pictures
from tta.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt
from tta.foundation.errors import UserError

ALL = CORRUPTIONS + EXTRA_CORRUPTIONS


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ALL)
def test_a_row_depends_on_its_image_and_id_alone(name, severity):
    images, ids = pictures(7), torch.tensor([3, 1, 4, 15, 9, 2, 6])
    together = corrupt(images, name, severity, ids)
    order = torch.tensor([5, 0, 3])
    assert torch.equal(corrupt(images[order], name, severity, ids[order].tolist()), together[order])
    assert torch.equal(corrupt(images[6:], name, severity, [6]), together[6:])


@pytest.mark.parametrize("name", ALL)
def test_threads_and_chunks_do_not_matter(name):
    images, ids = pictures(100), range(100)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = corrupt(images, name, 3, ids)
        torch.set_num_threads(2)
        double = corrupt(images, name, 3, ids)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(single, double)
    assert torch.equal(corrupt(images[90:], name, 3, ids[90:]), single[90:])


@pytest.mark.parametrize("name", ALL)
def test_large_images_use_the_imagenet_table(name):
    images = pictures(2, side=96)
    large = corrupt(images, name, 3, [0, 1])
    assert torch.equal(large, corrupt(images, name, 3, [0, 1], table="imagenet"))
    assert not torch.equal(large, corrupt(images, name, 3, [0, 1], table="cifar"))
    assert torch.equal(large[1:], corrupt(images[1:], name, 3, [1]))


@pytest.mark.parametrize("name", ALL)
def test_shape_and_type_are_kept(name):
    images = pictures(3)
    levels = corrupt(images, name, 2, [0, 1, 2])
    assert levels.dtype == torch.uint8 and levels.shape == images.shape
    unit = corrupt(images.float() / 255, name, 2, [0, 1, 2])
    assert unit.dtype == torch.float32
    assert torch.equal(unit, levels.float() / 255)
    assert corrupt(images[:0], name, 2, []).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("name", [n for n in ALL if "noise" in n])
def test_seed_severity_and_id_change_the_draws(name):
    images = pictures(1).expand(2, -1, -1, -1)
    first, second = corrupt(images, name, 3, [7, 8])
    assert not torch.equal(first, second)
    assert not torch.equal(first, corrupt(images, name, 3, [7, 8], seed=1)[0])


# The CIFAR constants of these trade one effect for another from severity to severity.
UNORDERED = ("glass_blur", "frost", "elastic_transform", "saturate", "spatter")


@pytest.mark.parametrize("name", [n for n in ALL if n not in UNORDERED])
def test_severities_grow_in_strength(name):
    images = pictures(32)
    distance = [
        (corrupt(images, name, severity, range(32)).float() - images).abs().mean()
        for severity in (1, 2, 3, 4, 5)
    ]
    assert distance[0] < distance[2] < distance[4]


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'gaussian_noise'"):
        corrupt(pictures(1), "gausian_noise", 1, [0])
    with pytest.raises(UserError, match="table 'cifar10'"):
        corrupt(pictures(1), "fog", 1, [0], table="cifar10")


@pytest.mark.parametrize("severity", [0, 6, -1.5])
def test_severity_out_of_range_is_refused(severity):
    with pytest.raises(UserError, match="1, 2, 3, 4, 5"):
        corrupt(pictures(1), "contrast", severity, [0])


def test_wrong_shapes_and_types_are_refused():
    with pytest.raises(UserError, match=r"expected \[B, 3, H, H\]"):
        corrupt(pictures(1)[0], "contrast", 1, [0])
    with pytest.raises(UserError, match=r"expected \[B, 3, H, H\]"):
        corrupt(pictures(1)[..., :20], "contrast", 1, [0])
    with pytest.raises(UserError, match="expected uint8"):
        corrupt(pictures(1).long(), "contrast", 1, [0])
    with pytest.raises(UserError, match="one id per image"):
        corrupt(pictures(2), "contrast", 1, [0])
