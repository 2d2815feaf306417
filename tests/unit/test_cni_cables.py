"""Cables as rows of Open vSwitch's database, written and read back; what is anybody else's is left alone."""

from typing import Any

import msgspec

from weft.agent.cni.cables import (
    LET_GO,
    Cable,
    CableIndex,
    cable_of,
    free_labels,
    insertion,
    is_host_end,
    labels_of,
    new_names,
    relabel,
    removal,
    warm_labels,
)
from weft.agent.ovs.database import _is_labelled
from weft.protocol.node import AddressDesired
from weft.protocol.workload import Workload

WORKLOAD = Workload(
    port_id="p1",
    name="c1/default/db-0",
    holder="abc",
    project_id="p",
    epoch=3,
    state="ACTIVE",
    mac="fa:16:3e:00:00:01",
    mtu_bytes=1450,
    addresses=(AddressDesired(address="10.0.0.5", prefixlen=24, gateway="10.0.0.1"),),
)


def tables(**interfaces: dict[str, str]) -> dict[str, Any]:
    """Rows of br-int with an interface for each device, by its external_ids."""
    return {
        "Open_vSwitch": {"root": {"bridges": ["uuid", "br"]}},
        "Bridge": {"br": {"name": "br-int", "ports": ["set", [["uuid", f"port-{name}"] for name in interfaces]]}},
        "Port": {f"port-{name}": {"name": name, "interfaces": ["uuid", f"if-{name}"]} for name in interfaces},
        "Interface": {
            f"if-{name}": {"name": name, "ofport": 5, "external_ids": ["map", [list(pair) for pair in ids.items()]]}
            for name, ids in interfaces.items()
        },
    }


def look(**interfaces: dict[str, str]) -> list[Cable]:
    return CableIndex().look(tables(**{name.replace("_", "-"): ids for name, ids in interfaces.items()}))


def test_what_a_cable_says_is_read_back() -> None:
    free = Cable(name="weft-c1", interface="if-weft-c1", ofport=5, is_device=False)
    warm = msgspec.structs.replace(free, workload=WORKLOAD, pool="[]", is_device=True)
    taken = msgspec.structs.replace(
        warm, container_id="abc", ifname="eth0", network="n", project="p", owed="claim", release="now"
    )
    for cable in (free, warm, taken):
        assert look(weft_c1=labels_of(cable)) == [cable]
    assert (free.is_free, free.is_warm, free.is_plugged) == (True, False, False)
    assert (warm.is_free, warm.is_warm, warm.is_plugged) == (False, True, False)
    assert (taken.is_free, taken.is_warm, taken.is_plugged) == (False, False, True)


def test_a_cable_that_is_left_is_neither_warm_nor_plugged() -> None:
    gone = Cable(name="weft-c1", workload=WORKLOAD, container_id="abc", owed=LET_GO)
    assert not (gone.is_free)
    assert not (gone.is_warm)
    assert not (gone.is_plugged)
    given_back = Cable(name="weft-c1", workload=WORKLOAD, owed=LET_GO)
    assert not (given_back.is_free)
    assert not (given_back.is_warm)


def test_a_port_that_another_cable_has_by_now_is_not_taken_back() -> None:
    old = labels_of(Cable(name="weft-c1", workload=WORKLOAD, container_id="abc", is_device=False))
    [cable] = look(weft_c1=old)
    assert "iface-id" not in labels_of(msgspec.structs.replace(cable, owed=LET_GO))


def test_others_devices_are_no_cables() -> None:
    assert look(tap1={"iface-id": "vm"}, weft_c1={"iface-id": "marked by nobody"}, eth9=free_labels()) == []


def test_what_a_later_version_wrote_does_not_stop_this_one() -> None:
    [cable] = look(
        weft_c1={**warm_labels(WORKLOAD, "[]"), "weft-port": '{"from": "the future"}', "weft-container": "x"}
    )
    assert (cable.workload, cable.container_id) == (None, "x")


def test_rows_are_read_anew_only_when_they_change() -> None:
    index, rows = CableIndex(), tables(**{"weft-c1": free_labels()})
    [first] = index.look(rows)
    assert index.look(rows)[0] is first
    rows["Interface"]["if-weft-c1"] = {**rows["Interface"]["if-weft-c1"], "ofport": 6}
    assert index.look(rows)[0].ofport == 6


def test_new_cables_have_the_lowest_free_numbers_and_pairs_the_same() -> None:
    assert new_names({"weft-c0", "weft-c2"}, 3) == ["weft-c1", "weft-c3", "weft-c4"]
    assert Cable(name="weft-c7").host_end == "weft-v7"
    assert cable_of("weft-v7") == "weft-c7"
    assert is_host_end("weft-v7")
    assert not is_host_end("weft-c7")


def test_cables_are_internal_ports_made_and_removed_together() -> None:
    operations = insertion(tables(), {"weft-c0": free_labels(), "weft-c1": free_labels()})
    assert [each["table"] for each in operations] == ["Interface", "Port", "Interface", "Port", "Bridge"]
    assert operations[0]["row"]["type"] == "internal"
    [gone] = removal(tables(**{"weft-c0": {}, "weft-c1": {}, "tap1": {}}), ["weft-c1"])
    assert gone["mutations"] == [["ports", "delete", ["set", [["uuid", "port-weft-c1"]]]]]
    nothing: dict[str, Any] = {"Open_vSwitch": {}, "Bridge": {}, "Port": {}, "Interface": {}}
    assert insertion(nothing, {"weft-c0": {}}) == []


def test_a_label_is_written_over_and_others_keys_stay() -> None:
    [delete, insert] = relabel("row", free_labels())["mutations"]
    assert "iface-id" in delete[2][1]
    assert "vm-uuid" not in delete[2][1]
    assert insert == ["external_ids", "insert", ["map", [["weft-cable", "1"]]]]


def test_own_labels_wake_nobody_and_what_others_write_does() -> None:
    before = {"name": "weft-c1", "ofport": 5, "external_ids": ["map", [["iface-id", "p"], ["weft-cable", "1"]]]}

    def after(**change: Any) -> dict[str, Any]:
        return {**before, **change}

    assert _is_labelled(before, after(external_ids=["map", [["iface-id", "p"], ["weft-container", "x"]]]))
    assert not _is_labelled(before, after(external_ids=["map", [["iface-id", "q"], ["weft-cable", "1"]]]))
    assert not _is_labelled(before, after(ofport=6))
    assert not _is_labelled(None, before)
    assert not _is_labelled(before, None)
