"""Methods that adapt image-text models to whole batches, against the authors' functions."""

import copy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tta
from tests.fakes import make_images
from tests.methods.image_text import FEATURES, LOGITS, SCALE, TEXT, WIDTH, close
from tests.methods.test_image_text_golden import golden_backbone
from tta.datasets.digits import NAMES, TEMPLATE, load_digits_rgb
from tta.foundation.errors import UserError
from tta.methods.batclip import BatClip, class_means, projection_matching, separation
from tta.methods.clipartt import ClipArtt
from tta.methods.cliptta import ClipTta, caption_entropy
from tta.methods.cliptta_memory import ConfidentMemory
from tta.methods.watt import Watt
from tta.ops.image_text_losses import pairing_loss
from tta.ops.losses import damped_entropy, entropy


def on_layer_norm(method, **params):
    """Return a method on the vectors of the specification, with a layer to train."""
    backbone = golden_backbone()
    backbone.model.visual = nn.Sequential(nn.Flatten(), nn.LayerNorm(WIDTH).double())
    return method(backbone, method.Params(**params))


def test_the_terms_of_batclip():
    logits, embedded = LOGITS[:10], (1 + 0.1 * torch.arange(10.0)[:, None]) * FEATURES[:10]
    close(entropy(logits).mean(), ".914622")
    means, present = class_means(embedded, logits)
    close(projection_matching(means, present, TEXT), "1.408273")
    close(separation(means, present), ".054421")
    close(projection_matching(F.normalize(means, dim=1), present, TEXT), ".997498")


def test_batclip_leaves_out_classes_that_nothing_is_taken_for():
    logits = LOGITS[:3] - torch.tensor([1e3, 0, 0])
    embedded = FEATURES[:3].clone().requires_grad_()
    means, present = class_means(embedded, logits)
    assert present.tolist() == [False, True, True]
    (projection_matching(means, present, TEXT) + separation(means, present)).backward()
    assert bool(embedded.grad.isfinite().all())
    close(separation(means[:2], present[:2]), "0")


B = 6
FIRST = FEATURES[:B]
NEAREST = TEXT[LOGITS[:B].argmax(1)]
BETWEEN = F.normalize(TEXT[LOGITS[:B].topk(2).indices].mean(1), dim=1)
"""A text for each image: of its class, and between its two likeliest."""


def test_the_targets_of_clipartt():
    alike = (FIRST @ FIRST.T + NEAREST @ NEAREST.T) / 2
    columns = (alike / 0.01).softmax(1).sum(0)
    close(columns, "1.271505 .949003 .935846 .978411 .921057 .944178")


@pytest.mark.parametrize(
    "texts, transposed, expected",
    [
        (NEAREST, True, "1.576740"),
        (NEAREST, False, "1.557780"),
        (BETWEEN, True, "1.711811"),
        (BETWEEN, False, "1.712377"),
    ],
)
def test_the_loss_of_clipartt_and_watt(texts, transposed, expected):
    close(pairing_loss(FIRST, texts, SCALE, transposed=transposed), expected)


@pytest.mark.parametrize(
    "detach, expected, norm",
    [
        (False, ".304115 .093039 .159445 .510346", "1.178048"),
        (True, ".003387 -.034778 -.007544 .039844", ".390615"),
    ],
)
def test_gradients_flow_through_targets_unless_detached(detach, expected, norm):
    features = FIRST.clone().requires_grad_()
    pairing_loss(features, BETWEEN, SCALE, detach=detach).backward()
    close(features.grad[0], expected)
    along = (features.grad * FIRST).sum(1, keepdim=True) * FIRST
    close((features.grad - along).norm(), norm)


def test_the_loss_of_cliptta():
    arguments = (FIRST, TEXT, LOGITS[:B], SCALE)
    close(caption_entropy(*arguments), "1.570160")
    close(2 * caption_entropy(*arguments, symmetric=True) - 1.570160, "1.454697")
    mean = LOGITS[:B].softmax(1).mean(0, keepdim=True)
    close(damped_entropy(mean, 1e-6), "1.086351")
    for contrast, expected in (("released", ".483808"), ("symmetric", ".426077")):
        method = on_layer_norm(ClipTta, contrast=contrast)
        method.text = TEXT  # of higher precision than it takes
        close(method.loss(FIRST), expected)


def started(method, **params):
    made = method(shipped(), method.Params(**params))
    made.start()
    return made


@cache
def zero_shot():
    return tta.zero_shot("digits_clip", NAMES, TEMPLATE)


def shipped():
    """Return a copy of the embedded model: gradients of one with drawn weights are noise."""
    return zero_shot().clone()


def noisy_scans():
    scans = load_digits_rgb()[0][:COUNT].float() / 255
    return (scans + 0.4 * (make_images(COUNT) - 0.5)).clamp(0, 1)


def trained(backbone, lr, steps, loss, optimizer=None):
    """Take steps down a loss of the features of some images; return the optimiser."""
    parameters = [
        parameter.requires_grad_()
        for module in backbone.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters()
    ]
    optimizer = optimizer or torch.optim.Adam(parameters, lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(backbone.features(IMAGES)).backward()
        optimizer.step()
    return optimizer


COUNT = 12
IMAGES = noisy_scans()
TEMPLATES = ("the digit {}", "a scan of a handwritten {}", "{}")


def test_clipartt_asks_each_step_for_the_classes():
    method = started(ClipArtt, steps=3, candidates=2, lr=1e-2)
    backbone, text = shipped(), method.text
    seen = set()

    def loss(features):
        likeliest = backbone.head(features).topk(2).indices.tolist()
        seen.add(str(likeliest))
        names = [[text.class_names[number] for number in row] for row in likeliest]
        prompts = [f"a photo of a {first} or {second}" for first, second in names]
        return pairing_loss(features, text.encode(text.tokens(prompts)), text.scale)

    before = method.predict(IMAGES)
    trained(backbone, 1e-2, 3, loss)
    found = method.step(IMAGES)
    torch.testing.assert_close(found, backbone(IMAGES).detach(), rtol=0, atol=1e-3)
    assert len(seen) > 1 and not torch.allclose(found, before, atol=0.1)
    assert torch.equal(method.predict(IMAGES), before)
    assert torch.equal(method.step(IMAGES), found)


@pytest.mark.parametrize("order", ["sequential", "parallel"])
def test_watt_averages_parameters(order):
    method = started(Watt, templates=TEMPLATES, rounds=2, steps=2, lr=1e-2, order=order)
    backbone = shipped()
    optimizer, norms = None, [one for one in backbone.modules() if isinstance(one, nn.LayerNorm)]
    text = backbone.text
    for number in range(2):
        start = copy.deepcopy([norm.state_dict() for norm in norms])
        ends = []
        for template in TEMPLATES:
            if order == "parallel":
                put(norms, start)
                optimizer = optimizer if number else None
            rows = text.ensemble([template])

            def loss(features, rows=rows):
                return pairing_loss(features, rows[(features @ rows.T).argmax(1)], text.scale)

            optimizer = trained(backbone, 1e-2, 2, loss, optimizer)
            ends.append(copy.deepcopy([norm.state_dict() for norm in norms]))
        means = [
            {name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]}
            for each in zip(*ends, strict=True)
        ]
        put(norms, means)
    expected = text.scale * backbone.features(IMAGES) @ text.ensemble(TEMPLATES).T
    found = method.step(IMAGES)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=2e-3)
    other = started(Watt, templates=TEMPLATES, rounds=2, steps=2, lr=1e-2, order="sequential")
    assert torch.allclose(other.step(IMAGES), found, atol=1e-2) == (order == "sequential")
    method = started(Watt, templates=TEMPLATES, rounds=1, lr=0.0, prediction="head")
    torch.testing.assert_close(method.step(IMAGES), shipped()(IMAGES))


def put(norms, states):
    for norm, state in zip(norms, states, strict=True):
        norm.load_state_dict(state)


def test_templates_that_a_model_cannot_read_are_refused_with_the_cure():
    with pytest.raises(UserError, match="does not know the word 'itap'.*set others, as in --set"):
        started(Watt)
    with pytest.raises(UserError, match="must have {} once"):
        started(Watt, templates=("the digit",))
    with pytest.raises(UserError, match="set at least one"):
        started(Watt, templates=())


def test_batclip_moves_both_towers_and_answers_first():
    method = started(BatClip, lr=1e-2, weight_decay=0.0)
    untouched = shipped()
    text = method.text.encode(method.ids).clone()
    torch.testing.assert_close(method.step(IMAGES), untouched(IMAGES), rtol=0, atol=1e-4)
    assert not torch.allclose(method.text.encode(method.ids), text, atol=1e-4)
    assert not torch.allclose(method.predict(IMAGES), untouched(IMAGES), atol=1e-2)
    torch.testing.assert_close(untouched.text.encode(method.ids), text)
    assert len(method.parameters) == 2 * (14 + 5)
    lengths = untouched.embeddings(IMAGES).norm(dim=1)
    assert bool((lengths - 1).abs().amin() > 0.1)


def test_the_memory_of_cliptta_keeps_the_most_confident():
    memory = ConfidentMemory(2, 3, torch.zeros(()))
    generator, seen = torch.Generator().manual_seed(1), []
    assert len(memory.sample(6, generator)) == 0
    for seed in range(5):
        images, labels = make_images(6, seed), torch.randint(0, 2, (6,), generator=generator)
        confidences = torch.rand(6, generator=generator)
        confidences[0] = torch.nan
        memory.insert(images, labels, confidences)
        seen += [*zip(images[1:], labels.tolist()[1:], confidences.tolist()[1:], strict=True)]
        expected = [
            image
            for label in range(3)
            for image, *_ in sorted([one for one in seen if one[1] == label], key=lambda x: -x[2])[
                :2
            ]
        ]
        assert torch.equal(memory.images, torch.stack(expected))
    assert memory.counts == [2, 2, 0]
    assert memory.sample(6, generator) is memory.images
    pairs = {tuple(memory.sample(1, generator)[:, 0, 0, 0].tolist()) for _ in range(40)}
    first, second = memory.images[:2, 0, 0, 0].tolist(), memory.images[2:, 0, 0, 0].tolist()
    assert pairs == {(a, b) for a in first for b in second}


@pytest.mark.parametrize("adapt_to", ["batch_and_memory", "memory"])
def test_cliptta_steps_on_the_batch_and_on_what_it_remembers(adapt_to):
    method = started(ClipTta, steps=2, lr=1e-2, adapt_to=adapt_to, memory_slots=1, memory_sample=10)
    backbone = shipped()
    text = backbone.text.embeddings
    logits = backbone.features(IMAGES) @ text.T
    best = [
        max((row for row in range(COUNT) if logits[row].argmax() == label), default=None,
            key=lambda row: logits[row].softmax(0).max())
        for label in range(10)
    ]  # fmt: skip
    kept = IMAGES[[row for row in best if row is not None]]
    assert 0 < len(kept) < COUNT

    def one(features):
        z = features @ text.T
        pairs = 100 * features @ text[z.argmax(1)].T
        rows = -(pairs.softmax(1) * pairs.log_softmax(1)).sum(1).mean()
        mean = (backbone.text.scale * z).softmax(1).mean(0)
        return rows + (mean * (mean + 1e-6).log()).sum()

    def loss(features):
        remembered = one(backbone.features(kept))
        return remembered if adapt_to == "memory" else one(features) + remembered

    optimizer = torch.optim.Adam(
        [p.requires_grad_() for m in backbone.modules() if isinstance(m, nn.LayerNorm)
         for p in m.parameters()], 1e-2, eps=1e-6
    )  # fmt: skip
    trained(backbone, 1e-2, 2, loss, optimizer)
    found = method.step(IMAGES)
    torch.testing.assert_close(found, backbone(IMAGES).detach(), rtol=0, atol=2e-3)
    assert len(method.memory.images) == len(kept)
