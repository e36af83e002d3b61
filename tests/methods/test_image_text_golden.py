"""Methods for image-text models against the authors' functions, on vectors of four numbers."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.methods.image_text import CLASSES, FEATURES, LOGITS, SCALE, TEXT, WIDTH, close
from tta.backbones.backbone import Backbone
from tta.backbones.clip.classifier import UnitImageTower
from tta.backbones.clip.text_side import TextSide
from tta.methods.ctpt import CTpt, dispersion
from tta.methods.mta import Mta, mode
from tta.methods.tda import Tda, summed_up
from tta.methods.tps import Tps
from tta.methods.tpt import Tpt
from tta.methods.vte import Vte
from tta.methods.zero import Zero, votes
from tta.ops.losses import entropy, marginal_entropy
from tta.ops.selection import most_certain


class ToyTower(nn.Module):
    """``t_c = unit(mean(context) + T_c)``, with a context of two words of .05 each."""

    takes_embedded = True

    def __init__(self) -> None:
        super().__init__()
        words = torch.full((2, WIDTH), 0.05, dtype=torch.float64)
        rows = torch.cat([torch.zeros(1, WIDTH, dtype=torch.float64), words, TEXT, words[:1]])
        self.words = nn.Embedding.from_pretrained(rows)

    def embed(self, ids):
        return self.words(ids)

    def encode_embedded(self, embedded, ids):
        return F.normalize(embedded[:, 1:3].mean(1) + embedded[:, 3], dim=1)

    def encode(self, ids):
        return self.encode_embedded(self.embed(ids), ids)

    def cut(self, ids):
        return ids


def toy_tokens(texts):
    names = {"red": 3, "green": 4, "blue": 5}
    return torch.tensor(
        [
            [0, 1, 2, names[text.split()[2]], 6] if len(text.split()) > 2 else [0, 1, 2, 6, 0]
            for text in texts
        ]
    )


def golden_backbone():
    """Return a backbone whose features are its images, and whose text embeddings are T."""
    config = {"mean": (0.0,) * WIDTH, "std": (1.0,) * WIDTH, "input_size": (WIDTH, 1, 1)}
    image = UnitImageTower(nn.Flatten(), config)
    image.head = nn.Linear(WIDTH, CLASSES, bias=False)
    backbone = Backbone(image, name="golden", **config).double()
    with torch.no_grad():
        backbone.classifier.weight.copy_(SCALE * TEXT)
    text = TextSide(ToyTower(), toy_tokens, ("red", "green", "blue"), ("a b {}",), SCALE)
    text.embeddings = TEXT
    backbone.text = text
    return backbone


def make(method, **params):
    made = method(golden_backbone(), method.Params(**params))
    made.start()
    return made


def test_the_vectors_are_those_of_the_specification():
    close(TEXT[0], ".548360 .554727 .482615 .398324")
    close(FEATURES[0], ".494040 .523908 .513208 .466973")
    close(LOGITS[0], "99.522548 98.315737 99.788163")
    close(
        entropy(LOGITS[:10]),
        ".962417 .933728 .736268 .815826 1.044911 .768924 .851713 1.030446 1.046313 .955671",
    )


def test_tda_along_a_stream():
    expected = """
        99.522548 98.315737 101.788163
        101.535013 98.150874 100.515941
        99.121561 101.828435 100.506058
        100.430858 99.259584 103.511829
        99.194506 101.892845 100.940151
        102.578555 99.080610 102.174192
    """
    method = make(Tda)
    close(torch.stack([method.episode(FEATURES[n : n + 1]) for n in range(6)]), expected)
    stored = method.negative.keys[method.negative.entropies.isfinite()]
    assert sorted(stored[:, 0].tolist()) == sorted(FEATURES[[2, 5], 0].tolist())


def test_tda_sums_up_views():
    seen = summed_up(FEATURES[:20], LOGITS[:20], 0.1)
    close(seen.logits, "97.443631 99.934534 98.799312")
    close(seen.log_probabilities.exp(), ".058990 .712094 .228916")
    close(seen.entropy, ".746267")
    close(seen.feature.norm(), ".999995")


def test_the_gate_of_tda_may_be_that_of_the_paper():
    method = make(Tda, entropy_gate="normalised", gate=(0.2, 0.69))
    for row in range(6):
        method.episode(FEATURES[row : row + 1])
    level = entropy(LOGITS[:6]) / torch.tensor(3.0).log()
    stored = method.negative.entropies
    torch.testing.assert_close(stored[stored.isfinite()], entropy(LOGITS[:6])[level < 0.69])
    assert int((level < 0.69).sum()) == 1


@pytest.mark.parametrize(("share", "counts"), [(0.3, "1 1 2"), (0.5, "2 1 3"), (0.8, "2 2 4")])
def test_zero_counts_votes_and_breaks_ties(share, counts):
    close(votes(LOGITS[:10], share), counts)
    numbers = torch.tensor([float(number) for number in counts.split()])
    found = make(Zero, share=share).episode(FEATURES[:10])
    torch.testing.assert_close(found, (numbers / numbers.sum()).double())


def test_zero_divides_a_vote_between_classes_of_equal_names_and_lets_none_of_the_others_win():
    logits = torch.tensor([[5.0, 5.0, 0.0], [5.0, 5.0, 0.1], [0.0, 1.0, 9.0]])
    close(votes(logits, 0.34), "0 0 1")
    # Both of the tied have one vote; the one other view names neither, and prefers the second.
    close(votes(logits[[0, 1]], 0.5), "1.5 .5 0")
    tied = torch.tensor([[9.0, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, 1.0, 7.0]])
    close(votes(tied, 0.67), "1 2 0")


def test_vte():
    close(make(Vte, share=0.3).episode(FEATURES[:10]), "98.404045 97.755450 99.055803")
    close(FEATURES[most_certain(LOGITS[:10], 0.3)].mean(0).norm(), ".990809")


def test_mta():
    close(make(Mta).episode(FEATURES[:10]), "99.550615 98.282999 99.796003")
    close(
        mode(FEATURES[:10], LOGITS[:10].softmax(1))[1],
        ".436739 .003323 .000010 .013831 .000157 .009922 .002275 .000163 .003370 .463327",
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_mta_of_views_that_are_all_alike_is_their_own_class(count):
    alike = FEATURES[:1].expand(count, -1)
    torch.testing.assert_close(make(Mta).episode(alike), LOGITS[0])


def test_the_loss_of_tpt():
    kept = most_certain(LOGITS[:10], 0.3)
    assert kept.tolist() == [2, 5, 3]
    logits = LOGITS[:10].clone().requires_grad_()
    loss = marginal_entropy(logits[kept])
    loss.backward()
    close(loss, "1.077294")
    close(logits.grad[2], ".000517 .025558 -.026075")


TOY = {
    Tpt: (
        "1.081931",
        "-.108390 -.022535 .250841 -.082100",
        ".054997 .054997 .044998 .054997",
        "99.601081 98.500609 99.847092",
    ),
    CTpt: (
        "-3.486290",
        "1.012720 .961143 1.273963 .921097",
        ".044998 .044998 .044998 .044998",
        "99.614524 98.523764 99.818743",
    ),
}


@pytest.mark.parametrize("kind", TOY)
def test_a_prompt_of_a_toy_text_tower(kind):
    loss_value, gradient, context_after, outputs = TOY[kind]
    method = make(kind, share=0.3)
    seen = SimpleNamespace(losses=[], contexts=[])
    original, prompt = method.loss, method.prompt

    def loss(logits, embeddings):
        seen.losses.append(original(logits, embeddings).detach())
        return original(logits, embeddings)

    def embeddings(context, made=prompt.embeddings):
        seen.contexts.append(context)
        return made(context)

    method.loss, prompt.embeddings = loss, embeddings
    close(method.episode(FEATURES[:10]), outputs)
    close(seen.losses[0], loss_value)
    close(seen.contexts[0].grad[0], gradient)
    close(seen.contexts[-1][1], context_after)
    assert prompt.initial.unique().tolist() == [0.05]


def test_dispersion_of_ctpt():
    close(dispersion(TEXT), ".100442")
    method = make(CTpt)
    close(method.loss(LOGITS[[2, 5, 3]], TEXT), "-3.944786")


def test_tps(monkeypatch):
    shifts = []
    original = Tps._logits
    monkeypatch.setattr(
        Tps, "_logits", lambda self, f, shift: shifts.append(shift) or original(self, f, shift)
    )
    found = make(Tps, share=0.3, lr=1e-3).episode(FEATURES[:10])
    close(found, "99.504024 98.280567 99.800136")
    close(shifts[0].grad[0], "-.340941 -.069451 .364471 .124485")
    close(shifts[1][0], ".001 .001 -.001 -.001")
