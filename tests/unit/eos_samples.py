"""Switch configurations under the names that EOS gives its interfaces."""

from msgspec.structs import replace

from weft.fabric.config import SwitchConfig


def as_eos(config: SwitchConfig) -> SwitchConfig:
    """Return a configuration with ``Ethernet1`` for ``eth1``, and an MTU that EOS takes."""
    underlay = config.underlay
    assert underlay is not None
    management = underlay.management
    if management is not None:
        management = replace(management, interfaces=tuple(map(_named, management.interfaces)))
    links = tuple(sorted(replace(link, interface=_named(link.interface)) for link in underlay.links))
    return replace(
        config,
        underlay=replace(underlay, links=links, management=management, mtu_bytes=9214),
        attachments=tuple(sorted(replace(each, interface=_named(each.interface)) for each in config.attachments)),
    )


def _named(interface: str) -> str:
    return interface.replace("eth", "Ethernet")
