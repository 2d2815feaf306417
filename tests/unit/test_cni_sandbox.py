"""A container's cable as lines for iproute2, and its row in Open vSwitch's database, written and found again."""

from typing import Any

from weft.agent.cni.sandbox import Plugged, insertion, lines_of, plugged, removal
from weft.protocol.node import AddressDesired
from weft.protocol.workload import Workload

WORKLOAD = Workload(
    port_id="01a2-0123456789ab",
    name="c1/default/db-0",
    holder="abc",
    project_id="p",
    epoch=1,
    state="BINDING",
    mac="fa:16:3e:00:00:01",
    mtu_bytes=1450,
    addresses=(
        AddressDesired(address="10.0.0.5", prefixlen=24, gateway="10.0.0.1"),
        AddressDesired(address="2001:db8::5", prefixlen=64, gateway="2001:db8::1"),
        AddressDesired(address="10.0.9.5", prefixlen=24),
    ),
)


def test_the_lines_of_a_dual_stack_container() -> None:
    assert lines_of("eth0", WORKLOAD, 7) == [
        "link add eth0 address fa:16:3e:00:00:01 mtu 1450 type veth peer name tap456789ab mtu 1450 netns 7",
        "address add 10.0.0.5/24 dev eth0",
        "address add 2001:db8::5/64 dev eth0 nodad",
        "address add 10.0.9.5/24 dev eth0",
        "link set eth0 up",
        "link set lo up",
        "route replace default via 2001:db8::1 dev eth0",
        "route replace default via 10.0.0.1 dev eth0",
    ]


def tables(**interfaces: dict[str, str]) -> dict[str, Any]:
    """Rows of br-int with an interface for each device, by its external_ids."""
    return {
        "Open_vSwitch": {"root": {"bridges": ["uuid", "br"]}},
        "Bridge": {"br": {"name": "br-int", "ports": ["set", [["uuid", f"port-{name}"] for name in interfaces]]}},
        "Port": {f"port-{name}": {"name": name, "interfaces": ["uuid", f"if-{name}"]} for name in interfaces},
        "Interface": {
            f"if-{name}": {"name": name, "external_ids": ["map", [[key, value] for key, value in ids.items()]]}
            for name, ids in interfaces.items()
        },
    }


def test_what_is_written_is_found_again_and_what_is_anothers_is_not() -> None:
    written = insertion(tables(), WORKLOAD, ifname="eth0", network="pods", project=None)
    ids = dict(written[0]["row"]["external_ids"][1])
    assert ids["iface-id"] == WORKLOAD.port_id, "the agent takes it for any device of a port"
    found = list(plugged(tables(tap456789ab=ids, tapvm={"iface-id": "vm"})))
    assert found == [
        Plugged(
            device="tap456789ab",
            port="port-tap456789ab",
            port_id=WORKLOAD.port_id,
            container_id="abc",
            ifname="eth0",
            network="pods",
            name="c1/default/db-0",
            project="",
        )
    ]
    [taken] = removal(tables(tap456789ab=ids), found[0].port)
    assert taken["mutations"] == [["ports", "delete", ["set", [["uuid", "port-tap456789ab"]]]]]


def test_without_br_int_nothing_is_there() -> None:
    nothing: dict[str, Any] = {"Open_vSwitch": {}, "Bridge": {}, "Port": {}, "Interface": {}}
    assert list(plugged(nothing)) == []
    assert removal(nothing, "port") == []
