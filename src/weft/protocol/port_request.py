"""What a caller of /v1 asks a port to be: the body of ``POST /v1/ports`` and of ``PUT /v1/ports/by-name/...``.

The answer is a PortAnswer. Texts hold no NUL character; what is left out is chosen by weft.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from weft.protocol.choice import NetworkChoice
from weft.protocol.port import PortStatus

Text = Annotated[str, msgspec.Meta(max_length=255, pattern="^[^\\x00]*$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[^\\x00]*$")]
Labels = Annotated[Mapping[Name, Text], msgspec.Meta(max_length=64)]


class AddressRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address: exactly this one, or any of a subnet."""

    subnet_id: Text | None = None
    address: Text | None = None


class PortRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port in the network that is named, or in any that has all of `network_labels` (of `site`, if one is named)."""

    network_id: Text | None = None
    network_labels: Labels = {}
    site: Name | None = None
    project_id: Name | None = None
    """None: the caller's."""
    name: Text = ""
    description: Text = ""
    tags: Annotated[tuple[Text, ...], msgspec.Meta(max_length=50)] = ()
    node: Name | None = None
    """Bind it in the same transaction."""
    mac: Text | None = None
    fixed_ips: Annotated[tuple[AddressRequest, ...], msgspec.Meta(max_length=16)] | None = None
    """None: an address of each family that the network has."""
    device_id: Text = ""
    device_owner: Text = ""
    admin_state_up: bool = True
    labels: Labels = {}
    """Of the port itself."""


class PortAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The port; whether this request made it; why it is in its network, if that was chosen by labels just now."""

    port: PortStatus
    created: bool
    network_choice: NetworkChoice | None = None
