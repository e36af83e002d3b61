"""Single-image streams: one update per window, a prediction for every image."""

import torch

from tests.fakes import make_backbone, make_images
from tta.methods.base import Method
from tta.methods.state import park
from tta.methods.tent import Tent
from tta.methods.window import SlidingWindow


class Echo(Method):
    """Returns the mean of each image, and notes what it was asked."""

    name = "echo"

    def configure(self):
        self.steps, self.predictions = [], []

    def step(self, images):
        self.steps.append(len(images))
        return images.mean((1, 2, 3))[:, None].expand(-1, 5)

    def predict(self, images):
        self.predictions.append(len(images))
        return images.mean((1, 2, 3))[:, None].expand(-1, 5)


def stream(count):
    return torch.arange(1.0, count + 1).view(-1, 1, 1, 1, 1).expand(-1, 1, 3, 32, 32)


def test_updates_once_a_window_and_returns_the_arriving_image():
    window = SlidingWindow(Echo(make_backbone("batch_norm")), 3)
    window.start()
    outputs = [window.step(image)[0, 0].item() for image in stream(8)]
    assert outputs == [1, 2, 3, 4, 5, 6, 7, 8]
    assert window.method.steps == [3, 3]
    assert window.method.predictions == [1, 2, 3, 3, 3, 3]


def test_without_batch_norm_single_images_are_predicted():
    window = SlidingWindow(Echo(make_backbone("layer_norm")), 3)
    window.start()
    for image in stream(4):
        window.step(image)
    assert window.method.predictions == [1, 1, 1]


def test_reset_and_round_trip():
    window = SlidingWindow(Tent(make_backbone("batch_norm")), 2)
    window.start()
    images = [make_images(1, seed) for seed in range(5)]
    first = [window.step(image) for image in images[:3]]
    saved = window.state_dict()
    rest = [window.step(image) for image in images[3:]]
    window.load_state_dict(saved)
    assert all(map(torch.equal, rest, [window.step(image) for image in images[3:]]))
    window.reset()
    assert all(map(torch.equal, first, [window.step(image) for image in images[:3]]))


def test_a_window_that_was_saved_in_host_memory_comes_back():
    window = SlidingWindow(Echo(make_backbone("batch_norm")), 3)
    window.start()
    for image in stream(2):
        window.step(image)
    saved = park(window.state_dict())
    saved["buffer"] = {"on the device": saved["buffer"]}  # as of a GPU
    other = SlidingWindow(Echo(make_backbone("batch_norm")), 3)
    other.start()
    other.load_state_dict(saved)
    assert torch.equal(other.step(stream(3)[2]), window.step(stream(3)[2]))


def test_what_looks_known_is_asked_of_the_method():
    come = Tent(make_backbone("layer_norm"), Tent.Params(loss="come"))
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    assert torch.equal(SlidingWindow(come, 3).score(logits), come.score(logits))
