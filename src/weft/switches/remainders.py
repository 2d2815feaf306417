"""What was made from an observation, to try one step alone, may hold what is there only in part; it cannot be made."""

import msgspec

from weft.fabric.config import SwitchConfig

USUAL_MTU_BYTES = 9216
"""What is taken to be the MTU of a fabric about which nothing is known yet."""


def usual_mtu(like: SwitchConfig) -> int:
    """Return the fabric's MTU as it was last applied, in bytes."""
    return like.underlay.mtu_bytes if like.underlay else USUAL_MTU_BYTES


def without_remainders(config: SwitchConfig, like: SwitchConfig) -> SwitchConfig:
    """Return a configuration without what is there only in part (number 0), and without what rests on that.

    A target that was made from an observation, to try one step alone, may hold such things; they cannot be made.
    """
    underlay = config.underlay
    if underlay is not None:
        links = tuple(link for link in underlay.links if link.peer_asn)
        underlay = msgspec.structs.replace(underlay, links=links, mtu_bytes=underlay.mtu_bytes or usual_mtu(like))
    vrfs = tuple(vrf for vrf in config.vrfs if vrf.l3vni)
    names = {None, *(vrf.name for vrf in vrfs)}
    segments = tuple(segment for segment in config.segments if segment.mtu_bytes and segment.vrf in names)
    vnis = {segment.vni for segment in segments}
    attachments = tuple(attachment for attachment in config.attachments if attachment.vni in vnis)
    return msgspec.structs.replace(config, underlay=underlay, vrfs=vrfs, segments=segments, attachments=attachments)
