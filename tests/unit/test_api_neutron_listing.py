"""Lists: filters, order, pages, fields; what Neutron refuses is refused in its words."""

import pytest

from weft.api.neutron.attributes import Attribute, owned_attributes, shown
from weft.api.neutron.listing import matcher, page_of, parse_query, with_fields
from weft.api.neutron.values import boolean, integer, mac
from weft.model.errors import Invalid

TABLE = {
    **owned_attributes(),
    "admin_state_up": Attribute(boolean, put=True),
    "mac_address": Attribute(mac),
    "mtu": Attribute(integer(0, 9216)),
    "fixed_ips": Attribute(sorts=False),
    "subnets": shown(),
}


def port(name: str, **changes: object) -> dict[str, object]:
    return {
        "id": f"id-{name}",
        "name": name,
        "description": "",
        "tags": [],
        "admin_state_up": True,
        "mac_address": f"fa:16:3e:00:00:0{name[-1]}",
        "mtu": 1500,
        "fixed_ips": [{"subnet_id": f"s{name[-1]}", "ip_address": f"10.0.0.{name[-1]}"}],
        **changes,
    }


PORTS = [
    port("p3", admin_state_up=False, description=None, tags=["red"]),
    port("p1", tags=["red", "blue"]),
    port("p2", mtu=9000),
]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "p1 p2 p3"),
        ("name=p1", "p1"),
        ("name=p1&name=p3", "p1 p3"),
        ("name=", ""),
        ("description=", "p1 p2 p3"),
        ("admin_state_up=False", "p3"),
        ("admin_state_up=true&name=p2", "p2"),
        ("mtu=9000", "p2"),
        ("mtu=many", ""),
        ("mac_address=FA-16-3E-00-00-02", "p2"),
        ("mac_address=zz", ""),
        ("fixed_ips=ip_address=10.0.0.2", "p2"),
        ("fixed_ips=ip_address=10.0.0.2&fixed_ips=ip_address=10.0.0.3", "p2 p3"),
        ("fixed_ips=ip_address=10.0.0.2&fixed_ips=subnet_id=s3", ""),
        ("fixed_ips=ip_address_substr=0.0.", "p1 p2 p3"),
        ("tags=red", "p1 p3"),
        ("tags=red,blue", "p1"),
        ("tags-any=blue,green", "p1"),
        ("not-tags=red,blue", "p2 p3"),
        ("not-tags-any=red,blue", "p2"),
        ("sort_key=mtu&sort_dir=desc", "p2 p1 p3"),
        ("sort_key=mtu&sort_key=name&sort_dir=asc&sort_dir=desc", "p3 p1 p2"),
        ("sort_key=admin_state_up", "p3 p1 p2"),
        ("limit=2", "p1 p2"),
        ("limit=2&marker=id-p2", "p3"),
        ("name=p1&name=p3&limit=2&marker=id-p2", "p3"),
        ("limit=0", "p1 p2 p3"),
        ("limit=1&marker=id-p3&page_reverse=True", "p2"),
    ],
)
def test_a_query_selects_and_orders(query: str, names: str) -> None:
    assert names_of(query) == names


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nosuchfilter=1", "['nosuchfilter'] is invalid attribute for filtering"),
        ("subnets=1", "['subnets'] is invalid attribute for filtering"),
        ("limit=x", "Bad limit request: Limit must be an integer 0 or greater and not 'x'."),
        ("limit=-1", "Bad limit request: Limit must be an integer 0 or greater and not '-1'."),
        ("sort_key=nosuch", "['nosuch'] is invalid attribute for sort_keys"),
        ("sort_key=name&sort_dir=up", "['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "The number of sort_keys and sort_dirs must be same"),
        (
            "admin_state_up=maybe",
            "Invalid input for admin_state_up. Reason: 'maybe' cannot be converted to boolean.",
        ),
        (
            "fixed_ips=10.0.0.1",
            """Invalid input for fixed_ips. Reason: '10.0.0.1' is not KEY=VALUE with one of \
['ip_address', 'ip_address_substr', 'subnet_id'].""",
        ),
    ],
)
def test_a_wrong_query_is_refused_in_neutrons_words(query: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        names_of(query)
    assert caught.value.message == message


def test_fields_choose_attributes_and_unknown_ones_are_passed_over() -> None:
    assert with_fields(PORTS[1], ("id", "nosuch")) == {"id": "id-p1"}
    assert with_fields(PORTS[1], ()) == PORTS[1]


def names_of(query: str) -> str:
    asked = parse_query(TABLE, items(query))
    matches = matcher(TABLE, asked)
    marker = next((each for each in PORTS if each["id"] == asked.marker), None)
    page = page_of([each for each in PORTS if matches(each)], asked, marker)
    return " ".join(str(each["name"]) for each in page)


def items(query: str) -> list[tuple[str, str]]:
    pairs = (each.partition("=") for each in query.split("&") if each)
    return [(name, value) for name, _, value in pairs]
