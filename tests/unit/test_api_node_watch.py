"""A node's watch: whoever reads rows and log at different moments is told of every port in the end."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.thorough import examples

from weft.agent.desired import Desired, after
from weft.api.watches import News, NodeWatch
from weft.model.ids import NodeName, PortId, Revision
from weft.protocol.node import NodeChange, NodeDesired, PortDesired
from weft.store import Change, Kind, Op

NODE = NodeName("node1")
PORTS = ["a", "b", "c"]


class World:
    """Ports of a node that come, change and go, each time at the next revision; a log; a watch; an agent."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        """Each port's epoch: what of it changes."""
        self.log: list[Change] = []
        self.noted = 0
        self.watch = NodeWatch(NODE)
        self.agent: Desired | None = None

    @property
    def revision(self) -> int:
        return len(self.log)

    def write(self, port: str, *, there: bool) -> None:
        if there:
            self.rows[port] = self.revision + 1
        else:
            self.rows.pop(port, None)
        self.log.append(Change(revision=Revision(self.revision + 1), kind=Kind.PORT, id=port, op=Op.PUT, nodes=(NODE,)))

    def begin(self) -> None:
        self.agent = after(self.agent, NodeDesired(node=NODE, revision=self.revision, ports=self._desired(self.rows)))
        self.watch.begin(Revision(self.revision))

    def note(self, count: int) -> None:
        """Let the reader of the log come so much further."""
        for change in self.log[self.noted : self.noted + count]:
            self.watch.note(change)
            self.noted += 1

    async def tell(self) -> None:
        """Tell what is pending, if anything is, from the rows as they are by now."""
        if not self.watch._pending:
            return
        news: News = await self.watch.news()
        here = self._desired({port: epoch for port, epoch in self.rows.items() if port in news.ports})
        gone = tuple(port for port in news.ports if port not in self.rows)
        self.agent = after(self.agent, NodeChange(revision=self.revision, ports=here, gone=gone))
        self.watch.tell(Revision(self.revision), news)

    def _desired(self, rows: dict[str, int]) -> tuple[PortDesired, ...]:
        return tuple(
            PortDesired(port_id=PortId(port), epoch=epoch, network_id="n", vlan=1, mac="fa:16:3e:00:00:01")
            for port, epoch in rows.items()
        )


acts = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PORTS), st.booleans()),
    st.tuples(st.just("note"), st.integers(1, 3)),
    st.tuples(st.just("tell")),
)


@settings(deadline=None, max_examples=examples(600))
@given(st.lists(acts, max_size=20), st.lists(acts, max_size=30))
async def test_an_agent_knows_every_port_in_the_end(
    before: list[tuple[object, ...]], then: list[tuple[object, ...]]
) -> None:
    world = World()
    for act in before:
        await carry_out(world, act, begun=False)
    world.begin()
    for act in then:
        await carry_out(world, act, begun=True)
    world.note(len(world.log))
    await world.tell()
    assert world.agent is not None
    assert {port: each.epoch for port, each in world.agent.ports.items()} == world.rows


async def carry_out(world: World, act: tuple[object, ...], *, begun: bool) -> None:
    match act:
        case ("write", str(port), bool(there)):
            world.write(port, there=there)
        case ("note", int(count)):
            world.note(count)
        case _ if begun:
            await world.tell()
