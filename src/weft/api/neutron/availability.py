"""How many addresses of each network are free: Neutron's network-ip-availabilities. For administrators."""

import json
from collections.abc import Container

from starlette.requests import Request
from starlette.responses import Response

from weft.api.neutron.attributes import Attribute, owned_attributes, shown
from weft.api.neutron.listing import Rendered, marker_among, matcher, page_links, page_of, parse_query, with_fields
from weft.api.neutron.policy import missing
from weft.api.neutron.values import one_of
from weft.api.routing import Operation
from weft.intent.availability import Availability, availabilities, availability_of
from weft.model.ids import NetworkId
from weft.model.intent import Network, Subnet
from weft.store import Snapshot, Store

_OWNED = owned_attributes()
_PATH = "/v2.0/network-ip-availabilities"

ATTRIBUTES = {
    "project_id": _OWNED["project_id"],
    "tenant_id": _OWNED["tenant_id"],
    "ip_version": Attribute(one_of(4, 6, "4", "6"), sorts=False),
    "network_id": shown(filters=True, sorts=True),
    "network_name": shown(filters=True),
    "total_ips": shown(),
    "used_ips": shown(),
}


class AvailabilityPages:
    """The pages of networks' availability."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [Operation("GET", _PATH, self.index), Operation("GET", _PATH + "/{id}", self.show)]

    async def index(self, request: Request) -> Response:
        """Answer the availability of the networks that pass the query's filters; of an IP version, if it names one."""
        query = parse_query(ATTRIBUTES, request.query_params.multi_items())
        versions = query.filters.get("ip_version")
        filters = {name: values for name, values in query.filters.items() if name != "ip_version"}
        matches = matcher(ATTRIBUTES, type(query)(filters=filters))

        def look(snapshot: Snapshot) -> list[Rendered]:
            wanted = filters.get("network_id")
            found = [network for network in snapshot.networks() if wanted is None or network.id in wanted]
            return [_render(network, subnets, versions) for network, subnets in availabilities(snapshot, found)]

        found = [{**each, "id": each["network_id"]} for each in await self._store.read(look) if matches(each)]
        page = page_of(found, query, marker_among(found, query))
        shown = [{name: value for name, value in each.items() if name != "id"} for each in page]
        body: dict[str, object] = {"network_ip_availabilities": [with_fields(each, query.fields) for each in shown]}
        if links := page_links(request, query, page):
            body["network_ip_availabilities_links"] = links
        return _answer(body)

    async def show(self, request: Request) -> Response:
        """Answer the availability of one network."""
        id_ = NetworkId(request.path_params["id"])

        def look(snapshot: Snapshot) -> Rendered:
            network = snapshot.network(id_)
            if network is None:
                raise missing("Network", id_)
            return _render(network, availability_of(snapshot, network), None)

        return _answer({"network_ip_availability": await self._store.read(look)})


def _render(network: Network, subnets: list[tuple[Subnet, Availability]], versions: Container[str] | None) -> Rendered:
    wanted = [(subnet, each) for subnet, each in subnets if versions is None or str(subnet.cidr.version) in versions]
    return {
        "network_id": network.id,
        "network_name": network.name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "subnet_ip_availability": [
            {
                "subnet_id": subnet.id,
                "ip_version": subnet.cidr.version,
                "cidr": str(subnet.cidr),
                "subnet_name": subnet.name,
                **_numbers(each),
            }
            for subnet, each in wanted
        ],
        **_numbers(sum((each for _, each in wanted), Availability())),
    }


def _numbers(found: Availability) -> Rendered:
    return {
        "used_ips": found.used_in_subnet,
        "total_ips": found.in_pools,
        "ip_availability_details": {
            "total_ips_in_subnet": found.in_subnet,
            "total_ips_in_allocation_pool": found.in_pools,
            "used_ips_in_subnet": found.used_in_subnet,
            "used_ips_in_allocation_pool": found.used_in_pools,
        },
    }


def _answer(body: object) -> Response:
    """Return a JSON answer whose numbers may have more than 64 bits, which the usual encoder refuses."""
    return Response(json.dumps(body), media_type="application/json")
