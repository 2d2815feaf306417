"""The desired state from messages: complete from the first snapshot on, and deaf to old news."""

from weft.agent.desired import after
from weft.protocol.node import NodeChange, NodeDesired, PortDesired


def row(port_id: str, epoch: int = 1) -> PortDesired:
    return PortDesired(port_id=port_id, epoch=epoch, network_id="n", vlan=1, mac="02:00:00:00:00:01")


SNAPSHOT = NodeDesired(node="n", revision=5, ports=(row("a"), row("b")))


def test_before_the_first_snapshot_there_is_nothing() -> None:
    assert after(None, NodeChange(revision=9, ports=(row("a"),))) is None


def test_changes_put_and_remove() -> None:
    desired = after(after(None, SNAPSHOT), NodeChange(revision=6, ports=(row("b", 2), row("c")), gone=("a",)))
    assert desired is not None
    assert {id_: port.epoch for id_, port in desired.ports.items()} == {"b": 2, "c": 1}
    assert desired.revision == 6


def test_old_news_and_repetitions_change_nothing() -> None:
    desired = after(None, SNAPSHOT)
    assert after(desired, NodeChange(revision=4, gone=("a", "b"))) is desired
    change = NodeChange(revision=6, gone=("a",))
    assert after(after(desired, change), change) == after(desired, change)


def test_changes_of_one_revision_are_of_different_ports() -> None:
    first = after(after(None, SNAPSHOT), NodeChange(revision=8, ports=(row("c"),)))
    both = after(first, NodeChange(revision=8, ports=(row("d"),)))
    assert both is not None
    assert set(both.ports) == {"a", "b", "c", "d"}


def test_a_snapshot_replaces_everything_even_by_an_older_revision() -> None:
    desired = after(after(None, SNAPSHOT), NodeDesired(node="n", revision=2, ports=(row("z"),)))
    assert desired is not None
    assert set(desired.ports) == {"z"}
