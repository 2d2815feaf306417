"""Which workload a container is, and what it asks of the network: from the call and what is known of its pod. Pure.

Kubernetes names a pod in CNI_ARGS and says the rest in its API (``PodFacts``), or at least its annotations by a
capability of the runtime; Mesos writes labels into ``args["org.apache.mesos"]``.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.request import Call, Configuration
from weft.kubernetes.pod import FIXED_IP, NETWORK_LABEL_PREFIX, NETWORK_LABELS, PORT_NAME, RELEASE, PodFacts

ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
MESOS = "org.apache.mesos"
_ORDINAL = re.compile(r".*-(0|[1-9]\d{0,3})")
"""How a StatefulSet's pods end; random suffixes of other workloads have no 0 and no 1, and five characters."""


class PodName(msgspec.Struct, frozen=True):
    """A pod as the kubelet names it to the network."""

    namespace: str
    name: str
    uid: str = ""


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """A container's workload, and what it asks for."""

    name: str
    ephemeral: bool
    network: str | None = None
    network_labels: Mapping[str, str] = {}
    address: str | None = None
    mac: str | None = None
    release: str | None = None
    """When its port is released after it is gone; None: as its network has it."""


def pod_of(call: Call) -> PodName | None:
    """Return the pod that a call names; None if it is of no pod."""
    args = _args(call)
    namespace, name = args.get("K8S_POD_NAMESPACE"), args.get("K8S_POD_NAME")
    return PodName(namespace, name, args.get("K8S_POD_UID", "")) if namespace and name else None


def annotations_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the pod's annotations that the runtime passes by the capability; empty: it passes none.

    Every pod that a kubelet runs has some: the kubelet adds its own.
    """
    given = document.get("runtimeConfig", {})
    annotations = given.get(ANNOTATIONS, {}) if isinstance(given, dict) else {}
    return {key: value for key, value in annotations.items() if isinstance(value, str)} if annotations else {}


def naming(call: Call, found: Configuration, document: Mapping[str, Any], pod: PodFacts | None = None) -> Naming:
    """Return which workload a container is: a pod by namespace and name, a Mesos task by its label, else itself.

    `pod` is what the orchestrator knows of it; without that, annotations of the runtime and the pod's name must do.
    Raises CniError for an ADD that asks for what cannot be read.
    """
    asked = _mesos(document) | annotations_of(document) if pod is None else pod.asked
    cluster = found.cluster or found.name
    named = pod_of(call)
    own = asked.get(PORT_NAME)
    if own:
        name, ephemeral = own, False
    elif named is not None:
        sticky = _ORDINAL.fullmatch(named.name) is not None if pod is None else pod.is_sticky
        name, ephemeral = f"{cluster}/{named.namespace}/{named.name}", not sticky
    else:
        name, ephemeral = f"{cluster}/{call.container_id}", True
    release = asked.get(RELEASE) or None
    if release is not None:
        ephemeral = release == "now"
    elif found.stable_names is not None and (own or named is not None):
        ephemeral = not found.stable_names
    labels = _network_labels(asked, strict=call.command == "ADD")
    suffix = "" if call.ifname == "eth0" else f"/{call.ifname}"
    return Naming(
        name=name + suffix,
        ephemeral=ephemeral,
        network=None if labels else found.network,
        network_labels=labels or found.network_labels,
        address=asked.get(FIXED_IP) or _args(call).get("IP") or None,
        mac=_args(call).get("MAC") or None,
        release=release,
    )


def _args(call: Call) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in call.args.split(";") if pair)


def _network_labels(asked: Mapping[str, str], *, strict: bool) -> dict[str, str]:
    """Read ``weft.dev/network-labels: env=prod,tier`` and ``network-labels.weft.dev/env: prod``.

    Raises CniError for a label without a key, if `strict`: a wrong annotation is no reason not to delete.
    """
    written = asked.get(NETWORK_LABELS, "")
    labels = {
        key.removeprefix(NETWORK_LABEL_PREFIX): value
        for key, value in asked.items()
        if key.startswith(NETWORK_LABEL_PREFIX)
    }
    for pair in written.split(","):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key:
            labels[key] = value
        elif pair.strip() and strict:
            message = f"{NETWORK_LABELS} is '{written}', with a label that has no key"
            raise CniError(Code.INVALID_CONFIGURATION, message, "write KEY=VALUE,KEY=VALUE")
    return labels


def _mesos(document: Mapping[str, Any]) -> dict[str, str]:
    """Read the labels of a Mesos task (mesos.proto, NetworkInfo)."""
    args = document.get("args", {})
    given = args.get(MESOS, {}) if isinstance(args, dict) else {}
    info = given.get("network_info", {}) if isinstance(given, dict) else {}
    labels = info.get("labels", {}) if isinstance(info, dict) else {}
    listed = labels.get("labels", []) if isinstance(labels, dict) else []
    if not isinstance(listed, list):
        return {}
    return {str(each.get("key")): str(each.get("value", "")) for each in listed if isinstance(each, dict)}
