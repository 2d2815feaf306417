"""A data centre on one Linux machine, from real parts: FRR switches, Open vSwitch nodes, the server and its agents.

It does what the hypervisor, the cabling, the power button and the installer do in a real one, and nothing else: every
address, VLAN and flow comes from the server and the agents, which do not know that they are in a lab. What it makes is
written down in the lab's state before it is made, and carries its mark; `down` removes that, and never anything else.
"""
