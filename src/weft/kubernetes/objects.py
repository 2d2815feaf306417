"""What the Kubernetes API sends, as far as it is read: metadata of objects, lists, watch events, failures. Pure.

The metadata comes alone where the server can do that (PartialObjectMetadata, Kubernetes 1.15), and with the rest of the
object where it cannot; the rest is not looked at.
"""

from collections.abc import Mapping

import msgspec

from weft.kubernetes.pod import MIRRORS, Owner, PodFacts, ours


class Resource(msgspec.Struct, frozen=True):
    """A kind of object: where the API has it, and what it is called."""

    root: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of all of them, those of a namespace, or one."""
        parts = [self.root, *(["namespaces", namespace] if namespace is not None else []), self.plural]
        return "/".join(["", *parts, *([name] if name is not None else [])])


PODS = Resource("api/v1", "pods")
NAMESPACES = Resource("api/v1", "namespaces", namespaced=False)
STATEFUL_SETS = Resource("apis/apps/v1", "statefulsets")


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True):
    """Who made an object; one of them controls it."""

    kind: str
    name: str
    controller: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object's metadata; null and absent are the same to the API."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace or "", self.name


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """Any object."""

    metadata: ObjectMeta


class ListMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of which state a list is, and what to say for the rest of it."""

    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class ObjectList(msgspec.Struct, frozen=True, kw_only=True):
    """A list, or a piece of one."""

    metadata: ListMeta
    items: list[Object] | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK with an object, or ERROR with a Status."""

    type: str
    object: msgspec.Raw


class StatusDetails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a failure says besides."""

    name: str | None = None
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a request failed."""

    kind: str = ""
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None


def pod_facts(pod: Object) -> PodFacts:
    """Return what a pod's metadata says that concerns its port."""
    meta = pod.metadata
    owner = next((each for each in meta.owner_references or () if each.controller), None)
    return PodFacts(
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid or "",
        mirrors=(meta.annotations or {}).get(MIRRORS),
        owner=None if owner is None else Owner(owner.kind, owner.name),
        labels=ours(meta.labels),
        annotations=ours(meta.annotations),
    )


def namespace_annotations(namespace: Object) -> Mapping[str, str]:
    """Return what a namespace says for its pods."""
    return ours(namespace.metadata.annotations)
