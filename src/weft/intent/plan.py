"""Changes of the address plan, and where it lets a subnet be.

A plan binds those that something is delegated to: a subnet has to lie in a prefix of its network, else of its
project, else of its site - whichever has one of the subnet's family. Where none of them has, there is no plan, and
subnets are as free as their routers let them be.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from weft.intent.plan_rows import DomainPlan, delegation_of, delegations_to, domains_of, tree_of
from weft.ipam.tree import Tree
from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId, RouterId, SiteName, SubnetId
from weft.model.intent import Network, Subnet
from weft.model.plan import ROUTED, Delegation, Level, Owner
from weft.store import Snapshot, Transaction

NOT_BY_HAND = (Level.SUBNET,)
"""Levels that weft itself writes into the plan."""

MAX_NAMED = 5
"""Prefixes that an error names."""


class PrefixSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be delegated: a prefix, or a length of free space `under` another one."""

    owner: Owner
    cidr: IPNetwork | None = None
    under: str | None = None
    prefixlen: int | None = None
    domain: str = ROUTED
    name: str = ""
    description: str = ""


def delegate(tx: Transaction, spec: PrefixSpec) -> Delegation:
    """Delegate a prefix; subnets of the owner that lie in it become part of the plan.

    Raises NotFound for the owner or the prefix above, Conflict for an overlap or if no space is free, Invalid for what
    is no prefix.
    """
    check_owner(tx, spec.owner)
    domain = spec.domain if spec.under is None else delegation_of(tx, spec.under).domain
    plan = DomainPlan(tx, domain)
    new = Delegation(
        id=tx.new_id(),
        cidr=_wanted(plan.tree, spec),
        owner=spec.owner,
        domain=domain,
        name=spec.name,
        description=spec.description,
        created_at=tx.clock(),
    )
    tree = plan.tree.delegate(new)
    _check_homes(tx, tree, [new, *tree.below(new.id)])
    plan.become(tree)
    adopt_subnets(tx, plan)
    return new


def resize(tx: Transaction, id_: str, cidr: IPNetwork) -> Delegation:
    """Grow or shrink a prefix around what lies in it. Raises NotFound, Invalid, and Conflict for what is in the way."""
    found = _by_hand(tx, id_)
    plan = DomainPlan(tx, found.domain)
    plan.become(plan.tree.resize(id_, cidr))
    new = plan.tree.find(id_)
    adopt_subnets(tx, plan)
    return new


def move(tx: Transaction, id_: str, *, owner: Owner | UnsetType = UNSET, domain: str | UnsetType = UNSET) -> Delegation:
    """Give a prefix to another owner, or take it with all that lies in it to another domain. Raises as `delegate`."""
    found = _by_hand(tx, id_)
    new_owner = found.owner if owner is UNSET else owner
    new_domain = found.domain if domain is UNSET else domain
    check_owner(tx, new_owner)
    plan = DomainPlan(tx, found.domain)
    rest, moved = plan.tree.take_out(id_)
    target = plan if new_domain == found.domain else DomainPlan(tx, new_domain)
    tree = rest if target is plan else target.tree
    for each in moved:
        owned = new_owner if each.id == id_ else each.owner
        tree = tree.delegate(msgspec.structs.replace(each, domain=new_domain, owner=owned))
    _check_homes(tx, tree, [tree.find(each.id) for each in moved])
    _check_routers(tx, tree, moved)
    if target is not plan:
        plan.become(rest)
    target.become(tree)
    return tree.find(id_)


def free(tx: Transaction, id_: str) -> None:
    """Take a prefix back. Raises NotFound, and Conflict while anything lies in it."""
    found = _by_hand(tx, id_)
    plan = DomainPlan(tx, found.domain)
    plan.become(plan.tree.free(id_))


def plan_subnet(tx: Transaction, network: Network, subnet: Subnet) -> Delegation | None:
    """Write a new subnet into the plan that it is bound by; None if it is bound by none.

    Raises Invalid if it lies outside what is delegated to its owners, Conflict if it overlaps what is another's.
    """
    binding = _binding(tx, network, subnet.cidr.version)
    if not binding:
        return None
    around = [each for each in binding if _within(subnet.cidr, each.cidr)]
    if not around:
        named = ", ".join(str(each.cidr) for each in binding[:MAX_NAMED])
        message = f"Invalid input for operation: subnet {subnet.cidr} is not in the prefixes delegated to"
        raise Invalid(f"{message} {binding[0].owner}: {named}.", kind="InvalidInput")
    plan = DomainPlan(tx, min(each.domain for each in around))
    new = _as_delegation(subnet, plan.domain)
    tree = plan.tree.delegate(new)
    _check_homes(tx, tree, [new], network)
    plan.become(tree)
    return new


def unplan_subnet(tx: Transaction, subnet_id: SubnetId) -> None:
    """Take a subnet that is deleted out of the plan, if it is in one."""
    for found in delegations_to(tx, Owner(Level.SUBNET, subnet_id)):
        plan = DomainPlan(tx, found.domain)
        plan.become(plan.tree.free(found.id))


def forget_owner(tx: Transaction, owner: Owner) -> None:
    """Take back what was delegated to an object that is deleted, unless others have a part of it."""
    for found in delegations_to(tx, owner):
        plan = DomainPlan(tx, found.domain)
        if not plan.tree.children(found.id):
            plan.become(plan.tree.free(found.id))


def check_routable(tx: Transaction, router_id: RouterId, subnet: Subnet) -> None:
    """Refuse to route between domains: a router's planned subnets are all of one, and within the router's prefixes."""
    mine = delegations_to(tx, Owner(Level.SUBNET, subnet.id))
    own = [
        each for each in delegations_to(tx, Owner(Level.ROUTER, router_id)) if each.cidr.version == subnet.cidr.version
    ]
    if own and not any(_within(subnet.cidr, each.cidr) for each in own):
        named = ", ".join(str(each.cidr) for each in own[:MAX_NAMED])
        message = f"subnet {subnet.cidr} is not in the prefixes delegated to router {router_id}: {named}"
        raise Conflict(message, kind="PrefixOutside")
    for interface in tx.router_interfaces(router_id):
        for other in delegations_to(tx, Owner(Level.SUBNET, interface.subnet_id)):
            for each in mine:
                if each.domain != other.domain:
                    message = f"subnet {subnet.cidr} is in {_domain(each.domain)}, router {router_id} routes"
                    message += f" {other.cidr} of {_domain(other.domain)}: move one of them in the plan first"
                    raise Conflict(message, kind="RoutingDomainMismatch")


def adopt_subnets(tx: Transaction, plan: DomainPlan) -> None:
    """Take the subnets that a plan binds by now, and that lie in it, into it; raise Conflict if they overlap."""
    tree = plan.tree
    for subnet, binding in _unplanned(tx):
        if not any(each.domain == plan.domain and _within(subnet.cidr, each.cidr) for each in binding):
            continue
        try:
            tree = tree.delegate(_as_delegation(subnet, plan.domain))
            _check_homes(tx, tree, [tree.find(subnet.id)])
        except Conflict as error:
            message = f"the plan would bind subnet {subnet.id}, which cannot be in it: {error.message}. Delegate the"
            message += f" prefix of one of the two to its network ({subnet.network_id}) in an isolated domain first"
            raise Conflict(message, kind="PrefixOverlap") from None
    plan.become(tree)


def unplanned(snapshot: Snapshot) -> list[tuple[Subnet, Owner]]:
    """Return the subnets that a plan binds and that are not in it, each with the owner whose plan it is."""
    return [(subnet, binding[0].owner) for subnet, binding in _unplanned(snapshot)]


def _unplanned(snapshot: Snapshot) -> list[tuple[Subnet, list[Delegation]]]:
    """Return the subnets that a plan binds and that are not in it, each with the prefixes that bind it."""
    found = []
    networks = {network.id: network for network in snapshot.networks()}
    planned = {each.id for domain in domains_of(snapshot) for each in tree_of(snapshot, domain)}
    for subnet in snapshot.subnets():
        network = networks.get(subnet.network_id)
        if network is not None and subnet.id not in planned:
            found.append((subnet, _binding(snapshot, network, subnet.cidr.version)))
    return [(subnet, binding) for subnet, binding in found if binding]


def _wanted(tree: Tree, spec: PrefixSpec) -> IPNetwork:
    if spec.cidr is not None:
        if spec.under is not None and not _within(spec.cidr, tree.find(spec.under).cidr):
            message = f"{spec.cidr} does not lie in {tree.find(spec.under).cidr}"
            raise Invalid(message, kind="InvalidPrefix")
        return spec.cidr
    if spec.under is None or spec.prefixlen is None:
        raise Invalid("name a prefix, or the prefix to cut one from and a length", kind="InvalidPrefix")
    found = tree.gap(spec.under, spec.prefixlen)
    if found is None:
        message = f"{tree.find(spec.under)} has no free space for a /{spec.prefixlen}"
        raise Conflict(f"{message}; ask for a longer prefix, or free or resize others", kind="PrefixExhausted")
    return found


def _by_hand(tx: Transaction, id_: str) -> Delegation:
    found = delegation_of(tx, id_)
    if found.level in NOT_BY_HAND:
        message = f"{found} follows the {found.level} of this id: change or delete that"
        raise Conflict(message, kind="PrefixInUse")
    return found


def check_owner(tx: Snapshot, owner: Owner) -> None:
    """Refuse an owner that is not there."""
    if owner.level in NOT_BY_HAND:
        raise Invalid(f"a {owner.level} comes into the plan with the {owner.level} itself", kind="InvalidOwner")
    nameless = owner.level in {Level.GLOBAL, Level.RESERVED}
    if nameless is bool(owner.id):
        wrong = "has no owner to name" if nameless else "needs the owner's name or id"
        raise Invalid(f"'{owner}': {owner.level} space {wrong}", kind="InvalidOwner")
    missing = {
        Level.SITE: lambda: SiteName(owner.id) not in tx.topology().sites,
        Level.NETWORK: lambda: tx.network(NetworkId(owner.id)) is None,
        Level.ROUTER: lambda: tx.router(RouterId(owner.id)) is None,
    }.get(owner.level)
    if missing is not None and missing():
        raise NotFound(f"there is no {owner.level} '{owner.id}' to delegate a prefix to", kind="OwnerNotFound")


def _owners(network: Network) -> list[Owner]:
    """Return who may bind the subnets of a network to a plan, the nearest first."""
    return [
        Owner(Level.NETWORK, network.id),
        Owner(Level.PROJECT, network.project_id),
        Owner(Level.SITE, network.site),
    ]


def _binding(snapshot: Snapshot, network: Network, version: int) -> list[Delegation]:
    """Return the delegations that a network's subnets of a family have to lie in one of; none: no plan binds them."""
    for owner in _owners(network):
        if found := [each for each in delegations_to(snapshot, owner) if each.cidr.version == version]:
            return sorted(found, key=lambda each: (each.domain, int(each.cidr.network_address)))
    return []


def _check_homes(tx: Transaction, tree: Tree, moved: Iterable[Delegation], network: Network | None = None) -> None:
    """Refuse a tree in which a subnet lies directly in what is delegated to a stranger."""
    for each in moved:
        if each.level is not Level.SUBNET:
            continue
        at = network or _network_of(tx, each)
        parent = tree.parent(each.id)
        if at is None or parent is None or parent.level is Level.GLOBAL or parent.owner in _owners(at):
            continue
        if parent.level is Level.ROUTER:
            router = tx.router(RouterId(parent.owner.id))
            if router is not None and router.project_id == at.project_id:
                continue
        message = f"subnet {each.cidr} of network {at.id} (project {at.project_id}, site {at.site}) would lie in"
        raise Conflict(f"{message} {parent}: a prefix has one owner", kind="PrefixOverlap")


def _check_routers(tx: Transaction, tree: Tree, moved: Sequence[Delegation]) -> None:
    """Refuse to move subnets to another domain while a router routes them."""
    for each in moved:
        if each.level is not Level.SUBNET or tree.find(each.id).domain == each.domain:
            continue
        interface = tx.router_interface(SubnetId(each.id))
        if interface is not None:
            message = f"subnet {each.cidr} is attached to router {interface.router_id}; detach it before it is moved"
            raise Conflict(message, kind="PrefixInUse")


def _as_delegation(subnet: Subnet, domain: str) -> Delegation:
    return Delegation(
        id=subnet.id,
        cidr=subnet.cidr,
        owner=Owner(Level.SUBNET, subnet.id),
        domain=domain,
        name=subnet.name,
        created_at=subnet.created_at,
    )


def _network_of(tx: Transaction, planned: Delegation) -> Network | None:
    subnet = tx.subnet(SubnetId(planned.id))
    return None if subnet is None else tx.network(subnet.network_id)


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and outer.overlaps(inner)


def _domain(name: str) -> str:
    return f"the isolated domain '{name}'" if name else "the routed domain"
