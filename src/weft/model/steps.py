"""The steps of the spawn flow, as they stand in a port's history, in the order in which a spawn makes them.

The host leg (underlay) and the fabric leg (overlay) run side by side; their steps interleave.
"""

CREATED = "created"  # api: the request was accepted and an address allocated
NETWORK_CHOSEN = "network_chosen"  # api: the port asked for labels, and this network was taken
SAVED = "saved"  # api: the transaction is durable
BOUND = "bound"  # api: the port is on a node, a new epoch has begun
CLAIMED = "claimed"  # agent: a warm port got the name and holder of a container
SENT = "sent"  # fabric: the controller has seen the binding
PLUGGED = "device_plugged"  # host: the device with the port's id appeared in the switch of the host
DETECTED = "agent_detected"  # host: the agent knows device and desired state
FLOWS = "flows_in_place"  # host: VLAN translation and anti-spoofing are read back (underlay up)
LEAF_FOUND = "leaf_found"  # fabric: the leaf and its interfaces are known
CONFIGURED = "leaf_configured"  # fabric: VLAN, VNI, VRF, gateway are verified on the leaf (overlay up)
STATE = "state"  # a transition of the port's state machine
STALE_REPORT = "stale_report"  # a report of an older epoch came and was ignored
STUCK = "stuck"  # controller: the port has been in its state for longer than that state may last
