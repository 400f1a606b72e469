"""Action heads against torch.distributions and their own samples."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import distributions as td

from gala.errors import UserError
from gala.networks.heads import BernoulliHead, GaussianHead, MultiCategoricalHead, build_head

DISCRETE = gymnasium.spaces.Discrete(5, start=2)
MULTI = gymnasium.spaces.MultiDiscrete([2, 3])
BITS = gymnasium.spaces.MultiBinary(4)
BOX = gymnasium.spaces.Box(-1.0, np.array([1.0, 2.0], np.float32), (2,), np.float32)


def reference(head: object, dist: torch.Tensor) -> td.Distribution:
    if isinstance(head, GaussianHead):
        mean, log_std = dist.chunk(2, -1)
        return td.Independent(td.Normal(mean, log_std.exp()), 1)
    if isinstance(head, BernoulliHead):
        return td.Independent(td.Bernoulli(logits=dist), 1)
    return td.Categorical(logits=dist)


@pytest.mark.parametrize("space", [DISCRETE, BITS, BOX])
def test_log_prob_entropy_and_mode(space: gymnasium.Space) -> None:
    head = build_head(space)
    dist = torch.randn(7, head.size, generator=torch.Generator().manual_seed(0))
    actions = head.sample(dist, torch.Generator().manual_seed(1))
    expected = reference(head, dist)
    drawn = actions.float() if isinstance(head, BernoulliHead) else actions
    torch.testing.assert_close(head.log_prob(dist, actions), expected.log_prob(drawn))
    torch.testing.assert_close(head.entropy(dist), expected.entropy())
    torch.testing.assert_close(head.mode(dist).to(drawn.dtype), expected.mode)


def test_multi_discrete_is_independent_choices() -> None:
    head = build_head(MULTI)
    assert isinstance(head, MultiCategoricalHead) and head.size == 5
    dist = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    a, b = td.Categorical(logits=dist[:, :2]), td.Categorical(logits=dist[:, 2:])
    actions = head.sample(dist, torch.Generator().manual_seed(1))
    assert actions.shape == (6, 2)
    torch.testing.assert_close(
        head.log_prob(dist, actions), a.log_prob(actions[:, 0]) + b.log_prob(actions[:, 1])
    )
    torch.testing.assert_close(head.entropy(dist), a.entropy() + b.entropy())
    assert head.mode(dist).tolist() == torch.stack([a.mode, b.mode], -1).tolist()


def test_samples_follow_the_probabilities() -> None:
    head = build_head(gymnasium.spaces.Discrete(3))
    p = torch.tensor([0.1, 0.2, 0.7])
    samples = head.sample(p.log().expand(40_000, 3), torch.Generator().manual_seed(0))
    frequency = torch.bincount(samples, minlength=3) / 40_000
    torch.testing.assert_close(frequency, p, atol=0.01, rtol=0)


def test_gaussian_samples_have_the_mean_and_deviation() -> None:
    head = build_head(BOX)
    dist = torch.tensor([0.5, -1.0, 0.0, -1.0]).expand(40_000, 4)
    samples = head.sample(dist, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(0), torch.tensor([0.5, -1.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(samples.std(0), torch.tensor([1.0, np.exp(-1)]).float(), rtol=0.02,
                               atol=0)  # fmt: skip


@pytest.mark.parametrize("space", [DISCRETE, MULTI, BITS, BOX])
def test_actions_suit_the_environment_and_the_seed_decides(space: gymnasium.Space) -> None:
    head = build_head(space)
    dist = 5 * torch.randn(50, head.size, generator=torch.Generator().manual_seed(0))
    first = head.sample(dist, torch.Generator().manual_seed(1))
    assert torch.equal(first, head.sample(dist, torch.Generator().manual_seed(1)))
    assert all(space.contains(action) for action in head.to_env(first).astype(space.dtype))
    buffer = head.buffer(4, 50)
    buffer[2].copy_(first)
    assert torch.equal(buffer[2], first) and buffer.dtype == first.dtype


def test_a_box_clips_only_for_the_environment() -> None:
    head = build_head(BOX)
    wild = torch.tensor([[9.0, -9.0]])
    assert head.to_env(wild).tolist() == [[1.0, -1.0]] and wild.tolist() == [[9.0, -9.0]]


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.MultiBinary((3, 2)),  # environments give them one axis
        gymnasium.spaces.Box(0, 255, (2,), np.uint8),
        gymnasium.spaces.Dict({"a": DISCRETE}),
    ],
)
def test_other_spaces_are_refused_by_name(space: gymnasium.Space) -> None:
    with pytest.raises(UserError, match=r"env.id: action space .* is not supported"):
        build_head(space)


@pytest.mark.parametrize("space", [DISCRETE, BITS, BOX])
def test_kl(space: gymnasium.Space) -> None:
    head = build_head(space)
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(7, head.size, generator=generator) for _ in range(2))
    expected = td.kl_divergence(reference(head, p), reference(head, q))
    torch.testing.assert_close(head.kl(p, q), expected)
    torch.testing.assert_close(head.kl(p, p), torch.zeros(7))


def test_kl_of_independent_choices_is_the_sum() -> None:
    head = build_head(MULTI)
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(6, 5, generator=generator) for _ in range(2))
    parts = [
        td.kl_divergence(td.Categorical(logits=p[:, s]), td.Categorical(logits=q[:, s]))
        for s in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(head.kl(p, q), parts[0] + parts[1])


def test_bits_follow_their_probabilities() -> None:
    head = build_head(gymnasium.spaces.MultiBinary(3))
    p = torch.tensor([0.1, 0.5, 0.9])
    samples = head.sample(p.logit().expand(40_000, 3), torch.Generator().manual_seed(0))
    assert samples.dtype == torch.int64
    torch.testing.assert_close(samples.float().mean(0), p, atol=0.01, rtol=0)


def test_bits_that_are_certain_have_finite_numbers() -> None:
    head = build_head(BITS)
    sure = torch.tensor([[200.0, -200.0, 200.0, -200.0]], requires_grad=True)
    assert head.sample(sure).tolist() == head.mode(sure).tolist() == [[1, 0, 1, 0]]
    total = head.entropy(sure) + head.log_prob(sure, torch.tensor([[1, 0, 0, 0]]))
    (total + head.kl(sure, -sure)).sum().backward()
    assert bool(total.isfinite().all()) and bool(sure.grad.isfinite().all())


MASKS = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
FIVE = gymnasium.spaces.Discrete(5)


def logits(space: gymnasium.Space, rows: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, build_head(space).size, generator=generator)


@pytest.mark.parametrize("space", [FIVE, MULTI])
def test_forbidden_actions_are_never_chosen(space: gymnasium.Space) -> None:
    head, count = build_head(space), 2_000
    mask = MASKS.repeat(count, 1)
    dist = head.masked(3 * logits(space, len(mask)), mask)
    choices = [5] if space is FIVE else [2, 3]
    for actions in (head.sample(dist, torch.Generator().manual_seed(1)), head.mode(dist)):
        picked = actions[:, None] if space is FIVE else actions
        for number, allowed in enumerate(mask.split(choices, -1)):
            chosen = allowed.gather(1, picked[:, number, None])[:, 0]
            assert bool((chosen | ~allowed.any(1)).all())


def test_a_masked_distribution_is_that_of_the_allowed_actions() -> None:
    head, dist, other = build_head(FIVE), logits(FIVE), logits(FIVE, seed=1)
    masked, masked_other = head.masked(dist, MASKS), head.masked(other, MASKS)
    for row, allowed in enumerate(MASKS):
        keep = allowed if allowed.any() else ~allowed
        p, q = (td.Categorical(logits=each[row, keep]) for each in (dist, other))
        places = keep.nonzero()[:, 0]
        torch.testing.assert_close(head.entropy(masked)[row], p.entropy())
        torch.testing.assert_close(head.kl(masked, masked_other)[row], td.kl_divergence(p, q))
        for number, place in enumerate(places):
            found = head.log_prob(masked, place.expand(4))[row]
            torch.testing.assert_close(found, p.log_prob(torch.tensor(number)))
    assert torch.equal(masked[2:], dist[2:])


@pytest.mark.parametrize("space", [FIVE, MULTI])
def test_forbidden_actions_have_no_gradient(space: gymnasium.Space) -> None:
    head, dist = build_head(space), logits(space).requires_grad_()
    masked = head.masked(dist, MASKS)
    actions = head.sample(masked, torch.Generator().manual_seed(0))
    (head.log_prob(masked, actions) + head.entropy(masked) + head.kl(masked, masked.detach() / 2)
     ).sum().backward()  # fmt: skip
    assert bool(dist.grad.isfinite().all())
    choices = [5] if space is FIVE else [2, 3]
    for allowed, gradient in zip(
        MASKS.split(choices, -1), dist.grad.split(choices, -1), strict=True
    ):
        assert bool((gradient[~allowed & allowed.any(1, keepdim=True)] == 0).all())
        assert bool((gradient[2:] != 0).any())  # everything is allowed there


def test_kl_to_a_policy_that_forbids_more_is_large_and_finite() -> None:
    head, dist = build_head(FIVE), logits(FIVE)
    kl = head.kl(dist, head.masked(dist, MASKS))
    assert bool(kl.isfinite().all()) and bool((kl[:2] > 1e6).all()) and not kl[2:].any()


def test_what_is_no_choice_has_no_masks() -> None:
    for space in (BITS, BOX):
        with pytest.raises(AssertionError, match="masks are for choices"):
            build_head(space).masked(logits(space), MASKS[:, :4])


@pytest.mark.parametrize("space", [DISCRETE, MULTI, BITS, BOX])
@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_a_tempered_density_is_a_power_of_the_density(
    space: gymnasium.Space, temperature: float
) -> None:
    """Up to a constant of each row: differences of log-densities shrink by the temperature."""
    head = build_head(space)
    dist = torch.randn(7, head.size, generator=torch.Generator().manual_seed(0))
    tempered = head.tempered(dist, temperature)
    one, other = (head.sample(dist, torch.Generator().manual_seed(k)) for k in (1, 2))
    plain = head.log_prob(dist, one) - head.log_prob(dist, other)
    gap = head.log_prob(tempered, one) - head.log_prob(tempered, other)
    torch.testing.assert_close(gap * temperature, plain, rtol=1e-4, atol=1e-5)
    assert head.mode(tempered).tolist() == head.mode(dist).tolist()
    hotter = head.entropy(tempered) > head.entropy(dist)
    assert bool(hotter.all()) == (temperature > 1)
