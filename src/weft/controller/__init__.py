"""Reconcile loops of the server: the fabric controller, and the one that looks for stuck ports.

What they want is computed from the present rows, never from an event; what is there is read from the devices; so a
lost, doubled or reordered change, and a restart, make no difference in the end. They never decide what a port or
network is (weft.intent does) nor how a switch is spoken to (weft.switches does).
"""
