"""Which held ports' objects are gone from their cluster: decided from whole lists, and twice. Pure.

A workload of a cluster is called ``cluster/namespace/pod``. What it is held for is the StatefulSet that makes pods of
that name, or the pod itself; it is gone when neither is there. A StatefulSet that is scaled down is there: its ordinals
keep their ports.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from weft.model.ids import Epoch, PortId

MIN_APART_S = 50.0
"""Two looks that agree are at least this far apart; less than the controller's pace, which no clock keeps exactly."""
_ORDINAL = re.compile(r"(.+)-(?:0|[1-9]\d*)")

Key = tuple[str, str]
Suspects = Mapping[tuple[PortId, Epoch], float]
"""Held ports whose objects were not there, and since when."""


class Held(Protocol):
    """A port that no container has, kept for the workload of a name."""

    @property
    def port_id(self) -> PortId: ...

    @property
    def epoch(self) -> Epoch: ...

    @property
    def name(self) -> str: ...


H = TypeVar("H", bound=Held)


class PodRef(msgspec.Struct, frozen=True):
    """The pod that a workload is named for."""

    namespace: str
    pod: str

    @property
    def stateful_set(self) -> str | None:
        """The StatefulSet that makes a pod of this name."""
        found = _ORDINAL.fullmatch(self.pod)
        return None if found is None else found[1]


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster has: all its StatefulSets, and all pods of the namespaces that were asked about."""

    stateful_sets: Collection[Key]
    pods: Collection[Key]
    namespaces: Collection[str]

    def has(self, ref: PodRef) -> bool:
        """Tell whether what a workload of a namespace that was asked about is named for is there."""
        if (ref.namespace, ref.pod) in self.pods:
            return True
        owner = ref.stateful_set
        return owner is not None and (ref.namespace, owner) in self.stateful_sets


def pod_ref(workload: str, cluster: str) -> PodRef | None:
    """Return the pod that a workload is named for (``cluster/namespace/pod``, or with ``/interface``).

    None for a name of another form: somebody chose it, and nobody knows what it is of.
    """
    parts = workload.split("/")
    if not 3 <= len(parts) <= 4 or parts[0] != cluster or not all(parts):
        return None
    return PodRef(parts[1], parts[2])


def namespaces_of(held: Iterable[Held], cluster: str) -> list[str]:
    """Return the namespaces that have to be asked about."""
    refs = (pod_ref(each.name, cluster) for each in held)
    return sorted({ref.namespace for ref in refs if ref is not None})


def departed(
    held: Iterable[H], present: Present, cluster: str, suspects: Suspects, now: float
) -> tuple[list[H], Suspects]:
    """Return the held ports whose objects are gone now and were gone at an earlier look; and the suspects for the next.

    A port that a container has had meanwhile has another epoch, and begins anew.
    """
    gone: list[H] = []
    still: dict[tuple[PortId, Epoch], float] = {}
    for each in held:
        key, ref = (each.port_id, each.epoch), pod_ref(each.name, cluster)
        if ref is None:
            continue
        if ref.namespace not in present.namespaces:
            if key in suspects:
                still[key] = suspects[key]
        elif not present.has(ref):
            still[key] = suspects.get(key, now)
            if now - still[key] >= MIN_APART_S:
                gone.append(each)
    return gone, still
