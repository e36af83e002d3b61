"""Memories, proxies and Gaussians for image-text models, against the authors' functions."""

import pytest
import torch

import tta
from tests.fakes import make_images
from tests.methods.image_text import FEATURES, LOGITS, TEXT, close, views_of
from tests.methods.test_image_text_golden import golden_backbone, make
from tta.config import RunConfig
from tta.datasets.digits import NAMES
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.methods.boostadapter import BoostAdapter
from tta.methods.dmn import Dmn
from tta.methods.dpe import Dpe, contrast
from tta.methods.onzeta import OnZeta
from tta.methods.stata import StatA, nearest


def along(method, images, count):
    """Return outputs of images, each as some views."""
    return torch.stack([method.episode(FEATURES[views_of(n, count)]) for n in range(images)])


def test_stata_of_a_batch():
    expected = """
        .294332 .082001 .623667
        .598488 .131390 .270122
        .049693 .702268 .248039
    """
    batch = FEATURES[:10], LOGITS[:10]
    close(make(StatA).assigned(*batch)[:3], expected)
    close(make(StatA, soft_beta=True).assigned(*batch)[0], ".295281 .082180 .622539")
    close(make(StatA, laplacian_weight=0.0).assigned(*batch)[0], ".384189 .111656 .504155")


def test_neighbours_of_stata_are_others():
    assert int(nearest(FEATURES[:10], 3).count_nonzero()) == 30
    assert int(nearest(FEATURES[:3], 3).count_nonzero()) == 6
    assert nearest(FEATURES[:1], 3).tolist() == [[0.0]]
    assert not nearest(FEATURES[:10], 3).diagonal().any()


def test_onzeta_along_a_stream():
    expected = """
        .374965 .163391 .461644
        .274244 .502502 .223253
        .062733 .579281 .357986
        .338472 .006584 .654943
        .730471 .264561 .004968
        .011712 .800053 .188235
    """
    method = make(OnZeta, stream_length=6)
    found = [method.episode(FEATURES[:1])]
    close(method.rho, "0 4.368504 0")
    found += [method.episode(FEATURES[n : n + 1]) for n in range(1, 6)]
    close(torch.stack(found), expected)
    close(method.rho, "5.219174 3.558192 1.136643")
    close(method.proxies[0], "-.431720 -.567422 -.260084 -.651157")


def test_dmn_reads_its_memory():
    method = make(Dmn, views=20)
    expected = """
        .678017 .437690 .884292
        .431637 .440798 1.127564
        .137149 .893724 .969127
    """
    close(2 * along(method, 3, 20), expected)
    assert method.memory.entropies.isfinite().sum(1).tolist() == [0, 3, 0]
    close(2 * along(make(Dmn), 1, 10), ".678017 .437690 .884292")


def test_dmn_weighs_the_memory():
    found = make(Dmn, weight=3.0).episode(FEATURES[:10])
    plain = make(Dmn, weight=0.0).episode(FEATURES[:10])
    even = make(Dmn, weight=1.0).episode(FEATURES[:10])
    torch.testing.assert_close(plain, LOGITS[0].softmax(0))
    torch.testing.assert_close(4 * found - plain, 3 * (2 * even - plain))


def test_boostadapter_along_a_stream():
    expected = """
        99.522548 102.023995 101.788163
        100.550844 99.383308 103.626603
        98.428053 99.500353 104.250379
    """
    method = make(BoostAdapter)
    close(along(method, 3, 20), expected)
    assert method.positive.entropies.isfinite().sum() == 3


def test_the_negative_cache_of_boostadapter_drops_its_oldest():
    method = make(BoostAdapter, gate=(0.0, 3.0))
    for row in (6, 0, 3, 8):  # all of the last class
        method.episode(FEATURES[row : row + 1])
    stored = {tuple(key) for key in method.negative.keys[2].tolist()}
    assert stored == {tuple(FEATURES[row].tolist()) for row in (3, 8)}


def test_boostadapter_may_see_the_mean_of_its_views():
    method = make(BoostAdapter, image="views")
    method.episode(FEATURES[:20])
    stored = method.positive.keys[method.positive.entropies.isfinite()]
    torch.testing.assert_close(stored, FEATURES[[2, 11]].mean(0, keepdim=True))


DTD = {"weight": 6.0, "sharpness": 3.0, "lr": 6e-4, "align_weight": 0.2}


def test_dpe_along_a_stream():
    expected = """
        99.518057 104.054111 99.789417
        98.738158 103.212427 105.534835
        96.598093 103.323489 104.415309
        99.560501 103.972937 105.783285
        104.446764 103.267621 105.591468
    """
    close(along(make(Dpe, **DTD), 5, 20), expected)
    alone = along(make(Dpe, **{**DTD, "align_weight": 0.0}), 2, 20)
    close(alone[1], "98.738158 103.212440 105.534153")


def test_classes_without_features_count_for_nothing_in_dpe():
    filled = torch.tensor([True, False, True])
    keys = FEATURES[:3].clone().requires_grad_()
    found = contrast(keys, TEXT, filled)
    two = contrast(keys[filled], TEXT[filled], torch.tensor([True, True]))
    torch.testing.assert_close(found, two)
    found.backward()
    assert keys.grad.isfinite().all() and not keys.grad[1].any()


def test_text_prototypes_of_dpe_are_a_running_mean():
    method = make(Dpe, certain=10.0, lr=0.05)
    method.episode(FEATURES[:20])
    assert float(method.kept) == 1
    # Half of what began and half of what the first step led to: shorter than either.
    assert (method.text.norm(dim=1) < 1).all()
    assert make(Dpe, certain=0.0).text.equal(make(Dpe).text)


def test_onzeta_knows_its_stream_from_the_run_or_from_its_user():
    options = {"backbone": "digits_clip", "domains": ["fog", "snow"], "num_samples": 6}
    made = build(RunConfig.from_mapping({**options, "method": "onzeta"}, "test"))
    assert made.method.stream_length == 12
    reset = {**options, "method": "onzeta", "scenario": "reset_each_shift"}
    assert build(RunConfig.from_mapping(reset, "test")).method.stream_length == 6
    model = tta.zero_shot("digits_clip", NAMES)
    with pytest.raises(UserError, match="how many images will come: pass stream_length="):
        tta.adapt(model, "onzeta")
    assert tta.adapt(model, "onzeta", stream_length=3)(make_images(3)).shape == (3, 10)
    with pytest.raises(UserError, match="how many images will come"):
        OnZeta(golden_backbone()).episode(FEATURES[:1])
