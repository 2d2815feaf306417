"""Foreign plans: what is read of CSV and NetBox, and the report of what does not fit."""

from ipaddress import ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.ipam.imports import merge, read_csv, read_netbox
from weft.ipam.tree import Tree
from weft.model.errors import Invalid
from weft.model.plan import Delegation, Level, Owner

CSV = """prefix,owner,domain,name,description
10.0.0.0/8,,,all,"everything, that is private"
10.1.0.0/16,site:private,,,
10.1.0.0/24,reserved,,,old printers
10.0.0.0/8,project:lab,lab,,
10.1.0.1/24,site:private,,,
10.2.0.0/16,planet:mars,,,
10.2.0.0/16,site,,,
"""

NETBOX = {
    "count": 4,
    "results": [
        {"id": 1, "prefix": "10.0.0.0/8", "vrf": None, "tenant": None, "site": None, "status": {"value": "container"}},
        {"id": 2, "prefix": "10.1.0.0/16", "site": {"id": 7, "name": "Private", "slug": "private"}, "tenant": None},
        {"id": 3, "prefix": "10.1.2.0/24", "tenant": {"slug": "red"}, "site": {"slug": "private"}, "description": "x"},
        {"id": 4, "prefix": "10.0.0.0/8", "vrf": {"name": "lab"}, "tenant": {"slug": "red"}},
        {"id": 5, "prefix": "10.1.9.0/24", "status": {"value": "reserved", "label": "Reserved"}},
        {"id": 6, "prefix": "10.2.0.0/16", "scope_type": "dcim.site", "scope": {"slug": "aws"}},
        {"id": 7},
    ],
}


def test_csv() -> None:
    entries, problems = read_csv(CSV)
    assert [(str(each.cidr), str(each.owner), each.domain) for each in entries] == [
        ("10.0.0.0/8", "global", ""),
        ("10.1.0.0/16", "site:private", ""),
        ("10.1.0.0/24", "reserved", ""),
        ("10.0.0.0/8", "project:lab", "lab"),
    ]
    assert (entries[0].name, entries[0].description) == ("all", "everything, that is private")
    assert [problem.where for problem in problems] == ["line 6", "line 7", "line 8"]
    assert "has host bits set" in problems[0].reason
    assert "'planet' owns no prefix" in problems[1].reason
    assert "'site' is no owner" in problems[2].reason


def test_netbox() -> None:
    for text in (msgspec.json.encode(NETBOX).decode(), msgspec.json.encode(NETBOX["results"]).decode()):
        entries, problems = read_netbox(text)
        assert [(str(each.cidr), str(each.owner), each.domain) for each in entries] == [
            ("10.0.0.0/8", "global", ""),
            ("10.1.0.0/16", "site:private", ""),
            ("10.1.2.0/24", "project:red", ""),
            ("10.0.0.0/8", "project:red", "lab"),
            ("10.1.9.0/24", "reserved", ""),
            ("10.2.0.0/16", "site:aws", ""),
        ]
        assert [problem.where for problem in problems] == ["entry 7"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'prefix\n"10.0.0.0/8'])
def test_what_is_no_table(text: str) -> None:
    with pytest.raises(Invalid):
        read_csv(text)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"results": 1}', "[" * 5000])
def test_what_is_no_netbox(text: str) -> None:
    with pytest.raises(Invalid):
        read_netbox(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for reader, start in ((read_csv, "prefix,owner\n"), (read_netbox, "")):
        try:
            reader(start + text)
        except Invalid:
            continue


def test_the_report_names_every_conflict_and_what_is_there_is_none() -> None:
    there = Tree([Delegation(id="x", cidr=ip_network("10.1.0.0/16"), owner=Owner(Level.SITE, "private"))])
    entries, _ = read_csv(
        "prefix,owner\n10.1.3.0/24,site:aws\n10.0.0.0/8,global\n10.1.0.0/16,site:private\n"
        "10.1.4.0/24,project:red\n10.1.4.0/24,project:blue\n"
    )
    fitting, problems = merge({"": there}, entries)
    assert [str(each.cidr) for each in fitting] == ["10.0.0.0/8", "10.1.4.0/24"]
    assert [(each.where, each.prefix) for each in problems] == [("line 2", "10.1.3.0/24"), ("line 6", "10.1.4.0/24")]
    assert "lies in 10.1.0.0/16 (site:private)" in problems[0].reason
    assert "is delegated to project:red already" in problems[1].reason


def test_what_lies_in_a_prefix_of_its_own_owner_is_no_conflict() -> None:
    there = Tree([Delegation(id="x", cidr=ip_network("10.1.0.0/16"), owner=Owner(Level.SITE, "private"))])
    entries, _ = read_csv(
        "prefix,owner\n10.1.3.0/24,site:private\n10.2.1.0/24,project:red\n10.2.0.0/16,project:red\n"
        "10.2.2.0/24,reserved\n10.2.2.128/25,reserved\n10.2.2.0/25,project:red\n10.2.1.128/25,project:blue\n"
    )
    fitting, problems = merge({"": there}, entries)
    assert [str(each.cidr) for each in fitting] == ["10.2.0.0/16", "10.2.2.0/24"]
    # Red has no say in what is reserved within its own, nor blue in what is red's.
    assert [each.where for each in problems] == ["line 7", "line 8"]
