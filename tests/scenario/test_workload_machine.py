"""Containers against a plain model, for any order of what runtimes and agents do: one owner, no late word, no leak."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core_world import PROJECT, World, world
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.thorough import examples

from weft.intent.ports import delete_port
from weft.intent.workload_names import OWNER
from weft.intent.workload_presence import compare, settle
from weft.intent.workload_release import held_for_objects, overdue, release_due, release_held, release_lost
from weft.intent.workloads import attach, claim, release, warm
from weft.model.errors import Conflict, NotFound, WeftError
from weft.model.ids import Epoch, NodeName, PortId
from weft.protocol.workload import (
    MISSING_S,
    WarmOrder,
    Workload,
    WorkloadClaim,
    WorkloadPresent,
    WorkloadRelease,
    WorkloadRequest,
)
from weft.store import Kind, Transaction

NODES = st.sampled_from((NodeName("node1"), NodeName("node2")))
NAMES = st.sampled_from(("c/ns/a", "c/ns/b", "d/ns/a"))
POLICIES = st.sampled_from((None, "now", "60s", "with-object", "never"))
HOLD_S = 60.0


@dataclass(frozen=True)
class Seen:
    """A port as the model has it: warm (no name), held by a container, or kept for its name (no node)."""

    id: str
    node: NodeName | None
    epoch: int
    name: str = ""
    holder: str = ""
    ephemeral: bool = True
    policy: str | None = None
    until: float | None = None
    beside: bool = False
    """Whether its name keeps another port."""

    @property
    def then(self) -> str:
        """What becomes of it when it is let go of."""
        if not self.name or self.beside:
            return "now"
        return self.policy or ("now" if self.ephemeral else "never")


Step = tuple[Callable[[Transaction], Any], Callable[[Any], None]]
"""A piece of work, and what the model says of its result, which is what it says once it is its turn."""


class WorkloadMachine(RuleBasedStateMachine):
    """Two nodes that run containers of three names, in pieces of work that run in one group."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.world: World = self.do(self.stack.enter_async_context(world(folder)))
        network = self.do(self.world.network("pods"))
        self.do(self.world.subnet(network, "10.0.0.0/16"))
        self.ports: dict[str, Seen] = {}
        self.once: list[Seen] = []
        """Every port as it once was: who comes late speaks of these."""
        self.given: dict[str, Workload] = {}
        """The MAC and addresses of every port that there was, by its id."""
        self.holders = 0
        self.lacked: dict[NodeName, set[tuple[str, int]]] = {NodeName("node1"): set(), NodeName("node2"): set()}
        """What the last statement of a node's agent left out, by port and epoch."""

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.loop.close()

    # --- the model

    def of_name(self, name: str) -> Seen | None:
        return next((each for each in self.ports.values() if each.name == name and not each.beside), None)

    def put(self, seen: Seen) -> None:
        self.ports[seen.id] = seen
        self.once.append(seen)

    def let_go(self, seen: Seen) -> None:
        if seen.then == "now":
            del self.ports[seen.id]
            return
        until = self.world.clock.now + HOLD_S if seen.then == "60s" else None
        self.put(replace(seen, node=None, holder="", until=until))

    # --- what may be asked; each at its turn

    def attaching(self, data: st.DataObject) -> Step:
        name, node, policy, ephemeral = data.draw(st.tuples(NAMES, NODES, POLICIES, st.booleans()))
        again = [each for each in self.once if each.name == name and each.holder]
        if again and data.draw(st.booleans()):
            before = data.draw(st.sampled_from(again))
            node, holder, policy, ephemeral = before.node or node, before.holder, before.policy, before.ephemeral
        else:
            holder = self.new_holder()
        asked = WorkloadRequest(name=name, holder=holder, network="pods", ephemeral=ephemeral, release=policy)

        def check(result: Workload) -> None:
            before = self.of_name(name)
            now = Seen(result.port_id, node, result.epoch, name, holder, ephemeral, policy)
            if before is None:
                assert result.port_id not in {each.id for each in self.once}
                assert result.epoch == 1
            else:
                assert result.port_id == before.id
                assert result.epoch == before.epoch + (now != replace(before, epoch=now.epoch))
            self.given[now.id] = result
            self.put(now)

        return lambda tx: attach(tx, node, asked, project_id=PROJECT), check

    def warming(self, data: st.DataObject) -> Step:
        node = data.draw(NODES)

        def check(result: Workload) -> None:
            assert (result.epoch, result.name, result.holder) == (1, "", "")
            self.given[result.port_id] = result
            self.put(Seen(result.port_id, node, 1))

        return lambda tx: warm(tx, node, WarmOrder(count=1, network="pods"), project_id=PROJECT), check

    def claiming(self, data: st.DataObject) -> Step:
        if not self.once:
            return self.warming(data)
        port = data.draw(st.sampled_from(self.once))
        name, node, policy = data.draw(st.tuples(NAMES, NODES, POLICIES))
        node = port.node if port.node is not None and data.draw(st.booleans()) else node
        epoch = port.epoch + data.draw(st.sampled_from((0, 0, 0, 1)))
        claimed = [each for each in self.once if each.id == port.id and each.holder]
        if claimed and data.draw(st.booleans()):
            name, holder, policy = claimed[-1].name, claimed[-1].holder, claimed[-1].policy
        else:
            holder = self.new_holder()
        asked = WorkloadClaim(port_id=port.id, epoch=epoch, name=name, holder=holder, release=policy)

        def check(result: Workload | WeftError) -> None:
            now, older = self.ports.get(port.id), self.of_name(name)
            wanted = Seen(port.id, node, epoch, name, holder, ephemeral=True, policy=policy)
            if now is None or now.node != node:
                assert isinstance(result, NotFound), result
            elif now.epoch != epoch:
                self.refused(result, "EpochMismatch")
            elif now == replace(wanted, beside=now.beside):
                assert isinstance(result, Workload), result
                assert result.epoch == epoch
            elif now.name:
                self.refused(result, "WorkloadClaimed")
            else:
                assert isinstance(result, Workload), result
                assert (result.port_id, result.epoch, result.holder) == (port.id, epoch, holder)
                self.put(replace(wanted, beside=self.supersede(older)))

        return lambda tx: claim(tx, node, asked, project_id=PROJECT), check

    def supersede(self, older: Seen | None) -> bool:
        """Another port is a name's container's now; tell whether the name keeps its older one."""
        if older is None:
            return False
        if older.node is None or older.then != "now":
            return True
        del self.ports[older.id]
        return False

    def deleting(self, data: st.DataObject) -> Step:
        """Somebody deletes a port, whatever it is."""
        if not self.once:
            return self.warming(data)
        port = data.draw(st.sampled_from(self.once))

        def check(result: WeftError | None) -> None:
            assert isinstance(result, NotFound) is (self.ports.pop(port.id, None) is None)

        return lambda tx: delete_port(tx, PortId(port.id)), check

    def renewing(self, data: st.DataObject) -> Step:
        """An agent asks for a port in place of one that it has given to a container, and that was deleted."""
        if not self.given:
            return self.warming(data)
        former = self.given[data.draw(st.sampled_from(sorted(self.given)))]
        name, node, policy = data.draw(st.tuples(NAMES, NODES, POLICIES))
        holder = self.new_holder()
        again = [each for each in self.once if each.holder and self.given[each.id].mac == former.mac]
        if again and data.draw(st.booleans()):
            before = data.draw(st.sampled_from(again))
            name, node, holder, policy = before.name, before.node or node, before.holder, before.policy
        asked = WorkloadRequest(
            name=name,
            holder=holder,
            network="pods",
            ephemeral=True,
            release=policy,
            mac=former.mac,
            instead_of=former.port_id,
            addresses=tuple(each.address for each in former.addresses),
        )

        def check(result: Workload | WeftError) -> None:
            same = next((each for each in self.ports.values() if self.given[each.id].mac == former.mac), None)
            if former.port_id in self.ports:
                self.refused(result, "WorkloadThere")
            elif same is not None:
                wanted = replace(same, node=node, holder=holder, ephemeral=True, policy=policy)
                assert isinstance(result, Workload if wanted == same else Conflict), result
                assert not isinstance(result, Workload) or result.port_id == same.id
            else:
                assert isinstance(result, Workload), result
                assert (result.epoch, result.addresses) == (1, former.addresses)
                self.given[result.port_id] = result
                beside = self.supersede(self.of_name(name))
                self.put(Seen(result.port_id, node, 1, name, holder, policy=policy, beside=beside))

        return lambda tx: attach(tx, node, asked, project_id=PROJECT), check

    @staticmethod
    def refused(result: object, kind: str) -> None:
        assert isinstance(result, Conflict), result
        assert result.kind == kind

    def releasing(self, data: st.DataObject) -> Step:
        """A deletion by whoever was a holder once: the present one, a late one, one on another node."""
        known = [each for each in self.once if each.node is not None]
        if not known:
            return self.warming(data)
        late = data.draw(st.sampled_from(known))
        node = data.draw(NODES) if data.draw(st.integers(0, 4)) == 0 else late.node
        assert node is not None
        by_port = not late.name or data.draw(st.booleans())
        asked = WorkloadRelease(name=late.name, holder=late.holder, port_id=late.id if by_port else None)

        def check(result: bool) -> None:
            now = self.ports.get(late.id) if by_port else self.of_name(late.name)
            its_own = now is not None and (now.node, now.holder) == (node, late.holder)
            assert result is its_own
            if now is not None and its_own:
                self.let_go(now)

        return lambda tx: release(tx, node, asked, project_id=PROJECT), check

    def losing(self, data: st.DataObject) -> Step:
        """The word of who knows that a node is gone, of a port as it was there once."""
        known = [each for each in self.once if each.node is not None]
        if not known:
            return self.warming(data)
        lost = data.draw(st.sampled_from(known))

        def work(tx: Transaction) -> bool:
            assert lost.node is not None
            return release_lost(tx, lost.node, PortId(lost.id), Epoch(lost.epoch), actor="operator")

        def check(result: bool) -> None:
            now = self.ports.get(lost.id)
            there = now is not None and (now.node, now.epoch) == (lost.node, lost.epoch)
            assert result is there
            if now is not None and there:
                self.let_go(now)

        return work, check

    def new_holder(self) -> str:
        self.holders += 1
        return f"container-{self.holders}"

    # --- what happens

    @rule(data=st.data(), count=st.integers(1, 5))
    def together(self, data: st.DataObject, count: int) -> None:
        """Ask several things at once: they are done in order, in one commit."""
        kinds = (
            self.attaching,
            self.warming,
            self.claiming,
            self.claiming,
            self.releasing,
            self.releasing,
            self.losing,
            self.deleting,
        )
        self.run([data.draw(st.sampled_from(kinds))(data) for _ in range(count)])

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """Alone: an agent hears that its claim was refused once the deletion is committed."""
        self.run([self.renewing(data)])

    def run(self, steps: list[Step]) -> None:
        async def run() -> list[Any]:
            works = (self.world.store.transact(work) for work, _ in steps)
            return await asyncio.gather(*works, return_exceptions=True)

        for (_, check), result in zip(steps, self.do(run()), strict=True):
            assert not isinstance(result, BaseException) or isinstance(result, WeftError), result
            check(result)

    @rule(seconds=st.sampled_from((1.0, 30.0, HOLD_S)))
    def wait(self, seconds: float) -> None:
        """Time passes, and the sweep comes by."""
        self.world.clock.advance(seconds)
        now = self.world.clock.now
        while self.do(self.world.store.read(lambda snapshot: bool(overdue(snapshot, now + 0.001, 1)))):
            if not self.do(self.world.store.transact(lambda tx: release_due(tx, 2))):
                break
        self.ports = {
            id_: each
            for id_, each in self.ports.items()
            if each.until is None or int(each.until * 1000) >= int(now * 1000)
        }

    @rule(data=st.data(), cluster=st.sampled_from(("c", "d")))
    def object_gone(self, data: st.DataObject, cluster: str) -> None:
        """The orchestrator looks at what is held for objects, somebody is faster, then it says which are gone."""
        held = self.do(self.world.store.read(lambda snapshot: held_for_objects(snapshot, cluster)))
        expected = [
            each
            for each in self.ports.values()
            if each.node is None and each.then == "with-object" and each.name.startswith(cluster)
        ]
        assert sorted((each.port_id, each.epoch) for each in held) == sorted((each.id, each.epoch) for each in expected)
        if held and data.draw(st.booleans()):
            self.together(data, 4)
        for each in held:
            now = self.ports.get(each.port_id)
            still = now is not None and now.node is None and now.epoch == each.epoch and now.then == "with-object"
            done = self.do(
                self.world.store.transact(lambda tx, of=each: release_held(tx, of.port_id, of.epoch, actor="kube"))  # type: ignore[misc]
            )
            assert done is still
            if still:
                del self.ports[each.port_id]

    @rule(data=st.data(), node=NODES, between=st.booleans())
    def agent_says_what_it_has(self, data: st.DataObject, node: NodeName, between: bool) -> None:
        """An agent has lost some ports; what is asked for between its two statements is not released."""
        lost = {each.id for each in self.ports.values() if each.node == node and data.draw(st.booleans())}
        earlier = self.state(node, lost)
        before = {(id_, self.ports[id_].epoch) for id_ in lost - earlier}
        for id_ in earlier:
            self.let_go(self.ports[id_])
        self.world.clock.advance(MISSING_S)
        if between:
            self.together(data, 1)
        after = [each for each in self.ports.values() if each.node == node]
        released = self.state(node, {each.id for each in after if (each.id, each.epoch) in before})
        assert released <= {id_ for id_, _ in before}
        if not between:
            assert earlier | released == lost
        for id_ in released:
            self.let_go(self.ports[id_])

    def state(self, node: NodeName, lost: set[str]) -> set[str]:
        """Let an agent state all but what it has lost; what that releases was lacking in its last statement, too."""
        stated = tuple(
            WorkloadPresent(port_id=each.id, epoch=each.epoch, holder=each.holder)
            for each in self.ports.values()
            if each.node == node and each.id not in lost
        )
        found = self.do(self.world.store.read(lambda snapshot: compare(snapshot, node, stated)))
        assert found.missing.keys() == lost
        assert (found.stray, found.held_by_others) == ((), ())
        released = set(self.do(self.world.store.transact(lambda tx: settle(tx, node, found))))
        assert {(id_, self.ports[id_].epoch) for id_ in released} <= self.lacked[node]
        self.lacked[node] = {(id_, self.ports[id_].epoch) for id_ in lost - released}
        return released

    @invariant()
    def what_is_there_is_what_the_model_has(self) -> None:
        views = self.do(self.world.store.read(lambda snapshot: snapshot.ports()))
        there = {}
        for view in views:
            assert view.port.device_owner == OWNER
            current = view.life.current
            there[view.port.id] = (
                view.port.name,
                current and current.node,
                str(current.profile["holder"]) if current else "",
                view.life.epoch,
            )
        assert there == {each.id: (each.name, each.node, each.holder, each.epoch) for each in self.ports.values()}
        addresses = [ip.address for view in views for ip in view.port.fixed_ips]
        assert len(addresses) == len(set(addresses)) == len(views)
        names = [each.name for each in self.ports.values() if each.name and not each.beside]
        assert len(names) == len(set(names))
        assert self.count(Kind.WORKLOAD_NAME) == len(names)
        waiting = [each for each in self.ports.values() if each.node is None and each.then != "never"]
        assert self.count(Kind.HELD_WORKLOAD) == len(waiting)

    def count(self, kind: Kind) -> int:
        return int(self.do(self.world.store.read(lambda snapshot: snapshot.count_records(kind))))


TestWorkloads = WorkloadMachine.TestCase
TestWorkloads.settings = settings(
    max_examples=examples(25), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
