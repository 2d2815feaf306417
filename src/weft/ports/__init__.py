"""The port state machine: what becomes of a port from allocation to release, and who has yet to make what real.

`machine` is the table of states and events, `lifecycle` applies it to one port's bindings and realizations. All is
pure: a value and an event go in, a new value and the history it made come out. Which node may carry what is decided
elsewhere.
"""
