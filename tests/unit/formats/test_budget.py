"""The share of the processor that compression may take."""

from __future__ import annotations

from ratsvc.core.figures import Figures
from ratsvc.formats import Budget
from ratsvc.formats.budget import SPAN_S


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_spent_comes_back_with_time_at_the_rate_of_the_share() -> None:
    clock, figures = Clock(), Figures()
    budget = Budget(25, figures, clock)
    assert (budget.is_spent, budget.is_low) == (False, False)
    budget.spend(0.25 * SPAN_S + 1.0)
    clock.now += 3.9
    assert (budget.is_spent, budget.is_low) == (True, True)
    clock.now += 0.2
    assert (budget.is_spent, budget.is_low) == (False, True)
    clock.now += SPAN_S / 2
    assert not budget.is_low
    assert figures.compression_seconds == 0.25 * SPAN_S + 1.0


def test_no_more_is_saved_up_than_for_its_span() -> None:
    clock = Clock()
    budget = Budget(50, Figures(), clock)
    clock.now += 3_600
    assert not budget.is_spent
    budget.spend(0.5 * SPAN_S)
    assert budget.is_spent


def test_over_any_time_no_more_is_spent_than_the_share_and_one_piece() -> None:
    clock, figures = Clock(), Figures()
    budget = Budget(10, figures, clock)
    for _ in range(100_000):
        if budget.is_spent:
            clock.now += 0.001
        else:
            clock.now += 0.004
            budget.spend(0.004)
    assert figures.compression_seconds <= 0.1 * (clock.now - Clock.now + SPAN_S) + 0.004


def test_a_whole_core_is_no_bound() -> None:
    budget = Budget(100, Figures(), Clock())
    budget.spend(1_000)
    assert (budget.is_spent, budget.is_low) == (False, False)
