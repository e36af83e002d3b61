import torch
from torch import nn

from tests.fakes import make_backbone, make_images
from tta.methods.bn_ema import BatchNormEma


def test_is_a_training_pass_followed_by_an_evaluation_pass():
    images = [make_images(6, seed) for seed in range(3)]
    method = BatchNormEma(make_backbone("batch_norm"))
    method.start()
    plain = make_backbone("batch_norm")
    layers = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    for batch in images:
        with torch.no_grad():
            for layer in layers:
                layer.train()
            plain(batch)
            for layer in layers:
                layer.eval()
            expected = plain(batch)
        torch.testing.assert_close(method.step(batch), expected, rtol=1e-4, atol=1e-5)
