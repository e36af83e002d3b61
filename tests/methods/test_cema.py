import math

import pytest
import torch

from tests.fakes import NUM_CLASSES, make_backbone, make_images
from tta.foundation.errors import UserError
from tta.methods.cema import CloudEdgeModelAdaptation as Cema
from tta.methods.requirements import check_needs
from tta.ops.losses import entropy

ALL = {"exclude_unreliable": False, "low_margin": None}
SMALL = {**ALL, "upload_batch": 4, "replay_batch": 2, "replay_from": 6}
IMAGE_BYTES = 3 * 32 * 32


def make_cema(**params) -> Cema:
    cema = Cema(make_backbone("batch_norm"), Cema.Params(**params), seed=1)
    cema.attach_model(make_backbone("batch_norm"))
    cema.start()
    return cema


def logits_of(*fractions: float) -> torch.Tensor:
    """Return logits whose entropies are these fractions of ln C."""
    scale = torch.linspace(0, 30, 200_001)
    curve = torch.zeros(len(scale), NUM_CLASSES)
    curve[:, 0] = scale
    entropies = entropy(curve) / math.log(NUM_CLASSES)
    rows = [(entropies - fraction).abs().argmin() for fraction in fractions]
    return curve[torch.stack(rows)]


def totals(cema: Cema) -> dict[str, int]:
    return dict(zip(cema.counters, cema.count().sum(1).int().tolist(), strict=True))


def test_unreliable_and_low_informative_images_stay():
    cema = make_cema()
    kept = cema.worth_uploading(logits_of(0.01, 0.03, 0.39, 0.41, 0.9))
    assert kept.tolist() == [False, True, True, False, False]


def test_each_rule_can_be_switched_off():
    logits = logits_of(0.01, 0.2, 0.9)
    assert make_cema(low_margin=None).worth_uploading(logits).tolist() == [True, True, False]
    assert make_cema(exclude_unreliable=False).worth_uploading(logits).tolist() == [
        False,
        True,
        True,
    ]
    assert make_cema(**ALL).worth_uploading(logits).all()


def test_redundancy_lets_the_first_survivors_pass_and_then_those_unlike_them():
    cema = make_cema(redundancy_margin=0.5)
    first, other = logits_of(0.2), logits_of(0.2).roll(1, 1)
    assert not cema.worth_uploading(logits_of(0.9)).any()
    assert cema.worth_uploading(first).all()
    assert cema.worth_uploading(torch.cat([first, other])).tolist() == [False, True]


def test_the_threshold_is_dynamic_from_the_batch_that_ends_the_warm_up():
    cema = make_cema(warm_up_samples=4, threshold_coefficient=0.5, low_margin=None)
    logits = logits_of(0.1, 0.3)
    assert cema.worth_uploading(logits).tolist() == [True, True]
    assert cema.worth_uploading(logits).tolist() == [True, False]
    # Mean entropy of the 12 images: (4 * 0.2 + 8 * 0.5) / 12 = 0.4, twice that of the first four.
    assert cema.worth_uploading(logits_of(*[0.5] * 6, 0.39, 0.61)).tolist() == [
        *[False] * 6,
        True,
        False,
    ]


def test_without_a_warm_up_the_threshold_stays():
    cema = make_cema(warm_up_samples=None, threshold_coefficient=0.1)
    for _ in range(3):
        assert cema.worth_uploading(logits_of(0.3)).all()


def test_an_image_without_a_finite_entropy_leaves_the_mean_entropy():
    cema = make_cema(warm_up_samples=8)
    cema.worth_uploading(logits_of(0.2, 0.6))
    before = cema.mean_entropy.clone()
    cema.worth_uploading(torch.full((1, NUM_CLASSES), torch.nan))
    torch.testing.assert_close(cema.mean_entropy, before)


def test_nothing_selected_changes_nothing():
    cema = make_cema()
    with torch.no_grad():
        cema.backbone.classifier.weight.zero_()
        cema.backbone.classifier.bias.zero_()
    before = [parameter.clone() for parameter in cema.parameters]
    for count in (6, 1):
        assert cema.step(make_images(count)).isfinite().all()
        assert not cema.count().any()
    assert all(map(torch.equal, before, cema.parameters))


@pytest.fixture
def trained(monkeypatch):
    """Return CEMA with the published batch sizes, and the batches that its edge copy sees."""
    cema, seen = make_cema(**ALL), []
    monkeypatch.setattr(cema.cloud, "_update_foundation", lambda images: seen.append("foundation"))
    monkeypatch.setattr(cema.cloud, "_distil", lambda images: seen.append(len(images)))
    return cema.cloud, seen


def uploads(count: int) -> torch.Tensor:
    return torch.zeros(count, 3, 2, 2, dtype=torch.uint8)


def test_uploads_queue_for_batches_of_32(trained):
    cloud, seen = trained
    for count in (31, 1, 70, 26):
        cloud.receive(uploads(count), [])
    assert seen == ["foundation", 32] * 4
    assert len(cloud.queue) == 0


def test_96_earlier_uploads_join_from_256_on(trained):
    cloud, seen = trained
    cloud.receive(uploads(255), [])
    assert seen == ["foundation", 32] * 7
    cloud.rehearse()
    cloud.receive(uploads(1), [])
    assert seen[14:] == ["foundation", 128]
    cloud.rehearse()
    assert seen[16:] == []
    cloud.receive(uploads(1), [])
    cloud.rehearse()
    assert seen[16:] == [128]


def test_the_edge_rehearses_where_no_full_batch_came():
    cema = make_cema(**SMALL)
    counted = []
    for count in (6, 1, 1):
        cema.step(make_images(count))
        counted.append(totals(cema))
    assert [step["foundation_steps"] for step in counted] == [1, 0, 1]
    assert [step["edge_steps"] for step in counted] == [1, 1, 1]


def test_cost_of_a_batch():
    cema = make_cema(**SMALL)
    affine = 4 * sum(parameter.numel() for parameter in cema.parameters)
    cema.step(make_images(9))
    assert totals(cema) == {
        "uploads": 9,
        "uplink_bytes": 9 * IMAGE_BYTES,
        "downlink_bytes": affine,
        "refreshes": 1,
        "foundation_steps": 2,
        "edge_steps": 2,
    }
    assert cema.count()[0].tolist() == [1.0] * 9
    cema.step(make_images(9))
    assert totals(cema)["uploads"] == 9


def test_running_statistics_travel_with_renormalisation():
    with pytest.warns(UserWarning, match="statistics=batch"):
        cema = make_cema(**SMALL, statistics="renorm")
    affine, statistics = (
        sum(tensor.nbytes for tensor in tensors)
        for tensors in (cema.parameters, cema.running_statistics)
    )
    cema.step(make_images(3))
    assert totals(cema)["uplink_bytes"] == 3 * IMAGE_BYTES + statistics
    assert all(
        map(
            torch.equal,
            cema.running_statistics,
            cema.cloud.edge_tensors[-len(cema.running_statistics) :],
        )
    )
    cema.step(make_images(3, seed=2))
    assert totals(cema)["uplink_bytes"] == 3 * IMAGE_BYTES
    assert totals(cema)["downlink_bytes"] == affine + statistics
    assert all(
        map(torch.equal, [*cema.parameters, *cema.running_statistics], cema.cloud.edge_tensors)
    )


def test_the_edge_predicts_with_what_has_arrived():
    """A message each way takes one batch: the first upload is felt at the third batch."""
    slow = make_cema(link_latency=1.0, **SMALL)
    edge = make_cema(**SMALL)
    images = make_images(6)
    unadapted = edge.predict(images)
    assert [torch.equal(slow.step(images), unadapted) for _ in range(3)] == [True, True, False]
    edge.step(images)
    assert not torch.equal(edge.step(images), unadapted)


def test_a_narrow_link_delays_by_size():
    cema = make_cema(link_bandwidth=6 * IMAGE_BYTES / 1.5, **SMALL)
    counted = []
    for seed in range(3):
        cema.step(make_images(6, seed))
        counted.append(totals(cema)["foundation_steps"])
    assert counted == [0, 0, 1]


def test_edges_are_refreshed_at_the_interval():
    cema = make_cema(**SMALL, refresh_interval=4)
    refreshes = []
    for seed in range(13):
        cema.step(make_images(4, seed))
        refreshes.append(totals(cema)["refreshes"])
    assert refreshes == [1] * 9 + [0, 0, 1, 0]


def test_the_budget_caps_uploads_at_every_moment():
    cema = make_cema(upload_budget=0.3, **SMALL)
    uploaded = []
    for count in (6, 1, 1, 2):
        cema.step(make_images(count))
        uploaded.append(totals(cema)["uploads"])
    assert uploaded == [1, 1, 0, 1]


@pytest.mark.parametrize("statistics", ["batch", "renorm"])
@pytest.mark.filterwarnings("ignore:cema")
def test_reset_and_state_with_messages_in_flight(statistics):
    options = {"link_latency": 0.5, "link_bandwidth": 20_000.0, "statistics": statistics}
    batches = [make_images(count, seed) for seed, count in enumerate((6, 1, 6, 2, 5))]
    cema, other = (make_cema(**SMALL, **options) for _ in range(2))
    first = [cema.step(images) for images in batches[:3]]
    state = cema.state_dict()
    rest = [cema.step(images) for images in batches[3:]]
    other.load_state_dict(state)
    assert all(map(torch.equal, rest, [other.step(images) for images in batches[3:]]))
    cema.reset()
    again = [cema.step(images) for images in batches]
    assert all(map(torch.equal, first + rest, again))


def test_the_first_foundation_step_starts_from_the_uploads():
    with pytest.warns(UserWarning):
        cema = make_cema(**SMALL, statistics="renorm")
    cema.cloud.foundation_layers[0].register_forward_pre_hook(
        lambda layer, inputs: inputs_seen.append((layer.statistics, inputs[0]))
    )
    inputs_seen = []
    cema.step(make_images(8))
    assert [statistics for statistics, _ in inputs_seen] == ["adopt", "use", "move", "use"]
    first = inputs_seen[0][1]
    second = inputs_seen[2][1]
    expected = first.mean((0, 2, 3)).lerp(second.mean((0, 2, 3)), 0.1)
    torch.testing.assert_close(cema.cloud.foundation_layers[0].mean, expected)


def test_needs_a_cloud_model_for_the_same_classes():
    backbone, params = make_backbone("batch_norm"), Cema.Params()
    with pytest.raises(UserError, match="--cloud-backbone.*--cloud-weights"):
        check_needs(Cema, params, backbone, has_source=False)
    other = make_backbone("batch_norm")
    other.num_classes = NUM_CLASSES + 1
    with pytest.raises(UserError, match="knows 6 classes"):
        check_needs(Cema, params, backbone, has_source=False, cloud=other)
