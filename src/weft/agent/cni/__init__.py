"""Containers on an OVS node: what the CNI plugin asks, the agent does, over a unix socket.

A container is wired before it is answered that it is: its ADD returns when its port is ACTIVE, and leaves nothing
behind if that fails. The names of workloads decide which ports they get; the server says who holds a port. The agent
keeps no state of its own: what it has plugged stands in Open vSwitch's database.
"""
