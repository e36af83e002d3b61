from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode

from tta.ops.views.augment import ROID_AUGMENT, AugmentDraw, CottaAugment

COTTA = CottaAugment()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(height: int = 32, width: int = 32, batch: int = 3) -> torch.Tensor:
    """Smooth shapes with noise, some values saturated at 0 and 1."""
    coarse = torch.rand(batch, 3, 5, 5, generator=generator(1))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    noise = torch.randn(smooth.shape, generator=generator(2))
    return (smooth + 0.1 * noise).clamp(0, 1)


def slow_pipeline(batch: torch.Tensor, drawn: AugmentDraw, padding: str) -> torch.Tensor:
    """The published chain on the padded image, one torchvision operation after the other."""
    height, width = batch.shape[-2:]
    batch = batch.clip(0, 1)
    for name, factor in drawn.jitter:
        if name == "gamma":
            batch = batch.clamp(1e-8, 1.0)
        batch = getattr(F, f"adjust_{name}")(batch, factor)
    batch = F.pad(batch, [width // 2, height // 2], padding_mode=padding)
    batch = F.affine(
        batch,
        drawn.angle,
        list(drawn.translation),
        drawn.scale,
        [0.0, 0.0],
        InterpolationMode.BILINEAR,
        fill=[0.0] * 3,
    )
    if drawn.blur_sigma is not None:
        batch = F.gaussian_blur(batch, [5, 5], [drawn.blur_sigma] * 2)
    batch = F.center_crop(batch, [height, width])
    return (F.hflip(batch) if drawn.flip else batch).clip(0, 1)


@pytest.mark.parametrize("size", [(32, 32), (33, 33), (64, 64), (65, 65), (32, 47)])
@pytest.mark.parametrize("augment", [COTTA, ROID_AUGMENT], ids=["cotta", "roid"])
def test_equals_the_published_chain(augment, size):
    batch = images(*size)
    for seed in range(12):
        drawn = augment.draw(generator(seed), *size)
        expected = slow_pipeline(batch, drawn, augment.padding)
        torch.testing.assert_close(augment.transform(batch, drawn), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("augment", [COTTA, ROID_AUGMENT], ids=["cotta", "roid"])
@pytest.mark.parametrize("corner", [(15, 1, 1), (-15, -1, 1), (15, 1, -1), (-15, -1, -1)])
def test_equals_the_published_chain_at_the_widest_reach(augment, corner):
    angle, right, down = corner
    batch = images(32, 32)
    drawn = replace(
        augment.draw(generator(), 32, 32), angle=angle, translation=(4 * right, 4 * down), scale=0.9
    )
    expected = slow_pipeline(batch, drawn, augment.padding)
    torch.testing.assert_close(augment.transform(batch, drawn), expected, atol=2e-5, rtol=0)


def test_draws_fill_the_published_ranges():
    shared = generator()
    draws = [COTTA.draw(shared, 32, 32) for _ in range(400)]
    values = {name: [dict(drawn.jitter)[name] for drawn in draws] for name, _ in draws[0].jitter}
    values |= {name: [getattr(d, name) for d in draws] for name in ("angle", "scale", "blur_sigma")}
    ranges = {
        "brightness": (0.6, 1.4),
        "contrast": (0.7, 1.3),
        "saturation": (0.5, 1.5),
        "hue": (-0.06, 0.06),
        "gamma": (0.7, 1.3),
        "angle": (-15, 15),
        "scale": (0.9, 1.1),
        "blur_sigma": (0.001, 0.5),
    }
    for name, (low, high) in ranges.items():
        slack = 0.03 * (high - low)
        assert low <= min(values[name]) < low + slack, name
        assert high - slack < max(values[name]) <= high, name
    assert {shift for drawn in draws for shift in drawn.translation} == set(range(-4, 5))
    assert 0.4 < sum(drawn.flip for drawn in draws) / len(draws) < 0.6
    assert len({tuple(name for name, _ in drawn.jitter) for drawn in draws}) > 90  # of 120 orders


def test_depends_on_the_given_generator_alone():
    batch, before, python_before = images(), torch.get_rng_state(), random.getstate()
    first = COTTA(batch, generator(7))
    torch.testing.assert_close(COTTA(batch, generator(7)), first, atol=0, rtol=0)
    assert not torch.equal(COTTA(batch, generator(8)), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python_before


def test_leaves_its_input_alone_and_stays_in_range():
    batch = 1.2 * images() - 0.1
    kept = batch.clone()
    for seed in range(5):
        output = COTTA(batch, generator(seed))
        assert output.shape == batch.shape
        assert 0 <= output.min() and output.max() <= 1
    assert torch.equal(batch, kept)


def test_channels_last_gives_the_same_images_in_channels_last():
    batch = images()
    output = COTTA(batch.contiguous(memory_format=torch.channels_last), generator())
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, COTTA(batch, generator()), atol=1e-6, rtol=0)


def test_noise_has_the_published_strength():
    grey = torch.full((8, 3, 64, 64), 0.5)
    quiet = replace(COTTA, noise_std=0.0)
    noise = COTTA(grey, generator(3)) - quiet(grey, generator(3))
    assert noise.std().item() == pytest.approx(0.005, rel=0.02)


def test_tensor_path_never_reads_values_back():
    """Meta tensors hold no values: reading one, as a device synchronisation would, raises."""
    batch = torch.empty(2, 3, 32, 32, device="meta")
    assert COTTA.transform(batch, COTTA.draw(generator(), 32, 32)).shape == batch.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_and_never_synchronises():
    quiet = replace(COTTA, noise_std=0.0)
    batch = images().cuda()
    COTTA(batch, generator())
    torch.cuda.set_sync_debug_mode("error")
    try:
        first, second = COTTA(batch, generator(5)), COTTA(batch, generator(5))
        plain = quiet(batch, generator(5))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, second)
    torch.testing.assert_close(plain.cpu(), quiet(images(), generator(5)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("augment", [ROID_AUGMENT, CottaAugment(noise_std=0.0)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_images_of_one_pixel_stay_what_they_are(augment, size):
    batch = torch.full((2, 3, *size), 0.5)
    drawn = replace(augment.draw(generator(), *size), jitter=())
    torch.testing.assert_close(augment.transform(batch, drawn), batch)
