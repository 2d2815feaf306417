"""The plan as it is stored: a record for each delegation, and one that says which version of a domain's plan it is.

A change of the plan is checked against the whole domain, so two at once must not both succeed: each writes the next
version's record, whose key only one of them can have.
"""

import ipaddress

import msgspec

from weft.ipam.tree import Tree
from weft.model.errors import NotFound
from weft.model.plan import Delegation, Level, Owner
from weft.store import Kind, Snapshot, Transaction


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    cidr: str
    owner: Owner
    domain: str
    name: str = ""
    description: str = ""
    created_at: float = 0.0


class _Version(msgspec.Struct, frozen=True):
    id: str
    domain: str
    number: int


class DomainPlan:
    """The plan of one domain as a transaction changes it."""

    def __init__(self, tx: Transaction, domain: str) -> None:
        self._tx = tx
        self.domain = domain
        # Before the tree: whoever changes the tree after this is read takes the version that we would.
        self._versions = tx.records(Kind.PLAN, _Version, parent=_key(domain))
        self.tree = tree_of(tx, domain)

    def become(self, tree: Tree) -> None:
        """Write what differs in a new tree. Raises Conflict if another change of this plan came first."""
        before = {each.id: each for each in self.tree}
        after = {each.id: each for each in tree}
        if before == after:
            return
        for gone in before.keys() - after.keys():
            self._tx.delete_record(Kind.PREFIX, gone)
        for id_, each in after.items():
            if before.get(id_) != each:
                self._put(each)
        self._advance()
        self.tree = tree

    def _put(self, each: Delegation) -> None:
        stored = _Stored(
            id=each.id,
            cidr=str(each.cidr),
            owner=each.owner,
            domain=each.domain,
            name=each.name,
            description=each.description,
            created_at=each.created_at,
        )
        project = each.owner.id if each.level is Level.PROJECT else ""
        self._tx.put_record(
            Kind.PREFIX, each.id, stored, project_id=project, name=str(each.owner), parent=_key(each.domain)
        )

    def _advance(self) -> None:
        number = max((each.number for each in self._versions), default=0) + 1
        for old in self._versions:
            self._tx.delete_record(Kind.PLAN, old.id)
        new = _Version(self._tx.new_id(), self.domain, number)
        self._tx.put_record(Kind.PLAN, new.id, new, parent=_key(self.domain), unique=f"{self.domain}@{number}")
        self._versions = [new]


def tree_of(snapshot: Snapshot, domain: str) -> Tree:
    """Return the plan of a domain; an empty one if nothing is planned in it."""
    return Tree(map(_delegation, snapshot.records(Kind.PREFIX, _Stored, parent=_key(domain))))


def domains_of(snapshot: Snapshot) -> list[str]:
    """Return the domains that have a plan, the routed one first."""
    return sorted({each.domain for each in snapshot.records(Kind.PLAN, _Version)})


def delegations_to(snapshot: Snapshot, owner: Owner) -> list[Delegation]:
    """Return what is delegated to an owner, in all domains."""
    return [_delegation(each) for each in snapshot.records(Kind.PREFIX, _Stored, name=str(owner))]


def delegation_of(snapshot: Snapshot, id_: str) -> Delegation:
    """Return one delegation; raise NotFound."""
    found = snapshot.record(Kind.PREFIX, _Stored, id_)
    if found is None:
        raise NotFound(f"there is no prefix {id_} in the plan; `weft plan show` lists all", kind="PrefixNotFound")
    return _delegation(found)


def _key(domain: str) -> str:
    return f"domain:{domain}"


def _delegation(stored: _Stored) -> Delegation:
    return Delegation(
        id=stored.id,
        cidr=ipaddress.ip_network(stored.cidr),
        owner=stored.owner,
        domain=stored.domain,
        name=stored.name,
        description=stored.description,
        created_at=stored.created_at,
    )
