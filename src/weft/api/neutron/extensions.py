"""The extensions that this server has: those whose promise it keeps, in Neutron's words.

SDKs and Nova choose their behaviour from this list, so nothing stands here that is only stored and shown: that is why
extra_dhcp_opt and dns-integration are missing. Ports keep DHCP options and DNS names, but weft runs no server that
would give them to anybody. The same holds for security-group, ext-gw-mode and what floating IPs come with: the objects
are there, and no agent filters or translates by them yet.
"""

from collections.abc import Mapping


def _extension(alias: str, name: str, description: str, updated: str) -> tuple[str, Mapping[str, object]]:
    return alias, {"name": name, "alias": alias, "description": description, "updated": updated, "links": []}


EXTENSIONS: Mapping[str, Mapping[str, object]] = dict(
    (
        _extension(
            "aap-reject-multicast",
            "Allowed address pairs reject multicast extension",
            "Reject multicast addresses in Allowed Address Pairs",
            "2026-04-01T00:00:00-00:00",
        ),
        _extension("address-scope", "Address scope", "Address scopes extension.", "2015-07-26T10:00:00-00:00"),
        _extension("agent", "agent", "The agent management extension.", "2013-02-03T10:00:00-00:00"),
        _extension(
            "allowed-address-pairs",
            "Allowed Address Pairs",
            "Provides allowed address pairs",
            "2013-07-23T10:00:00-00:00",
        ),
        _extension(
            "availability_zone", "Availability Zone", "The availability zone extension.", "2015-01-01T10:00:00-00:00"
        ),
        _extension(
            "availability_zone_filter",
            "Availability Zone Filter Extension",
            "Add filter parameters to AvailabilityZone resource",
            "2018-06-22T10:00:00-00:00",
        ),
        _extension(
            "binding",
            "Port Binding",
            "Expose port bindings of a virtual port to external application",
            "2014-02-03T10:00:00-00:00",
        ),
        _extension(
            "binding-extended",
            "Port Bindings Extended",
            "Expose port bindings of a virtual port to external application",
            "2017-07-17T10:00:00-00:00",
        ),
        _extension(
            "default-subnetpools",
            "Default Subnetpools",
            "Provides ability to mark and use a subnetpool as the default.",
            "2016-02-18T18:00:00-00:00",
        ),
        _extension(
            "empty-string-filtering",
            "Empty String Filtering Extension",
            "Allow filtering by attributes with empty string value",
            "2018-05-01T10:00:00-00:00",
        ),
        _extension(
            "external-net",
            "Neutron external network",
            "Adds external network attribute to network resource.",
            "2013-01-14T10:00:00-00:00",
        ),
        _extension(
            "filter-validation",
            "Filter parameters validation",
            "Provides validation on filter parameters.",
            "2018-07-04T10:00:00-00:00",
        ),
        _extension(
            "ip-substring-filtering",
            "IP address substring filtering",
            "Provides IP address substring filtering when listing ports",
            "2017-11-28T09:00:00-00:00",
        ),
        _extension(
            "ip_allocation",
            "IP Allocation",
            "IP allocation extension.",
            "2016-06-10T23:00:00-00:00",
        ),
        _extension(
            "l2_adjacency",
            "L2 Adjacency",
            "Display L2 Adjacency for Neutron Networks.",
            "2016-04-12T16:00:00-00:00",
        ),
        _extension(
            "net-mtu",
            "Network MTU",
            "Provides MTU attribute for a network resource.",
            "2015-03-25T10:00:00-00:00",
        ),
        _extension(
            "net-mtu-writable",
            "Network MTU (writable)",
            "Provides a writable MTU attribute for a network resource.",
            "2017-07-12T00:00:00-00:00",
        ),
        _extension(
            "network-ip-availability",
            "Network IP Availability",
            "Provides IP availability data for each network and subnet.",
            "2015-09-24T00:00:00-00:00",
        ),
        _extension(
            "network-ip-availability-details",
            "Network IP Availability Details Extension",
            "Add ip_availability_details attribute to network-ip-availabilities resource.",
            "2025-10-31T00:00:00-00:00",
        ),
        _extension(
            "network_availability_zone",
            "Network Availability Zone",
            "Availability zone support for network.",
            "2015-01-01T10:00:00-00:00",
        ),
        _extension(
            "pagination",
            "Pagination support",
            "Extension that indicates that pagination is enabled.",
            "2016-06-12T00:00:00-00:00",
        ),
        _extension(
            "port-mac-address-regenerate",
            "Neutron Port MAC address regenerate",
            "Network port MAC address regenerate",
            "2018-05-03T10:00:00-00:00",
        ),
        _extension(
            "port-security",
            "Port Security",
            "Provides port security",
            "2012-07-23T10:00:00-00:00",
        ),
        _extension(
            "project-id",
            "project_id field enabled",
            "Extension that indicates that project_id field is enabled.",
            "2016-09-09T09:09:09-09:09",
        ),
        _extension(
            "provider",
            "Provider Network",
            "Expose mapping of virtual networks to physical networks",
            "2012-09-07T10:00:00-00:00",
        ),
        _extension(
            "quota-check-limit",
            "Quota engine limit check",
            "Support for checking the resource usage before applying a new quota limit",
            "2021-09-08T16:00:00-00:00",
        ),
        _extension(
            "quota_details",
            "Quota details management support",
            "Expose functions for quotas usage statistics per project",
            "2017-02-10T10:00:00-00:00",
        ),
        _extension(
            "quotas",
            "Quota management support",
            "Expose functions for quotas management per project",
            "2012-07-29T10:00:00-00:00",
        ),
        _extension(
            "rbac-address-scope",
            "Add address_scope type to RBAC",
            "Add address_scope type to RBAC",
            "2020-02-12T00:00:00-00:00",
        ),
        _extension(
            "rbac-policies",
            "RBAC Policies",
            "Allows creation and modification of policies that control project access to resources.",
            "2015-06-17T12:15:12-00:00",
        ),
        _extension(
            "rbac-subnetpool", "Add subnetpool type to RBAC", "Add subnetpool type to RBAC", "2020-02-05T00:00:00-00:00"
        ),
        _extension(
            "revision-if-match",
            "If-Match constraints based on revision_number",
            "Extension indicating that If-Match based on revision_number is supported.",
            "2016-12-11T00:00:00-00:00",
        ),
        _extension(
            "router",
            "Neutron L3 Router",
            "Router abstraction for basic L3 forwarding between L2 Neutron networks and access to external "
            "networks via a NAT gateway.",
            "2012-07-20T10:00:00-00:00",
        ),
        _extension(
            "router_availability_zone",
            "Router Availability Zone",
            "Availability zone support for router.",
            "2015-01-01T10:00:00-00:00",
        ),
        _extension(
            "sorting",
            "Sorting support",
            "Extension that indicates that sorting is enabled.",
            "2016-06-12T00:00:00-00:00",
        ),
        _extension(
            "standard-attr-description",
            "standard-attr-description",
            "Extension to add descriptions to standard attributes",
            "2016-02-10T10:00:00-00:00",
        ),
        _extension(
            "standard-attr-revisions",
            "Resource revision numbers",
            "This extension will display the revision number of neutron resources.",
            "2016-04-11T10:00:00-00:00",
        ),
        _extension(
            "standard-attr-tag",
            "Tag support for resources with standard attribute: port, subnet, subnetpool, network, "
            "security_group, router, floatingip, policy, trunk, network_segment_range",
            "Enables to set tag on resources with standard attribute.",
            "2017-01-01T00:00:00-00:00",
        ),
        _extension(
            "standard-attr-timestamp",
            "Resource timestamps",
            "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
            "2016-09-12T10:00:00-00:00",
        ),
        _extension(
            "subnet-external-network",
            "Subnet belongs to an external network",
            "Informs if the subnet belongs to an external network",
            "2024-02-05T18:00:00-00:00",
        ),
        _extension(
            "subnet_allocation",
            "Subnet Allocation",
            "Enables allocation of subnets from a subnet pool",
            "2015-03-30T10:00:00-00:00",
        ),
        _extension(
            "tag-creation",
            "Tag creation extension",
            "Allow to create multiple tags for a resource",
            "2024-23-07T10:00:00-00:00",
        ),
    )
)
