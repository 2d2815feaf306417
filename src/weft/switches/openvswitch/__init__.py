"""Drives Linux switches of a three-layer VLAN site: Open vSwitch switches the VLANs, the kernel routes between them.

Over SSH, by ovs-vsctl and iproute2; nothing of weft is installed on the switch. What weft made is marked in Open
vSwitch's database, and only what is marked is ever removed.
"""
