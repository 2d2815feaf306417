"""RBAC policies: an object's owner lets another project, or every project, use it.

A network that is shared, or external, has the policy that says so, as in Neutron: the flag and the policy for all
projects are one thing, written and deleted together.
"""

from collections.abc import Iterator, Mapping

import msgspec

from weft.intent.quotas import NOBODY, check_quota
from weft.intent.rows import changed
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId, PortId
from weft.model.intent import Network, Owned
from weft.model.security import SecurityGroup, SecurityGroupMember
from weft.model.sharing import ALL, Action, ObjectType, RbacPolicy
from weft.model.supply import AddressScope, FloatingIp, PoolPrefix, SubnetPool
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

PAGE = 1000
"""Ports read at once."""


def shared_ids(snapshot: Snapshot, type_: ObjectType, action: Action, project_id: str = ALL) -> frozenset[str]:
    """Return the objects of a type that policies for exactly this target share."""
    found = snapshot.records(Kind.RBAC_POLICY, RbacPolicy, name=_target(type_, action, project_id))
    return frozenset(policy.object_id for policy in found)


def shared_with(snapshot: Snapshot, type_: ObjectType, object_id: str, project_id: str) -> bool:
    """Tell whether a policy lets a project use an object that another owns."""
    found = snapshot.records(Kind.RBAC_POLICY, RbacPolicy, parent=object_id)
    return any(policy.object_type is type_ and policy.target_project in (ALL, project_id) for policy in found)


def external_to(snapshot: Snapshot, network: Network, project_id: str) -> bool:
    """Tell whether a project may take addresses of a network that leads outside."""
    if network.external:
        return True
    found = snapshot.records(Kind.RBAC_POLICY, RbacPolicy, parent=network.id)
    return any(each.action is Action.ACCESS_AS_EXTERNAL and each.target_project == project_id for each in found)


def create_policy(tx: Transaction, policy: RbacPolicy) -> RbacPolicy:
    """Share an object; `policy` has no id yet.

    Raises NotFound for the object, Invalid for an action that its type has not, Conflict for a policy that there is,
    and for a project that may have no more of them.
    """
    owner = owner_of(tx, policy.object_type, policy.object_id)
    if policy.action is Action.ACCESS_AS_EXTERNAL and policy.object_type is not ObjectType.NETWORK:
        message = f"Invalid action '{policy.action}' for object type '{policy.object_type}'. Valid actions:"
        raise Invalid(f"{message} {Action.ACCESS_AS_SHARED}", kind="InvalidInput")
    if tx.records(Kind.RBAC_POLICY, RbacPolicy, unique=_key(policy)):
        raise Conflict("An RBAC policy already exists with those values.", kind="DuplicateRbacPolicy")
    check_quota(tx, owner, "rbac_policy")
    made = msgspec.structs.replace(policy, id=tx.new_id(), project_id=owner)
    _put(tx, made)
    _raise_flag(tx, made, to=True)
    return made


def retarget_policy(tx: Transaction, id_: str, target_project: str) -> RbacPolicy:
    """Share an object with another project instead. Raises NotFound, and Conflict as for delete and create."""
    before = policy_of(tx, id_)
    _check_unused(tx, before)
    policy = msgspec.structs.replace(before, target_project=target_project)
    if any(each.id != id_ for each in tx.records(Kind.RBAC_POLICY, RbacPolicy, unique=_key(policy))):
        raise Conflict("An RBAC policy already exists with those values.", kind="DuplicateRbacPolicy")
    _raise_flag(tx, before, to=False)
    _put(tx, policy)
    _raise_flag(tx, policy, to=True)
    return policy


def delete_policy(tx: Transaction, id_: str) -> None:
    """Share an object no longer. Raises NotFound, and Conflict (RbacPolicyInUse) while the target has ports on it."""
    policy = policy_of(tx, id_)
    _check_unused(tx, policy)
    _raise_flag(tx, policy, to=False)
    tx.delete_record(Kind.RBAC_POLICY, id_)


def forget_policies(tx: Transaction, object_id: str) -> None:
    """Delete the policies of an object that is deleted."""
    for policy in tx.records(Kind.RBAC_POLICY, RbacPolicy, parent=object_id):
        tx.delete_record(Kind.RBAC_POLICY, policy.id)


def policy_of(snapshot: Snapshot, id_: str) -> RbacPolicy:
    """Return a policy; raise NotFound."""
    found = snapshot.record(Kind.RBAC_POLICY, RbacPolicy, id_)
    if found is None:
        raise NotFound(f"RBAC policy of type None with ID {id_} not found", kind="RbacPolicyNotFound")
    return found


def owner_of(snapshot: Snapshot, type_: ObjectType, object_id: str) -> str:
    """Return the project that owns an object that can be shared; raise NotFound."""
    found: Owned | None
    if type_ is ObjectType.NETWORK:
        found = snapshot.network(NetworkId(object_id))
    else:
        found = snapshot.record(_KINDS[type_], _TYPES[type_], object_id)
    if found is None:
        raise NotFound(f"RBAC object of type {type_} with ID {object_id} not found", kind="RbacObjectNotFound")
    return found.project_id


def follow_flags(tx: Transaction, before: Network | None, after: Network) -> None:
    """Have the policies that a network's flags stand for, and no others for all projects.

    Raises Conflict if it is shared no longer while other projects have ports on it (InvalidSharedSetting), or leads
    outside no longer while routers have gateways or projects have floating IPs there (ExternalNetworkInUse).
    """
    for action, flag in _FLAGS.items():
        was, is_ = before is not None and getattr(before, flag), getattr(after, flag)
        if was == is_:
            continue
        policy = RbacPolicy(
            id=tx.new_id(),
            project_id=after.project_id,
            object_type=ObjectType.NETWORK,
            object_id=after.id,
            action=action,
            target_project=ALL,
        )
        if is_:
            _put(tx, policy)
            continue
        if used_by_others(tx, policy):
            raise _in_use(after, action)
        for each in tx.records(Kind.RBAC_POLICY, RbacPolicy, unique=_key(policy)):
            tx.delete_record(Kind.RBAC_POLICY, each.id)


def used_by_others(tx: Transaction, policy: RbacPolicy) -> bool:
    """Tell whether a project uses an object that it could not use without this policy."""
    others = [
        each.target_project
        for each in tx.records(Kind.RBAC_POLICY, RbacPolicy, parent=policy.object_id)
        if each.target_project != policy.target_project and each.action is policy.action
    ]
    may_anyway = {NOBODY}
    if policy.action is Action.ACCESS_AS_SHARED:
        may_anyway.add(owner_of(tx, policy.object_type, policy.object_id))

    def needs_it(project_id: str) -> bool:
        if project_id in may_anyway or policy.target_project not in (ALL, project_id):
            return False
        return not {ALL, project_id} & set(others)

    return any(needs_it(project_id) for project_id in _users(tx, policy))


def _in_use(network: Network, action: Action) -> Conflict:
    if action is Action.ACCESS_AS_SHARED:
        message = f"Unable to reconfigure sharing settings for network {network.id}. Multiple projects are using it."
        return Conflict(message, kind="InvalidSharedSetting")
    message = f"External network {network.id} cannot be updated to be made non-external, since it has existing gateway"
    return Conflict(f"{message} ports.", kind="ExternalNetworkInUse")


def _users(tx: Transaction, policy: RbacPolicy) -> Iterator[str]:
    """Yield the projects that use an object."""
    if policy.action is Action.ACCESS_AS_EXTERNAL:
        for floating in tx.records(Kind.FLOATING_IP, FloatingIp):
            if floating.network_id == policy.object_id:
                yield floating.project_id
        for router in tx.routers():
            if router.gateway is not None and router.gateway.network_id == policy.object_id:
                yield router.project_id
    elif policy.object_type is ObjectType.NETWORK:
        yield from _owners_of_ports(tx, NetworkId(policy.object_id))
    elif policy.object_type is ObjectType.SECURITY_GROUP:
        members = tx.records(Kind.SECURITY_GROUP_MEMBER, SecurityGroupMember, parent=policy.object_id)
        for view in tx.ports(ids=[PortId(member.port_id) for member in members]):
            yield view.port.project_id
    elif policy.object_type is ObjectType.SUBNET_POOL and not _is_for_all(tx, Kind.SUBNET_POOL, policy.object_id):
        for taken in tx.records(Kind.POOL_PREFIX, PoolPrefix, parent=policy.object_id):
            yield taken.project_id
    elif policy.object_type is ObjectType.ADDRESS_SCOPE and not _is_for_all(tx, Kind.ADDRESS_SCOPE, policy.object_id):
        for pool in tx.records(Kind.SUBNET_POOL, SubnetPool, parent=policy.object_id):
            yield pool.project_id


def _is_for_all(snapshot: Snapshot, kind: Kind, object_id: str) -> bool:
    """Tell whether a pool or a scope was made for all projects, who need no policy then."""
    found: SubnetPool | AddressScope | None
    if kind is Kind.SUBNET_POOL:
        found = snapshot.record(kind, SubnetPool, object_id)
    else:
        found = snapshot.record(kind, AddressScope, object_id)
    return found is not None and found.shared


def _owners_of_ports(tx: Transaction, network_id: NetworkId) -> Iterator[str]:
    after = ""
    while True:
        page = tx.ports(network_id=network_id, after_id=after, limit=PAGE)
        yield from (view.port.project_id for view in page)
        if len(page) < PAGE:
            return
        after = page[-1].port.id


def _check_unused(tx: Transaction, policy: RbacPolicy) -> None:
    if used_by_others(tx, policy):
        message = f"RBAC policy on object {policy.object_id} cannot be removed because other objects depend on it."
        raise Conflict(f"{message} Delete what project {policy.target_project} has on it.", kind="RbacPolicyInUse")


def _raise_flag(tx: Transaction, policy: RbacPolicy, *, to: bool) -> None:
    """Set the flag of a network that a policy for all projects stands for."""
    if policy.object_type is not ObjectType.NETWORK or policy.target_project != ALL:
        return
    network = tx.network(NetworkId(policy.object_id))
    assert network is not None, "a network outlives its policies"
    tx.put_network(changed(tx, network, **{_FLAGS[policy.action]: to}))


def _put(tx: Transaction, policy: RbacPolicy) -> None:
    tx.put_record(
        Kind.RBAC_POLICY,
        policy.id,
        policy,
        project_id=policy.project_id,
        name=_target(policy.object_type, policy.action, policy.target_project),
        parent=policy.object_id,
        unique=_key(policy),
    )


def _key(policy: RbacPolicy) -> str:
    return f"{policy.object_id}/{_target(policy.object_type, policy.action, policy.target_project)}"


def _target(type_: ObjectType, action: Action, project_id: str) -> str:
    return f"{type_}/{action}/{project_id}"


_FLAGS: Mapping[Action, str] = {Action.ACCESS_AS_SHARED: "shared", Action.ACCESS_AS_EXTERNAL: "external"}
_TYPES: Mapping[ObjectType, type[Owned]] = {
    ObjectType.SECURITY_GROUP: SecurityGroup,
    ObjectType.SUBNET_POOL: SubnetPool,
    ObjectType.ADDRESS_SCOPE: AddressScope,
}
_KINDS: Mapping[ObjectType, Kind] = {
    ObjectType.SECURITY_GROUP: Kind.SECURITY_GROUP,
    ObjectType.SUBNET_POOL: Kind.SUBNET_POOL,
    ObjectType.ADDRESS_SCOPE: Kind.ADDRESS_SCOPE,
}
