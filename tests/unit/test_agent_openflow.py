"""OpenFlow on the wire: what is written reads back, streams are cut right, known bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.ovs import openflow
from weft.agent.ovs.flow import WIDTH_BYTES, Field, Flow, Output, PopVlan, PushVlan, SetField, match
from weft.agent.ovs.openflow import Message, Wipe
from weft.model.errors import Permanent


def field_values(field: Field) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * WIDTH_BYTES[field]) - 1)


@st.composite
def matches(draw: st.DrawFn) -> tuple[tuple[Field, int, int | None], ...]:
    fields = draw(st.sets(st.sampled_from(list(Field)), max_size=8))
    return match([(field, draw(field_values(field)), draw(st.none() | field_values(field))) for field in fields])


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    field = draw(st.sampled_from(list(Field)))
    return SetField(field, draw(field_values(field)))


ACTIONS = st.one_of(
    st.builds(Output, st.integers(0, 0xFFFFFFFF)), st.builds(PushVlan), st.builds(PopVlan), set_fields()
)
FLOWS = st.builds(
    Flow,
    table=st.integers(0, 254),
    priority=st.integers(0, 0xFFFF),
    match=matches(),
    actions=st.lists(ACTIONS, max_size=5).map(tuple),
    goto=st.none() | st.integers(0, 254),
    cookie=st.integers(0, (1 << 64) - 1),
)


def stats_of(flow_mod: bytes) -> bytes:
    """Return the statistics entry that a switch would answer for a flow that it was given by `flow_mod`."""
    cookie, table, priority = flow_mod[8:16], flow_mod[24:25], flow_mod[30:32]
    rest = flow_mod[48:]
    head = table + bytes(9) + priority + bytes(10) + cookie + bytes(16)
    return (len(head) + 2 + len(rest)).to_bytes(2, "big") + head + rest


@given(flow=FLOWS)
def test_a_flow_that_is_written_reads_back(flow: Flow) -> None:
    messages, _ = openflow.split(openflow.bundle(7, 1, (), (flow,))[0])
    (added,) = [message for message in messages if message.kind == openflow.BUNDLE_ADD]
    body = b"\0\1\0\0\0\0\0\0" + stats_of(added.body[8:])
    assert openflow.flow_reply(body) == ([flow], False)


def test_known_bytes() -> None:
    """Field by field as in the specification's structures: ofp_bundle_add_msg, ofp_flow_mod, ofp_match, actions."""
    flow = Flow(10, 50, match([(Field.IN_PORT, 5), (Field.ETH_TYPE, 0x0800)]), (Output(7),), 20, 0x1234)
    (_, added, _, _) = openflow.split(openflow.bundle(1, 9, (), (flow,))[0])[0]
    assert added.body.hex() == (
        "0000000900000003"  # bundle id, padding, atomic and ordered
        "050e006800000002"  # the flow_mod's own header, with the transaction id of the outer one
        "000000000000123400000000000000000a00000000000032"
        "ffffffffffffffffffffffff00000000"
        "00010012800000040000000580000a020800000000000000"
        "00040018000000000000001000000007ffff000000000000"
        "0001000814000000"
    )  # fmt: skip
    assert added.xid == 2


def test_flows_go_before_flows_come_and_a_wipe_before_all() -> None:
    old, new = Flow(1, 1, ()), Flow(2, 2, ())
    data, next_xid = openflow.bundle(5, 1, (old,), (new,), Wipe(0x77, 0xFF))
    messages, _ = openflow.split(data)
    commands = [message.body[8 + 25] for message in messages if message.kind == openflow.BUNDLE_ADD]
    assert commands == [3, 4, 0]  # delete, delete strictly, add
    assert [message.xid for message in messages] == [5, 6, 7, 8, 9, 10]
    assert next_xid == 11
    controls = [openflow.bundle_control(m.body) for m in messages if m.kind == openflow.BUNDLE_CONTROL]
    assert controls == [(1, openflow.OPEN), (1, openflow.CLOSE), (1, openflow.COMMIT)]


@given(bodies=st.lists(st.binary(max_size=40), max_size=5), cut=st.integers(0, 300))
def test_a_stream_is_cut_into_its_messages_wherever_it_breaks(bodies: list[bytes], cut: int) -> None:
    stream = b"".join(openflow.message(openflow.ECHO_REQUEST, xid, body) for xid, body in enumerate(bodies))
    first, rest = openflow.split(stream[:cut])
    second, rest = openflow.split(rest + stream[cut:])
    assert first + second == [Message(openflow.ECHO_REQUEST, xid, body) for xid, body in enumerate(bodies)]
    assert rest == b""


def test_a_message_without_length_is_refused() -> None:
    with pytest.raises(Permanent, match="length of 4 bytes"):
        openflow.split(bytes([5, 0, 0, 4, 0, 0, 0, 0]))


def test_a_flow_with_too_many_outputs_is_refused_before_it_is_sent() -> None:
    flow = Flow(0, 1, (), tuple(Output(number) for number in range(5000)))
    with pytest.raises(Permanent, match="longer than the 65535"):
        openflow.bundle(1, 1, (), (flow,))


def test_a_field_that_weft_never_writes_is_named() -> None:
    body = b"\0\1\0\0\0\0\0\0" + stats_of(bytes(48) + bytes.fromhex("00010009800012010500000000000000"))
    with pytest.raises(Permanent, match="OXM class 0x8000 field 9"):
        openflow.flow_reply(body)


def test_half_an_answer_is_refused() -> None:
    with pytest.raises(Permanent, match="what is none"):
        openflow.flow_reply(b"\0\1\0\0\0\0\0\0" + bytes(20))


def test_an_error_names_type_and_code() -> None:
    assert str(openflow.error(bytes.fromhex("0004000905"))) == "OpenFlow error type 4 code 9, message 05"


def test_text_is_that_of_ovs_ofctl() -> None:
    terms = match([(Field.ETH_DST, 1 << 40, 1 << 40), (Field.NET, 3), (Field.IPV6_SRC, 1)])
    flow = Flow(20, 40, terms, (Output(4), PushVlan(), SetField(Field.VLAN_VID, 0x1003), Output(1)))
    assert str(flow) == (
        "table=20,priority=40,reg5=0x3,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,ipv6_src=::1 "
        "actions=output:4,push_vlan:0x8100,set_field:0x1003->vlan_vid,output:1"
    )
    assert str(Flow(0, 1, ())) == "table=0,priority=1 actions=drop"
