"""Tells Nova what became of its instances' ports: plugged, unplugged, deleted.

What Nova was told last of a port is stored; what it is to be told is computed from the port's present state and that.
So an event that is lost with a server is made up for by the next one, and one that is told twice does no harm in Nova.
Nothing here changes a port.
"""
