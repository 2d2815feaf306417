"""weft: one network control plane for private and public cloud.

Every instance has a port with an address that is its own for life; weft makes that address reachable
in the host, in the switches and in the cloud. Start at docs/ARCHITECTURE.md.
"""

__version__ = "0.1.0"
