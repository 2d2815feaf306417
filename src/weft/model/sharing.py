"""Sharing: who, besides its owner, may use an object, and how."""

from enum import StrEnum

from weft.model.intent import Owned

ALL = "*"
"""The target of a policy for every project."""


class ObjectType(StrEnum):
    """What can be shared."""

    NETWORK = "network"
    SECURITY_GROUP = "security_group"
    SUBNET_POOL = "subnetpool"
    ADDRESS_SCOPE = "address_scope"


class Action(StrEnum):
    """What the other project may do with the object."""

    ACCESS_AS_SHARED = "access_as_shared"
    ACCESS_AS_EXTERNAL = "access_as_external"


class RbacPolicy(Owned, frozen=True, kw_only=True):
    """An object shared with a project by the one that owns it, and so the policy."""

    id: str
    object_type: ObjectType
    object_id: str
    action: Action
    target_project: str
    """ALL: every project."""
