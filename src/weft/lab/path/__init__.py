"""The path of a packet through the lab, device by device, as it was seen; and how many hops that is.

A probe is sent from one instance to another while every namespace is watched; what was seen is put in order, and what
lies between two sightings is completed from the live system: the ports of a Linux bridge, Open vSwitch's own trace.
Nothing here is computed from what weft wants; it is what happened.
"""
