"""Plans that exist elsewhere: CSV, and the JSON that NetBox exports, read into delegations-to-be.

CSV has a heading line; the columns are ``prefix`` (or ``cidr``), ``owner`` (as ``site:private``; empty: global) and,
if wanted, ``domain``, ``name``, ``description``. NetBox's is the answer of ``/api/ipam/prefixes/`` or its list alone:
a VRF is an isolated domain of its name, a tenant is a project, a site is a site, status ``reserved`` is reserved
space, and what has none of these is global space.
"""

import csv
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

import msgspec

from weft.ipam.tree import Tree
from weft.model.addresses import IPNetwork
from weft.model.errors import Invalid
from weft.model.plan import ROUTED, Delegation, Level, Owner

MAX_ENTRIES = 20_000
COLUMNS = frozenset({"prefix", "cidr", "owner", "domain", "name", "description"})


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One prefix of a foreign plan; `where` says where it stands in it."""

    where: str
    cidr: IPNetwork
    owner: Owner
    domain: str = ROUTED
    name: str = ""
    description: str = ""


class Problem(msgspec.Struct, frozen=True):
    """What cannot be taken over, and why."""

    where: str
    prefix: str
    reason: str


def read_csv(text: str) -> tuple[list[Entry], list[Problem]]:
    """Return the prefixes of a CSV text, and the lines that are none. Raises Invalid if it is no such table."""
    rows = csv.DictReader(StringIO(text.removeprefix("\ufeff")), strict=True, skipinitialspace=True)
    try:
        columns = {(name or "").strip().lower() for name in rows.fieldnames or ()}
        if not columns & {"prefix", "cidr"} or columns - COLUMNS:
            known, named = (", ".join(map(repr, sorted(each))) for each in (COLUMNS, columns))
            raise Invalid(f"the first line has to name columns, of {known}; it has {named or 'nothing'}")
        found = [({(k or "").strip().lower(): v for k, v in row.items()}, rows.line_num) for row in rows]
    except csv.Error as error:
        raise Invalid(f"line {rows.line_num} is no CSV: {error}") from None
    return _read((f"line {line}", _from_csv(row)) for row, line in found)


def read_netbox(text: str) -> tuple[list[Entry], list[Problem]]:
    """Return the prefixes of NetBox's JSON, and the entries that are none. Raises Invalid if it is no such JSON."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"this is not JSON: {error}") from None
    listed = found.get("results") if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise Invalid("this is no export of NetBox: expected a list of prefixes, or an object whose 'results' is one")
    return _read((f"entry {at + 1}", _from_netbox(each)) for at, each in enumerate(listed))


def merge(trees: Mapping[str, Tree], entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Return the entries that fit into present plans, and the problems of the others.

    What is there already is neither, and nor is what lies in a prefix of the same owner: it has that already.
    """
    fitting: list[Entry] = []
    problems: list[Problem] = []
    for domain in dict.fromkeys(entry.domain for entry in entries):
        mine = [entry for entry in entries if entry.domain == domain]
        taken, refused = _merge(trees.get(domain, Tree()), mine)
        fitting += taken
        problems += refused
    return fitting, problems


def delegation(entry: Entry, id_: str, at: float) -> Delegation:
    """Return what an entry becomes in a plan."""
    return Delegation(
        id=id_,
        cidr=entry.cidr,
        owner=entry.owner,
        domain=entry.domain,
        name=entry.name,
        description=entry.description,
        created_at=at,
    )


def _merge(tree: Tree, entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    present = {(each.cidr, each.owner) for each in tree}
    new = [entry for entry in entries if (entry.cidr, entry.owner) not in present]
    grown, refused = tree.take_in(delegation(entry, entry.where, 0.0) for entry in new)
    reasons = {each.id: why.message for each, why in refused}
    left_out = [entry for entry in new if entry.where in reasons]
    problems = [Problem(e.where, str(e.cidr), reasons[e.where]) for e in left_out if not _has_it(grown, e)]
    return [entry for entry in new if entry.where not in reasons], problems


def _has_it(tree: Tree, entry: Entry) -> bool:
    around = tree.around(entry.cidr, entry.owner.level)
    return around is not None and around.owner == entry.owner


def _read(rows: Iterable[tuple[str, Mapping[str, str]]]) -> tuple[list[Entry], list[Problem]]:
    entries: list[Entry] = []
    problems: list[Problem] = []
    for where, row in rows:
        if len(entries) + len(problems) == MAX_ENTRIES:
            raise Invalid(f"more than {MAX_ENTRIES} prefixes: import them in parts")
        try:
            entries.append(_entry(where, row))
        except ValueError as error:
            problems.append(Problem(where, row.get("prefix", ""), str(error)))
    return entries, problems


def _entry(where: str, row: Mapping[str, str]) -> Entry:
    """Return an entry; raise ValueError if it is none."""
    level, colon, id_ = (row.get("owner") or Level.GLOBAL).partition(":")
    if level not in set(Level) - {Level.SUBNET}:
        possible = ", ".join(each for each in Level if each is not Level.SUBNET)
        raise ValueError(f"'{level}' owns no prefix; possible: {possible}")
    if bool(id_) is (level in {Level.GLOBAL, Level.RESERVED}) or bool(colon) is not bool(id_):
        raise ValueError(f"'{row.get('owner')}' is no owner: write LEVEL:NAME, or global or reserved alone")
    return Entry(
        where=where,
        cidr=ipaddress.ip_network(row.get("prefix", "")),
        owner=Owner(Level(level), id_),
        domain=row.get("domain", ROUTED),
        name=row.get("name", ""),
        description=row.get("description", ""),
    )


def _from_csv(row: Mapping[str, Any]) -> dict[str, str]:
    # A line that is too long has a list under no name, one that is too short has None for what it lacks.
    said = {name: value.strip() for name, value in row.items() if isinstance(value, str)}
    return {**said, "prefix": said.get("prefix") or said.get("cidr", "")}


def _from_netbox(found: Mapping[str, Any]) -> dict[str, str]:
    tenant, site = _name(found.get("tenant")), _name(found.get("site"))
    if not site and found.get("scope_type") == "dcim.site":  # NetBox 4.2 and later
        site = _name(found.get("scope"))
    owner: str = Level.GLOBAL
    if _name(found.get("status")) == "reserved":
        owner = Level.RESERVED
    elif tenant:
        owner = f"{Level.PROJECT}:{tenant}"
    elif site:
        owner = f"{Level.SITE}:{site}"
    return {
        "prefix": str(found.get("prefix", "")),
        "owner": owner,
        "domain": _name(found.get("vrf")),
        "description": str(found.get("description") or ""),
    }


def _name(found: object) -> str:
    """Return the name of what NetBox refers to: an object with a slug, a value or a name, or the name itself."""
    if isinstance(found, dict):
        found = next((found[key] for key in ("slug", "value", "name") if found.get(key)), "")
    return found if isinstance(found, str) else ""
