import io

import pytest
import torch

from tests.fakes import make_backbone
from tta.methods.cloud import ImageHistory, Link, layout, to_bytes


def payload(size: int, value: int = 0) -> list[torch.Tensor]:
    return [torch.full((size,), value, dtype=torch.uint8)]


def arrivals(link: Link, now: float) -> list[tuple[float, int]]:
    return [(time, int(tensors[0][0])) for time, tensors in link.receive(now)]


def test_by_default_a_message_arrives_at_once():
    link = Link()
    link.send(3.0, payload(10, 7))
    assert arrivals(link, 3.0) == [(3.0, 7)]
    assert arrivals(link, 9.0) == []


def test_messages_queue_for_the_bandwidth_and_then_wait_for_the_latency():
    link = Link(latency=2.0, bandwidth=10.0)
    link.send(0.0, payload(20, 1))
    link.send(1.0, payload(20, 2))
    link.send(9.0, payload(10, 3))
    assert arrivals(link, 3.9) == []
    assert arrivals(link, 6.0) == [(4.0, 1), (6.0, 2)]
    assert arrivals(link, 100.0) == [(12.0, 3)]
    assert (link.bytes, link.messages) == (50, 3)


def test_what_is_sent_does_not_change_on_the_way():
    link, tensors = Link(latency=1.0), payload(2)
    link.send(0.0, tensors)
    tensors[0].fill_(9)
    assert arrivals(link, 1.0) == [(1.0, 0)]


def test_messages_in_flight_are_part_of_the_state():
    link = Link(latency=2.0, bandwidth=10.0)
    link.send(0.0, payload(20, 5))
    file = io.BytesIO()
    torch.save(link.state_dict(), file)
    file.seek(0)
    other = Link(latency=2.0, bandwidth=10.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    other.send(0.0, payload(10, 6))
    assert arrivals(other, 5.0) == [(4.0, 5), (5.0, 6)]
    assert other.bytes == 30


def test_history_keeps_the_latest_in_one_tensor():
    history = ImageHistory(5)
    for start in (0, 3, 6):
        history.append(torch.arange(start, start + 3, dtype=torch.uint8)[:, None])
    generator = torch.Generator().manual_seed(0)
    assert len(history) == 5
    assert sorted(history.sample(9, generator)[:, 0].tolist()) == [4, 5, 6, 7, 8]
    assert len(set(history.sample(3, generator)[:, 0].tolist())) == 3


@pytest.mark.parametrize("appended", [0, 3, 7])
def test_history_continues_from_its_state(appended):
    history = ImageHistory(5)
    history.append(torch.arange(appended, dtype=torch.uint8)[:, None])
    other = ImageHistory(5)
    other.load_state_dict(history.state_dict())
    for each in (history, other):
        each.append(torch.tensor([[99]], dtype=torch.uint8))
    draws = [each.sample(5, torch.Generator().manual_seed(1)) for each in (history, other)]
    assert torch.equal(*draws)


def test_a_history_of_nothing_stays_empty():
    history = ImageHistory(0)
    history.append(torch.zeros(3, 1, dtype=torch.uint8))
    assert len(history) == 0


def test_bytes_restore_8_bit_images_exactly():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(levels.float().div(255)), levels)


def test_layout_follows_the_convolutions():
    backbone = make_backbone("batch_norm")
    assert layout(backbone) == torch.contiguous_format
    assert layout(backbone.to(memory_format=torch.channels_last)) == torch.channels_last
