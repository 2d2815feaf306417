"""Attributes: what a body may hold, in which form, and in which words Neutron refuses the rest."""

import ipaddress

import pytest

from weft.api.neutron import values
from weft.api.neutron.attributes import Attribute, check_create, check_update, owned_attributes, project_of
from weft.model.addresses import Mac
from weft.model.errors import Invalid
from weft.model.intent import AddressRange, HostRoute

UUID = "1480f242-3d1b-4a1d-9d04-409d99809b46"

TABLE = {
    **owned_attributes(),
    "network_id": Attribute(values.identifier, required=True),
    "mac_address": Attribute(values.mac, put=True),
}


def four(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


@pytest.mark.parametrize(
    ("convert", "given", "converted"),
    [
        (values.boolean, True, True),
        (values.boolean, "False", False),
        (values.boolean, 1, True),
        (values.string(3), "abc", "abc"),
        (values.integer(1, 5), "5", 5),
        (values.one_of("a", None), None, None),
        (values.only(()), None, ()),
        (values.only("x"), "x", "x"),
        (values.or_none(values.address), None, None),
        (values.identifier, UUID.upper(), UUID),
        (values.mac, "FA-16-3E-00-00-01", Mac("fa:16:3e:00:00:01")),
        (values.address, "2001:db8::0:1", ipaddress.ip_address("2001:db8::1")),
        (values.cidr, "10.0.0.9/24", ipaddress.ip_network("10.0.0.0/24")),
        (values.dictionary, None, {}),
        (values.addresses, ["10.0.0.1", "2001:DB8::1"], ("10.0.0.1", "2001:db8::1")),
        (values.strings(3), ["a", "b"], ("a", "b")),
        (
            values.pools,
            [{"start": "10.0.0.2", "end": "10.0.0.9"}],
            (AddressRange(four("10.0.0.2"), four("10.0.0.9")),),
        ),
        (
            values.host_routes,
            [{"destination": "10.1.0.0/16", "nexthop": "10.0.0.2"}],
            (HostRoute(ipaddress.ip_network("10.1.0.0/16"), four("10.0.0.2")),),
        ),
    ],
)
def test_values_are_converted(convert: values.Converter, given: object, converted: object) -> None:
    assert convert(given) == converted


@pytest.mark.parametrize(
    ("convert", "given", "reason"),
    [
        (values.boolean, "maybe", "'maybe' cannot be converted to boolean"),
        (values.boolean, None, "'None' cannot be converted to boolean"),
        (values.boolean, [], "'[]' cannot be converted to boolean"),
        (values.string(3), 5, "'5' is not a valid string"),
        (values.string(3), "abcd", "'abcd' exceeds maximum length of 3"),
        (values.string(3), "a\0", "'a\\x00' holds a NUL character"),
        (values.integer(1, 5), "x", "'x' is not an integer"),
        (values.integer(1, 5), True, "'True' is not an integer"),
        (values.integer(1, 5), 1.5, "'1.5' is not an integer"),
        (values.integer(1, 5), 10**30, f"'{10**30}' is not in the range 1 to 5"),
        (values.one_of(4, 6), 5, "'5' is not in [4, 6]"),
        (values.only(""), "x", "'x' is not supported; the only possible value is ''"),
        (values.identifier, "x", "'x' is not a valid UUID"),
        (values.identifier, 5, "'5' is not a valid UUID"),
        (values.mac, "zz", "'zz' is not a valid MAC address"),
        (values.mac, "01:00:5e:00:00:01", "'01:00:5e:00:00:01' is not a valid MAC address"),
        (values.mac, {}, "'{}' is not a valid MAC address"),
        (values.address, 5, "'5' is not a valid IP address"),
        (values.address, "10.0.0.256", "'10.0.0.256' is not a valid IP address"),
        (values.cidr, "10.0.0.0", "'10.0.0.0' is not a valid IP subnet"),
        (values.cidr, "10.0.0.0/33", "'10.0.0.0/33' is not a valid IP subnet"),
        (values.dictionary, [], "'[]' is not a dictionary"),
        (values.addresses, "10.0.0.1", "'10.0.0.1' is not a list"),
        (values.addresses, ["10.0.0.1", "10.0.0.1"], "'10.0.0.1' stands more than once"),
        (values.addresses, [None], "'None' is not a valid IP address"),
        (values.pools, [{"start": "10.0.0.1"}], "Invalid data format for IP pool: '{'start': '10.0.0.1'}'"),
        (values.pools, [5], "Invalid data format for IP pool: '5'"),
        (values.host_routes, ["x"], "Invalid data format for hostroute: 'x'"),
    ],
)
def test_wrong_values_are_refused_with_the_value(convert: values.Converter, given: object, reason: str) -> None:
    with pytest.raises(values.Refused) as caught:
        convert(given)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Failed to parse request. Required attribute 'network_id' not specified"),
        ({"network_id": UUID, "nosuch": 1}, "Unrecognized attribute(s) 'nosuch'"),
        ({"network_id": UUID, "id": UUID}, "Attribute 'id' not allowed in POST"),
        ({"network_id": UUID, "tenant_id": 5}, "Invalid input for tenant_id. Reason: '5' is not a valid string."),
        ([], "Object 'port' contains invalid data"),
        (None, "Object 'port' contains invalid data"),
    ],
)
def test_a_wrong_creation_is_refused_in_neutrons_words(body: object, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_create("port", TABLE, body)
    assert caught.value.message == message
    assert caught.value.kind == "HTTPBadRequest"


def test_what_cannot_be_changed_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        check_update("port", TABLE, {"network_id": UUID})
    assert caught.value.message == "Cannot update read-only attribute network_id"


def test_a_reason_does_not_repeat_a_whole_body() -> None:
    with pytest.raises(Invalid) as caught:
        check_update("port", TABLE, {"name": "x" * 100_000})
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("given", "owner"),
    [({}, "p"), ({"project_id": "a"}, "a"), ({"tenant_id": "b"}, "b"), ({"project_id": "c", "tenant_id": "c"}, "c")],
)
def test_the_owner_is_named_by_either_name(given: dict[str, object], owner: str) -> None:
    assert project_of(given, "p") == owner


def test_two_owners_are_refused() -> None:
    with pytest.raises(Invalid, match="'project_id' and 'tenant_id' do not match"):
        project_of({"project_id": "a", "tenant_id": "b"}, "p")
