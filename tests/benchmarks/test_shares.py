from benchmarks.timing import shares
from benchmarks.timing.subjects import subject


def test_kinds_of_operators():
    kinds = {
        "aten::convolution_backward": "convolution backward",
        "aten::mkldnn_convolution": "convolution",
        "aten::native_batch_norm_backward": "batch norm",
        "aten::threshold_backward": "activation",
        "aten::_foreach_lerp_": "optimiser, averages",
        "aten::grid_sampler_2d": "other",
    }
    assert {name: shares.kind_of(name) for name in kinds} == kinds


def test_every_method_has_a_row_whose_shares_add_up(monkeypatch):
    monkeypatch.setattr(shares, "NETS", (("test_resnet", 64),))
    monkeypatch.setattr(shares, "METHODS", ("rotta", "note", "petta"))
    rows, targets = shares.profiled()
    assert [row[0].partition(",")[0] for row in rows] == ["source", "rotta", "note", "petta"]
    for row in rows:
        assert abs(sum(int(cell.split()[0]) for cell in row[2:]) - 100) <= 4
    assert len(targets) == 3


def test_predictions_spread_over_the_classes():
    case = subject("test_resnet", 64)
    shares.spread_predictions(case.backbone, case.images)
    assert case.backbone(case.images).argmax(1).unique().numel() >= 5
