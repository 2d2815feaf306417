"""What a pod's metadata says that concerns its port. Pure."""

from collections.abc import Mapping

import msgspec

PREFIX = "weft.dev/"
PORT_NAME, NETWORK_LABELS, FIXED_IP, RELEASE = (
    f"{PREFIX}{word}" for word in ("port-name", "network-labels", "fixed-ip", "release")
)
NETWORK_LABEL_PREFIX = "network-labels.weft.dev/"
"""A label's value can hold neither ``=`` nor ``,``: ``network-labels.weft.dev/env: prod`` asks for env=prod."""
STATEFUL_SET = "StatefulSet"
MIRRORS = "kubernetes.io/config.mirror"
"""Annotation of the pod that stands in the API for one that the kubelet read from a file: that one's uid, which is the
one that the kubelet names to the network."""
SOURCE = "kubernetes.io/config.source"
"""Annotation by which the kubelet says where it has a pod from; ``api``, or ``file`` and ``http`` for a static pod."""


class Owner(msgspec.Struct, frozen=True):
    """What controls a pod: its ownerReference with ``controller: true``."""

    kind: str
    name: str


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as far as its port is concerned. Labels and annotations are only those that are weft's."""

    namespace: str
    name: str
    uid: str
    mirrors: str | None = None
    """The uid of the static pod that this one mirrors."""
    owner: Owner | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    namespace_annotations: Mapping[str, str] = {}
    """What its namespace says for all pods that say nothing else."""

    @property
    def is_sticky(self) -> bool:
        """Whether the pod that comes after it has its name: a StatefulSet's."""
        return self.owner is not None and self.owner.kind == STATEFUL_SET

    def is_of(self, uid: str) -> bool:
        """Tell whether the kubelet means this pod by a uid; none (an old runtime) is any."""
        return not uid or uid in {self.uid, self.mirrors}

    @property
    def asked(self) -> dict[str, str]:
        """What is asked for the pod, by weft's keys: annotations win over labels, these over the namespace."""
        found: dict[str, str] = {}
        for said in (self.namespace_annotations, self.labels, self.annotations):
            if NETWORK_LABELS in said or any(key.startswith(NETWORK_LABEL_PREFIX) for key in said):
                found = {key: value for key, value in found.items() if not key.startswith(NETWORK_LABEL_PREFIX)}
                found.pop(NETWORK_LABELS, None)
            found |= said
        return found


def ours(said: Mapping[str, str] | None) -> dict[str, str]:
    """Return those labels or annotations that are weft's."""
    return {key: value for key, value in (said or {}).items() if key.startswith((PREFIX, NETWORK_LABEL_PREFIX))}
