"""The agent's configuration: one frozen value, read once from TOML, checked without touching the machine."""

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from weft.model.addresses import parse_address, parse_interface
from weft.model.errors import Invalid
from weft.protocol.workload import MAX_WARM

MIN_MTU_BYTES = 1280
MAX_MTU_BYTES = 65535
MAX_SOCKET_PATH_BYTES = 107
"""Linux's sun_path without its closing zero (unix(7))."""
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""A DNS subdomain, as all names of Kubernetes' nodes are."""


class BondMode(StrEnum):
    """How several NICs are one uplink. balance-tcp needs LACP on the leaf."""

    ACTIVE_BACKUP = "active-backup"
    BALANCE_TCP = "balance-tcp"


class Datapath(StrEnum):
    """Where Open vSwitch forwards: in the kernel (system), in ovs-vswitchd (netdev), or where it can (auto)."""

    AUTO = "auto"
    SYSTEM = "system"
    NETDEV = "netdev"


class OvsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Open vSwitch is and how it forwards."""

    run_dir: str = "/run/openvswitch"
    """Where ovs-vswitchd keeps its bridges' OpenFlow sockets (OVS_RUNDIR)."""
    db: str | None = None
    """Unix socket of ovsdb-server; ``db.sock`` in run_dir if left out."""
    datapath: Datapath = Datapath.AUTO
    bond_mode: BondMode = BondMode.ACTIVE_BACKUP

    @property
    def db_path(self) -> str:
        """Unix socket of ovsdb-server."""
        return self.db or f"{self.run_dir}/db.sock"


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cluster whose pods this node runs; ``[kubernetes]``."""

    kubeconfig: str | None = None
    """A kubeconfig file; None: the service account of the pod that the agent runs in."""
    context: str | None = None
    """Of the kubeconfig; None: its current one."""
    node: str | None = None
    """What the kubelet calls this node; None: as weft does."""
    labels: bool = True
    """Whether pods' labels and namespaces' annotations may choose network and address, as pods' annotations do. If not,
    pods are added while the API server is away, too, if the runtime passes annotations."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an agent has to know; what a NodeBootstrap says, plus where things are on the machine."""

    node: str
    server: str | tuple[str, ...]
    """``https://host:port``, ``http://host:port`` or ``unix:/path``; with several, the next is tried when one does not
    answer."""
    nics: tuple[str, ...]
    """Physical interfaces, all cabled to the node's leaf or its MLAG pair."""
    token_file: str | None = None
    """File with the node's token; read at each connection, so that it can be renewed in place."""
    ca_file: str | None = None
    """Authorities of an https server's certificate (PEM); the system's if left out."""
    certificate_file: str | None = None
    """The node's own certificate, CN=node:NAME (PEM); read at each connection, so that it can be renewed in place."""
    key_file: str | None = None
    """The certificate's key; in the same file if left out."""
    management: str | None = None
    """The node's own address with prefix length, put on br-bond."""
    gateway: str | None = None
    routes: tuple[str, ...] = ("0.0.0.0/0",)
    """Destinations that are reached by `gateway`."""
    mtu_bytes: int = 1500
    """Of the NICs and br-bond."""
    cni_socket: str | None = None
    """Where the CNI plugin of this node's container runtime finds the agent; None: it serves none."""
    kubernetes: KubernetesSettings | None = None
    """None: containers are of no Kubernetes cluster, or are known by what their runtime says of them."""
    cni_warm_cables: int = 8
    """Cables that are kept ready for containers of whatever network."""
    cni_warm_ports: int = 8
    """Ports that are kept ready for containers, of each network that containers lately asked for; 0: none."""
    cni_warm_ports_max: int = 64
    """As many may become of them while many containers start."""
    cni_warm_hold_s: float = 600.0
    """So long after the last container of a network its ports are kept ready."""
    ovs: OvsSettings = OvsSettings()

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers in the order in which they are tried."""
        return (self.server,) if isinstance(self.server, str) else self.server


def load(path: Path) -> AgentSettings:
    """Read and check a settings file; raise Invalid with every problem found."""
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise Invalid(f"the settings file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{path} is not TOML: {error}") from error
    try:
        return parse(document)
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error


def parse(document: dict[str, Any]) -> AgentSettings:
    """Return the settings that a TOML document says; raise Invalid with every problem found."""
    try:
        settings = msgspec.convert(document, AgentSettings)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    if found := problems(settings):
        raise Invalid("; ".join(found))
    return settings


def problems(settings: AgentSettings) -> list[str]:
    """Return everything that is wrong with the settings as a whole."""
    found = [f"'{name}' is empty" for name in ("node", "server", "nics") if not getattr(settings, name)]
    found += [f"nics names '{nic}' twice" for nic in sorted(set(settings.nics)) if settings.nics.count(nic) > 1]
    # 15 bytes: IFNAMSIZ of Linux, less the final zero.
    found += [f"'{nic}' in nics is not an interface name" for nic in settings.nics if not 0 < len(nic.encode()) < 16]
    for server in settings.servers:
        if not server.startswith(("http://", "https://", "unix:")):
            found.append(f"server '{server}' is neither http://host:port, https://host:port nor unix:/path")
    if settings.cni_socket is not None and not _is_socket_path(settings.cni_socket):
        found.append(f"cni_socket '{settings.cni_socket}' is no absolute path of at most {MAX_SOCKET_PATH_BYTES} bytes")
    if settings.kubernetes is not None:
        found += _kubernetes_problems(settings.kubernetes, serves=settings.cni_socket is not None)
    for name in ("cni_warm_cables", "cni_warm_ports", "cni_warm_ports_max"):
        if not 0 <= (count := getattr(settings, name)) <= MAX_WARM:
            found.append(f"{name} = {count} is not between 0 and {MAX_WARM}")
    if settings.cni_warm_hold_s < 0:
        found.append(f"cni_warm_hold_s = {settings.cni_warm_hold_s} is negative")
    if settings.key_file is not None and settings.certificate_file is None:
        found.append("key_file is set, but no certificate_file that it is the key of")
    if not MIN_MTU_BYTES <= settings.mtu_bytes <= MAX_MTU_BYTES:
        found.append(f"mtu_bytes = {settings.mtu_bytes} is not between {MIN_MTU_BYTES} and {MAX_MTU_BYTES}")
    return found + _address_problems(settings)


def _kubernetes_problems(settings: KubernetesSettings, *, serves: bool) -> list[str]:
    found = [] if serves else ["[kubernetes] is set, but no cni_socket for its pods"]
    if settings.context is not None and settings.kubeconfig is None:
        found.append(f"[kubernetes] context '{settings.context}' is set, but no kubeconfig that it is in")
    if settings.node is not None and not _NODE_NAME.fullmatch(settings.node):
        found.append(
            f"[kubernetes] node '{settings.node}' is no name of a Kubernetes node: lower case letters, digits, - and ."
        )
    return found


def _is_socket_path(path: str) -> bool:
    return path.startswith("/") and len(path.encode()) <= MAX_SOCKET_PATH_BYTES


def _address_problems(settings: AgentSettings) -> list[str]:
    if settings.management is None:
        return [] if settings.gateway is None else ["gateway is set, but no management address to reach it from"]
    try:
        management = parse_interface(settings.management)
        gateway = parse_address(settings.gateway) if settings.gateway is not None else None
        destinations = [parse_interface(route) for route in settings.routes]
    except Invalid as error:
        return [error.message]
    found = []
    if gateway is not None and (gateway not in management.network or gateway == management.ip):
        found.append(f"gateway {gateway} is not another address in the management network {management.network}")
    for destination in destinations:
        if destination.version != management.version:
            found.append(f"route {destination} and management address {management} are of different families")
        elif destination.ip != destination.network.network_address:
            found.append(f"route {destination} has host bits set; write {destination.network}")
    return found
