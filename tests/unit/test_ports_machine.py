"""The table: every pair of state and event, and the page that is made of it."""

from pathlib import Path

import pytest

from weft.ports.diagram import page
from weft.ports.machine import BOUND, STUCK_AFTER_S, TABLE, Event, ImpossibleEvent, State, step

PAGE = Path(__file__).parents[2] / "docs" / "port-states.md"


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_pair_steps_or_raises(state: State, event: Event) -> None:
    if (state, event) in TABLE:
        assert step(state, event) is TABLE[state, event]
    else:
        with pytest.raises(ImpossibleEvent, match=f"{state} cannot see '{event}'"):
            step(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached, frontier = {State.ALLOCATED}, [State.ALLOCATED]
    while frontier:
        before = frontier.pop()
        for (state, _), after in TABLE.items():
            if state is before and after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(State)
    for state in set(State) - {State.RELEASED}:
        assert step(state, Event.RELEASE) is State.RELEASED


def test_nothing_happens_to_a_released_port() -> None:
    assert not [pair for pair in TABLE if pair[0] is State.RELEASED]


def test_realizers_are_heard_exactly_of_bound_ports() -> None:
    for state in State:
        for event in (Event.REALIZED, Event.PENDING, Event.FAILED):
            assert ((state, event) in TABLE) == (state in BOUND)
            if state in BOUND:
                assert step(state, event) in BOUND


def test_states_that_wait_for_somebody_have_a_bound() -> None:
    assert set(STUCK_AFTER_S) == BOUND - {State.ACTIVE}


def test_the_page_is_that_of_the_table() -> None:
    assert PAGE.read_text() == page(), "run: .venv/bin/python -m weft.ports.diagram > docs/port-states.md"
