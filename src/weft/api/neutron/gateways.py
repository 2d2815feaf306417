"""The external gateway of a router, as its attribute external_gateway_info has it."""

from weft.api.neutron.attributes import Level
from weft.api.neutron.policy import missing
from weft.api.neutron.port_values import fixed_ips
from weft.api.neutron.rows import Values
from weft.api.neutron.values import Refused, boolean, identifier, only
from weft.intent.gateways import GatewaySpec
from weft.intent.visibility import network_visible
from weft.model.ids import NetworkId
from weft.model.intent import Router
from weft.store import Snapshot

_KEYS = {"network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"}


def gateway_info(value: object) -> GatewaySpec | None:
    """Accept an object with a network_id; null and an empty object are no gateway."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or value.keys() - _KEYS:
        raise Refused(f"'{value}' is not an object with some of {sorted(_KEYS)}")
    if "network_id" not in value:
        raise Refused("network_id must be given")
    only(None)(value.get("qos_policy_id"))
    addresses = value.get("external_fixed_ips")
    return GatewaySpec(
        network_id=NetworkId(identifier(value["network_id"])),
        enable_snat=boolean(value.get("enable_snat", True)),
        fixed_ips=fixed_ips(addresses) if addresses else None,
    )


def who_sets_gateway(value: object) -> Level:
    """Return who may ask for a gateway: one without SNAT, or with addresses of one's choice, administrators only."""
    plain = value is None or (isinstance(value, GatewaySpec) and value.enable_snat and value.fixed_ips is None)
    return Level.PROJECT if plain else Level.ADMINISTRATOR


def render_gateway(snapshot: Snapshot, router: Router) -> dict[str, object] | None:
    """Return a router's gateway as Neutron shows it."""
    gateway = router.gateway
    if gateway is None:
        return None
    view = snapshot.port(gateway.port_id)
    held = () if view is None else view.port.fixed_ips
    return {
        "network_id": gateway.network_id,
        "enable_snat": gateway.enable_snat,
        "external_fixed_ips": [{"subnet_id": ip.subnet_id, "ip_address": str(ip.address)} for ip in held],
    }


def check_gateway_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Raise NotFound if a router shall have a gateway on a network that the project may not see."""
    spec = values.get("external_gateway_info")
    network = None if spec is None else snapshot.network(spec.network_id)
    if network is not None and not network_visible(snapshot, network, project):
        raise missing("Network", network.id)
