"""Pictures for the corruption tests."""

import torch


def pictures(count, side=32):
    """Smooth random pictures: blobs rather than noise, so that every corruption shows."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8)
