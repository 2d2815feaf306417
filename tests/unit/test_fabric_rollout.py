"""The order in which a roll-out changes switches, whatever happens to them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.thorough import examples

from weft.fabric.rollout import Rollout, RolloutState, Target, TargetState, stepped, to_begin
from weft.model.ids import SwitchName

WAITING, CHANGING = TargetState.WAITING, TargetState.CHANGING
VERIFIED, ROLLED_BACK, SKIPPED = TargetState.VERIFIED, TargetState.ROLLED_BACK, TargetState.SKIPPED


def rollout(switches: int, at_once: int = 4) -> Rollout:
    targets = tuple(Target(switch=SwitchName(f"leaf{n}"), ground=None, before=None) for n in range(switches))
    return Rollout(id="1", by="me", reason="", asked_at=0.0, targets=targets, at_once=at_once, verify_s=60.0)


def begun(row: Rollout) -> list[str]:
    return [target.switch for target in to_begin(row)]


def test_the_canary_goes_alone_then_a_few_side_by_side() -> None:
    row = rollout(4, at_once=2)
    assert begun(row) == ["leaf0"]
    row = stepped(row, SwitchName("leaf0"), CHANGING, 1.0)
    assert begun(row) == []
    row = stepped(row, SwitchName("leaf0"), VERIFIED, 2.0)
    assert begun(row) == ["leaf1", "leaf2"]
    row = stepped(row, SwitchName("leaf1"), CHANGING, 3.0)
    assert begun(row) == ["leaf2"]


def test_a_canary_that_fails_ends_it() -> None:
    row = stepped(rollout(3), SwitchName("leaf0"), ROLLED_BACK, 5.0, "no session")
    assert [target.state for target in row.targets] == [ROLLED_BACK, SKIPPED, SKIPPED]
    assert (row.state, row.ended_at, row.targets[0].note) == (RolloutState.FAILED, 5.0, "no session")


def test_what_is_being_changed_when_another_fails_is_seen_to_its_end() -> None:
    row = stepped(rollout(4, at_once=2), SwitchName("leaf0"), VERIFIED, 1.0)
    for name in ("leaf1", "leaf2"):
        row = stepped(row, SwitchName(name), CHANGING, 2.0)
    row = stepped(row, SwitchName("leaf1"), ROLLED_BACK, 3.0)
    assert (row.state, row.targets[2].state, begun(row)) == (RolloutState.RUNNING, CHANGING, [])
    row = stepped(row, SwitchName("leaf2"), VERIFIED, 4.0)
    assert row.state is RolloutState.FAILED


@settings(max_examples=examples(200))
@given(count=st.integers(1, 12), at_once=st.integers(1, 5), fate=st.data())
def test_never_more_at_once_than_allowed_and_none_is_begun_after_a_failure(
    count: int, at_once: int, fate: st.DataObject
) -> None:
    row, failed = rollout(count, at_once), False
    while row.state is RolloutState.RUNNING:
        for target in to_begin(row):
            assert not failed
            row = stepped(row, target.switch, CHANGING, 0.0)
        changing = [target for target in row.targets if target.state is CHANGING]
        assert 1 <= len(changing) <= at_once
        assert len(changing) == 1 or row.targets[0].state is VERIFIED
        target = fate.draw(st.sampled_from(changing))
        good = fate.draw(st.booleans())
        failed = failed or not good
        row = stepped(row, target.switch, VERIFIED if good else ROLLED_BACK, 0.0)
    assert (row.state is RolloutState.FAILED) == failed
    assert not {target.state for target in row.targets} & {WAITING, CHANGING}
