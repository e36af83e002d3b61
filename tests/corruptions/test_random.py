import torch

from tta.corruptions.random import ImageRandom


def numbers(ids, corruption="fog", severity=1, seed=0):
    return ImageRandom(torch.as_tensor(ids), corruption, severity, seed)


def test_draws_follow_the_key():
    first = numbers([5, 9]).uniform(100)
    assert torch.equal(first, numbers([5, 9]).uniform(100))
    assert torch.equal(first.flip(0), numbers([9, 5]).uniform(100))
    others = [numbers([5, 9], seed=-1), numbers([5, 9], severity=2), numbers([5, 9], "snow")]
    for other in others:
        assert (other.uniform(100) != first).all()


def test_successive_draws_are_fresh():
    random = numbers([1])
    first, second = random.uniform(1000), random.uniform(1000)
    correlation = torch.corrcoef(torch.cat([first, second]))[0, 1]
    assert abs(correlation) < 0.1


def test_neighbouring_ids_are_independent():
    draws = numbers(range(64)).uniform(4096)
    correlations = torch.corrcoef(draws).fill_diagonal_(0)
    assert correlations.abs().max() < 6 / 4096**0.5


def test_uniforms_fill_their_range():
    draws = numbers(range(100)).uniform(10_000, low=-2.0, high=3.0)
    counts = torch.histc(draws, 50, -2.0, 3.0)
    assert draws.min() > -2 and draws.max() < 3
    chi_square = ((counts - 20_000) ** 2 / 20_000).sum()
    assert chi_square < 100  # 49 degrees of freedom: mean 49, deviation 10


def test_integers_cover_each_value_alike():
    draws = numbers(range(100)).integers(-3, 3, 1000)
    counts = torch.bincount((draws + 3).flatten(), minlength=6)
    assert len(counts) == 6
    assert (counts / 100_000 * 6 - 1).abs().max() < 0.04


def test_normals_have_normal_moments_and_tails():
    draws = numbers(range(100)).normal(10_000).double()
    assert abs(draws.mean()) < 0.005
    assert abs(draws.var() - 1) < 0.01
    assert abs((draws**4).mean() - 3) < 0.05
    assert abs((draws.abs() > 3).double().mean() - 0.0027) < 0.0003


def test_words_are_those_of_splitmix64():
    from tta.corruptions.random import _mix_int

    # First output of SplitMix64 seeded with 1234567, from its reference implementation.
    assert _mix_int(1234567 + 0x9E3779B97F4A7C15) == 6457827717110365317
