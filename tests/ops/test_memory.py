"""Memory banks against lists of images, sorted as the papers' algorithms say."""

import math

import pytest
import torch

from benchmarks.timing.dispatches import OperatorCounter
from tests.other_device import DEVICE, OtherDevice
from tta.ops.losses import entropy
from tta.ops.memory import BalancedReservoir, TimelyBank, arrivals_until_due


class NaiveTimelyBank:
    """A list of (number, class, entropy, age) per image; RoTTA, algorithm 1."""

    def __init__(self, capacity, num_classes, age_weight, uncertainty_weight):
        self.capacity, self.num_classes, self.items = capacity, num_classes, []
        self.weights = age_weight, uncertainty_weight

    def score(self, age, uncertainty):
        timeliness = 1 / (1 + math.exp(-age / self.capacity))
        return self.weights[0] * timeliness + self.weights[1] * uncertainty / math.log(
            self.num_classes
        )

    def insert(self, number, label, uncertainty):
        if self.make_room(label, self.score(0, uncertainty)):
            self.items.append([number, label, uncertainty, 0])
        for item in self.items:
            item[3] += 1

    def make_room(self, label, score):
        counts = {c: sum(item[1] == c for item in self.items) for c in range(self.num_classes)}
        if counts[label] >= self.capacity / self.num_classes:
            classes = {label}
        elif len(self.items) < self.capacity:
            return True
        else:
            classes = {c for c in counts if counts[c] == max(counts.values())}
        candidates = [item for item in self.items if item[1] in classes]
        worst = max(candidates, key=lambda item: self.score(item[3], item[2]))
        if self.score(worst[3], worst[2]) <= score:
            return False
        self.items.remove(worst)
        return True


class NaiveReservoir:
    """Lists of numbers per class, and the uniform draws in the bank's order of slots."""

    def __init__(self, capacity, num_classes):
        self.slots = [None] * capacity
        self.seen = [0] * num_classes

    def insert(self, number, label, drawn):
        self.seen[label] += 1
        counts = {c: sum(s is not None and s[1] == c for s in self.slots) for c in [label]}
        free = [i for i, slot in enumerate(self.slots) if slot is None]
        stored = [slot[1] for slot in self.slots if slot is not None]
        largest = {c for c in stored if stored.count(c) == max(map(stored.count, stored))}
        if free:
            chosen = free
        elif label not in largest:
            chosen = [i for i, slot in enumerate(self.slots) if slot[1] in largest]
        elif drawn[0] <= counts[label] / self.seen[label]:
            chosen = [i for i, slot in enumerate(self.slots) if slot[1] == label]
        else:
            return
        self.slots[max(chosen, key=lambda i: drawn[1 + i])] = (number, label)


def stream(count, num_classes, seed):
    """Return numbered images and logits whose classes come in runs and favour the first."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    logits = 2 * torch.randn(count, num_classes, generator=generator)
    favoured = (torch.arange(count) // 7) % num_classes
    logits[torch.arange(count), favoured] += 3.0
    logits[::3, 0] += 3.0
    return images, logits


def numbers(bank):
    return {int(bank.images[i, 0, 0, 0]) for i in bank.occupied_slots()}


@pytest.mark.parametrize(("capacity", "num_classes"), [(12, 4), (10, 4), (6, 9)])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.2)])
def test_timely_bank_agrees_with_lists(capacity, num_classes, weights):
    images, logits = stream(150, num_classes, seed=3)
    bank = TimelyBank(capacity, num_classes, age_weight=weights[0], uncertainty_weight=weights[1])
    naive = NaiveTimelyBank(capacity, num_classes, *weights)
    entropies = torch.distributions.Categorical(logits=logits.double()).entropy().tolist()
    turned_away = 0
    for start in range(0, 150, 25):
        part = slice(start, start + 25)
        bank.insert(images[part], logits[part])
        for i in range(start, start + 25):
            naive.insert(i, int(logits[i].argmax()), entropies[i])
            turned_away += all(item[0] != i for item in naive.items)
        slots = bank.occupied_slots()
        found = sorted(
            zip(
                bank.images[slots, 0, 0, 0].tolist(),
                bank.labels[slots].tolist(),
                bank.age[slots].tolist(),
                strict=True,
            )
        )
        assert found == sorted((item[0], item[1], item[3]) for item in naive.items)
    assert turned_away > 5


@pytest.mark.parametrize(("capacity", "num_classes"), [(12, 4), (5, 9)])
def test_reservoir_agrees_with_lists(capacity, num_classes):
    images, logits = stream(120, num_classes, seed=4)
    bank, naive = BalancedReservoir(capacity, num_classes), NaiveReservoir(capacity, num_classes)
    drawn = torch.rand(120, capacity + 1, generator=torch.Generator().manual_seed(9))
    bank.insert(images, logits, torch.Generator().manual_seed(9))
    for i in range(120):
        naive.insert(i, int(logits[i].argmax()), drawn[i].tolist())
    assert bank.images[:, 0, 0, 0].tolist() == [slot[0] for slot in naive.slots]
    assert bank.labels.tolist() == [slot[1] for slot in naive.slots]
    assert bank.seen.tolist() == naive.seen


def test_reservoir_keeps_every_image_of_a_class_equally_often():
    images, _ = stream(20, 2, seed=5)
    logits = torch.tensor([4.0, 0.0]).expand(20, -1)
    kept = torch.zeros(20)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        bank = BalancedReservoir(6, 2)
        bank.insert(images, logits, generator)
        kept[list(numbers(bank))] += 1
    assert kept.sum() == 60 * 6
    assert (kept[:10].sum() - kept[10:].sum()).abs() < 0.1 * kept.sum()


def make_bank(kind):
    return TimelyBank(5, 3) if kind == "timely" else BalancedReservoir(5, 3)


def insert(bank, images, logits, seed=1):
    generator = [] if isinstance(bank, TimelyBank) else [torch.Generator().manual_seed(seed)]
    bank.insert(images, logits, *generator)


@pytest.mark.parametrize("kind", ["timely", "reservoir"])
def test_images_without_finite_logits_are_not_stored(kind):
    bank = make_bank(kind)
    images, logits = stream(4, 3, seed=0)
    logits[1, 2], logits[3, 0] = torch.nan, torch.inf
    insert(bank, images, logits)
    assert numbers(bank) == {0, 2}
    insert(bank, images, torch.full_like(logits, torch.nan))
    assert numbers(bank) == {0, 2}


@pytest.mark.parametrize("kind", ["timely", "reservoir"])
def test_state_round_trip(kind):
    images, logits = stream(40, 3, seed=2)
    bank, other = make_bank(kind), make_bank(kind)
    insert(bank, images[:20], logits[:20])
    other.load_state_dict({name: value.clone() for name, value in bank.state_dict().items()})
    for one in (bank, other):
        insert(one, images[20:], logits[20:])
    assert all(torch.equal(a, b) for a, b in zip(*map(vars_of, (bank, other)), strict=True))
    other.load_state_dict(make_bank(kind).state_dict())
    assert other.images is None and len(other.occupied_slots()) == 0


def vars_of(bank):
    return [bank.state_dict()[name] for name in bank.tensors]


def test_channels_last_stays():
    images, logits = stream(4, 3, seed=0)
    bank = make_bank("timely")
    insert(bank, images.contiguous(memory_format=torch.channels_last), logits)
    assert bank.images.is_contiguous(memory_format=torch.channels_last)


def test_batches_are_cut_where_an_update_is_due():
    seen, due = 0, []
    for count in (5, 1, 200, 64, 3, 63, 1):
        parts = arrivals_until_due(seen, count, 64)
        covered = [i for part in parts for i in range(count)[part]]
        assert covered == list(range(count))
        assert all(part.stop > part.start for part in parts)
        due += [seen + part.stop for part in parts if (seen + part.stop) % 64 == 0]
        assert all((seen + part.stop) % 64 == 0 for part in parts[:-1])
        seen += count
    assert due == list(range(64, seen + 1, 64))


class MaskedTimelyBank:
    """Places by masks over all slots, every score anew from tensors of one length."""

    def __init__(self, capacity, num_classes, *weights):
        self.capacity, self.num_classes, self.weights = capacity, num_classes, weights
        self.labels = torch.full((capacity,), num_classes)
        self.age, self.uncertainty = torch.zeros(capacity), torch.zeros(capacity)

    def score(self, age, uncertainty):
        timeliness = self.weights[0] * torch.sigmoid(age / self.capacity)
        return timeliness + self.weights[1] * uncertainty / math.log(self.num_classes)

    def insert(self, logits):
        facts = logits.argmax(1), entropy(logits), logits.isfinite().all(1)
        for label, uncertainty, finite in zip(*facts, strict=True):
            occupied, own = self.labels < self.num_classes, self.labels == label
            counts = (self.labels[:, None] == self.labels).sum(1) * occupied
            largest = counts == counts.max() if occupied.all() else ~occupied
            open_to_it = own if own.sum() >= self.capacity / self.num_classes else largest
            scores = torch.where(occupied, self.score(self.age, self.uncertainty), torch.inf)
            highest, slot = torch.where(open_to_it, scores, -torch.inf).max(0)
            if finite and highest > self.score(torch.zeros(()), uncertainty):
                self.labels[slot], self.uncertainty[slot], self.age[slot] = label, uncertainty, 0
            self.age += 1


@pytest.mark.parametrize("capacity", [1, 5, 64, 100])
@pytest.mark.parametrize("spoilt", [False, True])
def test_timely_bank_has_the_bits_of_scores_over_all_slots(capacity, spoilt):
    bank, masked = TimelyBank(capacity, 7, "cpu", 0.7, 1.3), MaskedTimelyBank(capacity, 7, 0.7, 1.3)
    images, logits = stream(300, 7, seed=capacity)
    if spoilt:
        logits = logits.round()  # ties
        logits[::11, 2], logits[5::13, 0], logits[7::17, 1] = torch.nan, torch.inf, -torch.inf
        logits[3::19, 0], logits[3::19, 1] = 3e38, -3e38  # finite, but their entropy is not
    for start, stop in ((0, 1), (1, 64), (64, 65), (65, 200), (200, 300)):
        bank.insert(images[start:stop], logits[start:stop])
        masked.insert(logits[start:stop])
        for name in ("labels", "age", "uncertainty"):
            assert torch.equal(getattr(bank, name), getattr(masked, name))


@pytest.mark.parametrize("kind", ["timely", "reservoir"])
def test_operators_do_not_multiply_with_images(kind):
    counts = []
    for batch in (16, 256):
        bank = TimelyBank(64, 10) if kind == "timely" else BalancedReservoir(64, 10)
        images, logits = stream(batch, 10, seed=1)
        insert(bank, images, logits)
        with OperatorCounter() as counter:
            insert(bank, images, logits)
            bank.images_in(bank.occupied_slots())
        counts.append(counter.total)
    assert counts[0] == counts[1] < 40


@pytest.mark.parametrize("kind", ["timely", "reservoir"])
def test_images_elsewhere_are_placed_as_here(kind):
    images, logits = stream(60, 3, seed=2)
    with OtherDevice():
        here = make_bank(kind)
        there = type(here)(5, 3, DEVICE)
        for part in (slice(0, 20), slice(20, 60)):
            insert(here, images[part], logits[part])
            insert(there, images[part].to(DEVICE), logits[part].to(DEVICE))
        state = there.state_dict()
        assert torch.equal(state.pop("images").cpu(), here.images)
        assert all(torch.equal(here.state_dict()[name], value) for name, value in state.items())
        slots = there.occupied_slots()
        assert torch.equal(there.images_in(slots).cpu(), here.images_in(slots))
        there.load_state_dict(here.state_dict())
        assert there.images.device == DEVICE


@pytest.mark.parametrize("kind", [TimelyBank, BalancedReservoir])
def test_a_state_of_another_bank_is_refused(kind):
    with pytest.raises(ValueError, match="of a bank"):
        kind(8, 5).load_state_dict(kind(4, 5).state_dict())
    state = kind(8, 5).state_dict()
    with pytest.raises(ValueError, match="classes of a bank go from 9 to 9"):
        kind(8, 5).load_state_dict({**state, "labels": torch.full((8,), 9)})
    kind(8, 5).load_state_dict(state)
