"""Quotas, security groups and subnet pools against a plain model, for any order of requests: exact, nothing twice."""

import asyncio
import contextlib
import tempfile
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from core_world import World, world
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.thorough import examples

from weft.intent.networks import NetworkSpec, create_network, delete_network
from weft.intent.ports import PortSpec, create_port, delete_port
from weft.intent.quotas import KINDS, set_quota, used_by
from weft.intent.security_groups import SecurityGroupSpec, create_group, delete_group
from weft.intent.subnet_cuts import cut
from weft.intent.subnet_pools import SubnetPoolSpec, create_pool
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, PortId
from weft.store import Transaction

PROJECTS = st.sampled_from(("red", "blue"))
MANY = 1000
"""More than a machine makes."""
POOL = IPv4Network("10.0.0.0/26")


class QuotaMachine(RuleBasedStateMachine):
    """Two projects that create and delete, in pieces of work that run in one group."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.world: World = self.do(self.stack.enter_async_context(world(folder)))
        spec = SubnetPoolSpec(project_id="", prefixes=(POOL,), shared=True, min_prefixlen=28, max_prefixlen=30)
        self.pool = self.do(self.world.store.transact(lambda tx: create_pool(tx, spec))).id
        self.limits: dict[tuple[str, str], int] = {}
        self.networks: dict[NetworkId, tuple[str, IPv4Network]] = {}
        self.ports: dict[PortId, tuple[str, NetworkId, str | None]] = {}
        self.groups: dict[str, str] = {}
        self.defaults: set[str] = set()
        """Projects that have their default group."""

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def together(self, works: list[Any]) -> list[Any]:
        """Run pieces of work at once, and return what each returned, or its Conflict."""

        async def run() -> list[Any]:
            return await asyncio.gather(*(self.world.store.transact(work) for work in works), return_exceptions=True)

        found = self.do(run())
        assert all(not isinstance(each, BaseException) or isinstance(each, Conflict) for each in found), found
        return found

    def room(self, project: str, resource: str) -> int:
        limit = self.limits.get((project, resource), -1)
        counted = {"network": self.networks, "port": self.ports}[resource]
        own = sum(each[0] == project for each in counted.values())
        return MANY if limit == -1 else max(limit - own, 0)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.loop.close()

    @rule(project=PROJECTS, resource=st.sampled_from(("network", "port")), limit=st.integers(-1, 4))
    def limit(self, project: str, resource: str, limit: int) -> None:
        self.do(self.world.store.transact(lambda tx: set_quota(tx, project, {resource: limit})))
        self.limits[project, resource] = limit

    @rule(project=PROJECTS, length=st.integers(28, 30), count=st.integers(1, 4))
    def add_networks(self, project: str, length: int, count: int) -> None:
        def work(tx: Transaction) -> tuple[NetworkId, IPv4Network]:
            network = create_network(tx, NetworkSpec(project_id=project))
            cidr = cut(tx, self.pool, project, 4, prefixlen=length)
            create_subnet(tx, SubnetSpec(project_id="", network_id=network.id, cidr=cidr, subnetpool_id=self.pool))
            assert isinstance(cidr, IPv4Network)
            return network.id, cidr

        room = self.room(project, "network")
        found = self.together([work] * count)
        made = [each for each in found if not isinstance(each, Conflict)]
        for each in found:
            if isinstance(each, Conflict):
                assert each.kind == ("OverQuota" if len(made) >= room else "SubnetAllocationError")
        assert len(made) <= room
        for id_, cidr in made:
            assert not any(cidr.overlaps(other) for _, other in self.networks.values())
            self.networks[id_] = (project, cidr)
        if len(made) < min(count, room):
            free = [each for each in POOL.subnets(new_prefix=length) if not self.taken(each)]
            assert free == []

    def taken(self, cidr: IPv4Network) -> bool:
        return any(cidr.overlaps(other) for _, other in self.networks.values())

    @rule(data=st.data(), project=PROJECTS, count=st.integers(1, 4), own=st.booleans())
    def add_ports(self, data: st.DataObject, project: str, count: int, own: bool) -> None:
        if not self.networks:
            return
        network = data.draw(st.sampled_from(sorted(self.networks)))
        groups = sorted(id_ for id_, owner in self.groups.items() if owner == project)
        group = data.draw(st.sampled_from(groups)) if own and groups else None
        spec = PortSpec(
            project_id=project, network_id=network, fixed_ips=(), security_groups=None if group is None else (group,)
        )
        room = self.room(project, "port")
        found = self.together([lambda tx: create_port(tx, spec)] * count)
        made = [each for each in found if not isinstance(each, Conflict)]
        assert len(made) == min(count, room)
        if made and group is None:
            self.defaults.add(project)
        for view in made:
            self.ports[view.port.id] = (project, network, group)

    @rule(project=PROJECTS)
    def add_group(self, project: str) -> None:
        group = self.do(self.world.store.transact(lambda tx: create_group(tx, SecurityGroupSpec(project_id=project))))
        self.groups[group.id] = project
        self.defaults.add(project)

    @rule(data=st.data())
    def drop_port(self, data: st.DataObject) -> None:
        if self.ports:
            id_ = data.draw(st.sampled_from(sorted(self.ports)))
            self.do(self.world.store.transact(lambda tx: delete_port(tx, id_)))
            del self.ports[id_]

    @rule(data=st.data())
    def drop_network(self, data: st.DataObject) -> None:
        if self.networks:
            id_ = data.draw(st.sampled_from(sorted(self.networks)))
            (found,) = self.together([lambda tx: delete_network(tx, id_)])
            used = any(network == id_ for _, network, _ in self.ports.values())
            assert isinstance(found, Conflict) == used
            if not used:
                del self.networks[id_]

    @rule(data=st.data())
    def drop_group(self, data: st.DataObject) -> None:
        if self.groups:
            id_ = data.draw(st.sampled_from(sorted(self.groups)))
            (found,) = self.together([lambda tx: delete_group(tx, id_)])
            used = any(group == id_ for _, _, group in self.ports.values())
            assert isinstance(found, Conflict) == used
            if not used:
                del self.groups[id_]

    @invariant()
    def counts_are_exact(self) -> None:
        for project in ("red", "blue"):
            used = self.do(self.world.store.read(lambda snapshot, of=project: used_by(snapshot, of)))
            groups = [owner for owner in self.groups.values() if owner == project]
            default = project in self.defaults
            rules = 2 * len(groups) + 4 * default
            assert used == dict.fromkeys(KINDS, 0) | {
                "network": sum(owner == project for owner, _ in self.networks.values()),
                "port": sum(owner == project for owner, _, _ in self.ports.values()),
                "security_group": len(groups) + default,
                "security_group_rule": rules,
            }


TestQuotas = QuotaMachine.TestCase
TestQuotas.settings = settings(
    max_examples=examples(25), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
