"""A history as people read it."""

from weft.client.timeline import timeline, title_of
from weft.model import steps
from weft.protocol.port import HistoryStep


def step(name: str, at: float, epoch: int = 0, **rest: str) -> HistoryStep:
    return HistoryStep(step=name, at=at, actor="api", epoch=epoch, **rest)


def after(*history: HistoryStep) -> list[float]:
    return [round(each.after_s, 3) for each in timeline(history)]


def test_steps_are_timed_from_the_request_they_answer() -> None:
    assert after(
        step(steps.CREATED, 100.0),
        step(steps.BOUND, 100.001, epoch=1),
        step(steps.FLOWS, 100.5, epoch=1),
        step(steps.BOUND, 200.0, epoch=2),
        step(steps.CONFIGURED, 200.25, epoch=2),
    ) == [0.0, 0.001, 0.5, 0.0, 0.25]


def test_what_was_created_long_before_it_was_bound_is_timed_from_its_binding() -> None:
    assert after(
        step(steps.CREATED, 100.0),
        step(steps.SAVED, 100.01),
        step(steps.BOUND, 107.0, epoch=1),
        step(steps.FLOWS, 107.3, epoch=1),
    ) == [0.0, 0.01, 0.0, 0.3]


def test_a_device_may_be_there_before_its_binding() -> None:
    assert after(
        step(steps.CREATED, 100.0),
        step(steps.BOUND, 100.0, epoch=1),
        step(steps.PLUGGED, 199.9, epoch=2),
        step(steps.BOUND, 200.0, epoch=2),
    ) == [0.0, 0.0, -0.1, 0.0]


def test_a_history_whose_beginning_is_forgotten_begins_with_what_is_left() -> None:
    assert after(step(steps.FLOWS, 100.0, epoch=7), step(steps.CONFIGURED, 100.5, epoch=7)) == [0.0, 0.5]


def test_a_step_that_arrives_late_stands_where_it_happened() -> None:
    history = [step(steps.CREATED, 100.0), step(steps.FLOWS, 101.0), step(steps.PLUGGED, 100.5)]
    assert [each.step.step for each in timeline(history)] == [steps.CREATED, steps.PLUGGED, steps.FLOWS]


def test_every_step_has_words() -> None:
    named = [value for name, value in vars(steps).items() if name.isupper()]
    for name in named:
        title = title_of(step(name, 0.0, before="BINDING", after="ACTIVE"))
        assert title
        assert "_" not in title
    assert title_of(step("state", 0.0, before="BINDING", after="ACTIVE")) == "BINDING -> ACTIVE"
    assert title_of(step("a_later_step", 0.0)) == "a later step"
