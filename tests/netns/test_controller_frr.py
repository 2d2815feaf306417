"""The fabric controller on real switches: from a bound port to packets, and back when a switch loses its memory."""

import asyncio
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from frr_fabric import ADDRESSES, PATIENCE, FrrFabric, until

from weft.controller.fabric import FabricController
from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkSpec, create_network
from weft.intent.ports import PortSpec, create_port, delete_port
from weft.intent.routers import RouterSpec, add_interface, create_router
from weft.intent.subnets import SubnetSpec, create_subnet
from weft.lab import switch
from weft.model import steps
from weft.model.ids import NetworkId, NodeName, PortId, SwitchName
from weft.ports.machine import State
from weft.protocol.inventory import decode
from weft.store import PortView, Store, Transaction
from weft.store.views import SwitchState
from weft.switches.driver import DriverSettings, driver_for

pytestmark = pytest.mark.netns

NETWORKS = {"web": "10.0.1.0/24", "db": "10.0.2.0/24"}
WIRE = {
    "sites": [{"name": "private", "fabric": {}}],
    "switches": [
        {"name": name, "site": "private", "role": name.rstrip("0123456789"), "management": address}
        for name, address in ADDRESSES.items()
    ],
    "nodes": [{"name": f"bm{leaf}", "site": "private", "dataplane": "none"} for leaf in (1, 2)],
    "links": [
        *({"a": f"leaf{leaf}:eth1", "b": f"spine1:eth{leaf}"} for leaf in (1, 2)),
        *({"a": f"leaf{leaf}:eth13", "b": f"bm{leaf}:nic", "management": False} for leaf in (1, 2)),
    ],
}

ZEBRAS_KILLED = 4
DRIFTS = ("ip link set eth1 down", "vtysh -c 'conf t' -c 'router bgp 65101' -c 'neighbor 10.254.0.1 shutdown'")


class Server:
    """A store and a controller, in the loop from which the switches can be reached."""

    def __init__(self, fabric: FrrFabric) -> None:
        self._fabric = fabric
        self._settings = DriverSettings(key_file=fabric.folder / "key")

    def start(self, database: Path) -> None:
        self._fabric.run(self._start(database))

    async def _start(self, database: Path) -> None:
        self.store = await Store.open(f"sqlite:///{database}")
        await self.store.transact(lambda tx: replace_inventory(tx, decode(WIRE)))
        self.controller = FabricController(self.store, lambda switch: driver_for(switch, self._settings))
        self._task = asyncio.create_task(self.controller.run())

    def stop(self) -> None:
        self._fabric.run(self._stop())

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.store.close()

    def create(self) -> dict[str, NetworkId]:
        """Create a router with two networks."""

        def work(tx: Transaction) -> dict[str, NetworkId]:
            router = create_router(tx, RouterSpec(project_id="p", name="r1"))
            made = {}
            for name, cidr in NETWORKS.items():
                network = create_network(tx, NetworkSpec(project_id="p", name=name))
                spec = SubnetSpec(project_id="p", network_id=network.id, cidr=ipaddress.ip_network(cidr))
                add_interface(tx, router.id, subnet_id=create_subnet(tx, spec).id)
                made[name] = network.id
            return made

        return self._fabric.run(self.store.transact(work))

    def spawn(self, network: NetworkId, node: str) -> PortView:
        spec = PortSpec(project_id="p", network_id=network, name=f"on-{node}", node=NodeName(node))
        return self._fabric.run(self.store.transact(lambda tx: create_port(tx, spec)))

    def delete(self, port: PortId) -> None:
        self._fabric.run(self.store.transact(lambda tx: delete_port(tx, port)))

    def state(self, port: PortId) -> State:
        view = self._fabric.run(self.store.read(lambda snapshot: snapshot.port(port)))
        assert view is not None
        return view.life.state

    def states_passed(self, port: PortId) -> list[str]:
        history = self._fabric.run(self.store.read(lambda snapshot: snapshot.history(port)))
        return [entry.after for entry in history if entry.step == steps.STATE]

    def in_sync(self) -> bool:
        seen = self._fabric.run(self.store.read(lambda snapshot: snapshot.switch_statuses()))
        return len(seen) == len(ADDRESSES) and all(each.state is SwitchState.IN_SYNC for each in seen.values())

    def kick(self, switch: str) -> None:
        async def kick() -> None:
            self.controller.kick(SwitchName(switch))

        self._fabric.run(kick())


@pytest.fixture
def fabric() -> Iterator[FrrFabric]:
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces: run them as root, with `make test`")
    made = FrrFabric()
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def server(fabric: FrrFabric, tmp_path: Path) -> Iterator[Server]:
    made = Server(fabric)
    made.start(tmp_path / "weft.db")
    yield made
    made.stop()


def test_bound_ports_reach_each_other_also_after_a_switch_lost_its_memory(fabric: FrrFabric, server: Server) -> None:
    until("all switches are in sync", server.in_sync, deadline_s=20.0)
    until("all BGP sessions are established", fabric.sessions_are_up, deadline_s=20.0)
    networks = server.create()
    web, db = server.spawn(networks["web"], "bm1"), server.spawn(networks["db"], "bm2")
    for view in (web, db):
        until("the port is ACTIVE", lambda port=view.port.id: server.state(port) is State.ACTIVE, deadline_s=10.0)
        assert server.states_passed(view.port.id) == ["ALLOCATED", "BINDING", "ACTIVE"]
    one, other = (
        fabric.host(name, leaf, "eth13", 0, f"{view.port.fixed_ips[0].address}/24", gateway)
        for name, leaf, view, gateway in (("w1", "leaf1", web, "10.0.1.1"), ("d1", "leaf2", db, "10.0.2.1"))
    )
    until("web reaches db", lambda: one.ping(other.address), deadline_s=8.0)

    for by_hand in DRIFTS:  # what somebody does on a switch is found as it tells of it, long before it is read anyway
        fabric.on("leaf1", "bash", "-c", by_hand)
        until(f"{by_hand!r} is drift", lambda: not fabric.sessions_are_up() or not server.in_sync())
        until(f"{by_hand!r} is repaired", lambda: server.in_sync() and fabric.sessions_are_up(), deadline_s=15.0)
    until("web reaches db after that", lambda: one.ping(other.address), deadline_s=8.0)
    for _ in range(ZEBRAS_KILLED):
        switch.kill_daemon(fabric.pids["leaf1"], "zebra")
        until("the way back to web is lost", lambda: not one.ping(other.address, wait_s=0.1))
        until("it is found again", lambda: one.ping(other.address), deadline_s=15.0)

    fabric.run(fabric.power_off("leaf1"))
    fabric.run(fabric.boot("leaf1"))
    server.kick("leaf1")
    until(
        "the port was lost and is back",
        lambda: server.states_passed(web.port.id)[-2:] == ["DEGRADED", "ACTIVE"],
        deadline_s=30.0,
    )
    until("all BGP sessions are established", fabric.sessions_are_up, deadline_s=20.0)
    until("web reaches db again", lambda: one.ping(other.address), deadline_s=8.0 * PATIENCE)

    for view in (web, db):
        server.delete(view.port.id)
    until("nothing of the tenant is left", lambda: not _carried(fabric), deadline_s=10.0)


def _carried(fabric: FrrFabric) -> list[object]:
    configs = [fabric.observe(leaf).config for leaf in ("leaf1", "leaf2")]
    return [each for config in configs for each in (*config.vrfs, *config.segments, *config.attachments)]
