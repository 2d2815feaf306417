"""The host agent: wires the devices of instances on one node, and says how far it is.

It follows the node's desired state from the server, observes Open vSwitch and the kernel's links, and applies the
difference; what it realized it reports with the binding's epoch. It holds no state that Open vSwitch does not hold, so
it may be killed at any time: forwarding goes on, and the next agent takes up what it finds. It never decides anything
about a port (addresses, VLANs, nodes), and never removes anything before it has seen the first complete snapshot.
"""
