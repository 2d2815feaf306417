"""What the server is told, and when: present standings minus what it has acknowledged."""

from weft.agent.standing import DEVICE_GRACE_S, MAX_REPORTS_PER_POST, WIRING_GRACE_S, Outbox, Standing
from weft.model.intent import RealizationState
from weft.protocol.node import StepReport

UP, PENDING, GONE = RealizationState.UP, RealizationState.PENDING, RealizationState.GONE


def standing(state: RealizationState, *steps: str, epoch: int = 1, port: str = "p", at: float = 1.0) -> Standing:
    made = tuple(StepReport(step=step, at=at) for step in steps)
    return Standing(port_id=port, epoch=epoch, state=state, steps=made)


def test_up_is_due_at_once_and_only_once() -> None:
    outbox = Outbox()
    outbox.update([standing(UP, "flows")], 10.0)
    (report,) = outbox.due(10.0)
    assert (report.state, [step.step for step in report.steps]) == (UP, ["flows"])
    outbox.acknowledge([report])
    outbox.update([standing(UP, "flows")], 11.0)
    assert outbox.due(1e9) == ()
    assert outbox.next_due_at() is None


def test_what_was_not_acknowledged_stays_due_as_it_then_stands() -> None:
    outbox = Outbox()
    outbox.update([standing(UP)], 10.0)
    assert outbox.due(10.0)
    outbox.update([standing(PENDING, "plugged")], 11.0)
    (report,) = outbox.due(11.0 + WIRING_GRACE_S)
    assert report.state is PENDING


def test_a_report_that_was_overtaken_does_not_hide_the_news() -> None:
    outbox = Outbox()
    outbox.update([standing(PENDING, "plugged")], 0.0)
    sent = outbox.due(WIRING_GRACE_S)
    outbox.update([standing(UP, "plugged", "flows")], 1.0)
    outbox.acknowledge(sent)
    (report,) = outbox.due(1.0)
    assert (report.state, [step.step for step in report.steps]) == (UP, ["flows"])


def test_pending_waits_and_the_waiting_begins_anew_with_the_device() -> None:
    outbox = Outbox()
    outbox.update([standing(PENDING)], 100.0)
    assert outbox.due(100.0 + DEVICE_GRACE_S - 0.1) == ()
    assert outbox.next_due_at() == 100.0 + DEVICE_GRACE_S
    outbox.update([standing(PENDING, "plugged")], 102.0)
    assert outbox.due(102.0) == ()
    assert outbox.next_due_at() == 102.0 + WIRING_GRACE_S
    assert outbox.due(102.0 + WIRING_GRACE_S)


def test_a_step_made_again_is_told_again() -> None:
    outbox = Outbox()
    outbox.update([standing(UP, "plugged", at=1.0)], 1.0)
    outbox.acknowledge(outbox.due(1.0))
    outbox.update([standing(UP, "plugged", at=5.0)], 5.0)
    (report,) = outbox.due(5.0)
    assert report.steps[0].at == 5.0


def test_what_has_no_standing_is_forgotten() -> None:
    outbox = Outbox()
    outbox.update([standing(GONE)], 1.0)
    sent = outbox.due(1.0)
    outbox.update([], 2.0)
    outbox.acknowledge(sent)
    assert outbox.told() == {}


def test_what_was_told_is_known() -> None:
    outbox = Outbox()
    outbox.update([standing(GONE), standing(UP, epoch=2)], 1.0)
    outbox.acknowledge(outbox.due(1.0))
    assert outbox.told() == {("p", 1): GONE, ("p", 2): UP}


def test_a_post_is_bounded() -> None:
    outbox = Outbox()
    outbox.update([standing(UP, port=f"p{number}") for number in range(MAX_REPORTS_PER_POST + 1)], 1.0)
    first = outbox.due(1.0)
    assert len(first) == MAX_REPORTS_PER_POST
    outbox.acknowledge(first)
    assert len(outbox.due(1.0)) == 1
