"""A rollout that is cut in two has the targets of the whole, where the values are exact."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.learning.returns import gae, vtrace

T, B = 9, 3


def exact(seed: int, gamma: float) -> dict[str, torch.Tensor]:
    """Rewards, ends, and the values that these very rewards add up to (on-policy)."""
    g = torch.Generator().manual_seed(seed)
    reward = torch.randn(T, B, generator=g, dtype=torch.float64)
    ended = torch.rand(T, B, generator=g) < 0.2
    truncated = ended & (torch.rand(T, B, generator=g) < 0.5)
    discount = torch.where(ended & ~truncated, 0.0, gamma).double()
    final = torch.randn(T + 1, B, generator=g, dtype=torch.float64)  # V of what came after an end
    value = torch.empty(T + 1, B, dtype=torch.float64)
    value[-1] = final[-1]
    next_value = torch.empty(T, B, dtype=torch.float64)
    for t in range(T - 1, -1, -1):
        next_value[t] = torch.where(ended[t], final[t], value[t + 1])
        value[t] = reward[t] + discount[t] * next_value[t]
    return {"reward": reward, "discount": discount, "value": value[:-1],
            "next_value": next_value, "cut": ended}  # fmt: skip


def part(columns: dict[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    return {name: column[rows] for name, column in columns.items()}


@given(
    seed=st.integers(0, 10**6), where=st.integers(1, T - 1), gamma=st.floats(0.5, 1.0),
    fade=st.floats(0.0, 1.0),
)  # fmt: skip
def test_generalised_advantages_of_parts(seed: int, where: int, gamma: float, fade: float) -> None:
    columns = exact(seed, gamma)
    whole = gae(**columns, gae_lambda=fade)
    parts = [gae(**part(columns, s), gae_lambda=fade) for s in (slice(where), slice(where, None))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-9, atol=1e-9)


@given(
    seed=st.integers(0, 10**6), where=st.integers(1, T - 1), gamma=st.floats(0.5, 1.0),
    fade=st.floats(0.0, 1.0),
)  # fmt: skip
def test_v_trace_of_parts(seed: int, where: int, gamma: float, fade: float) -> None:
    columns = exact(seed, gamma)
    rho = torch.rand(T, B, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3

    def targets(rows: slice) -> torch.Tensor:
        given = part(columns | {"rho": rho}, rows)
        return torch.stack(vtrace(**given, trace_lambda=fade))

    whole = targets(slice(None))
    parts = torch.cat([targets(slice(where)), targets(slice(where, None))], 1)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole[0], columns["value"])  # exact values need no correction
