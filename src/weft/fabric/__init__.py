"""From inventory and intent to the state that each switch shall have, and to the plan that takes it there.

All of it is computed: no I/O, no clock. The same rows give the same SwitchConfig in whatever order they came; what a
SwitchConfig holds can be read back from a device, so that desired and observed are compared as values.
This package never talks to a switch: weft.switches does.
"""
