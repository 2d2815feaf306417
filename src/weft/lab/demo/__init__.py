"""The demo: two tenants with the same addresses, eight instances, one move, and nothing left at the end.

It asks the server for everything through its public HTTP API, as a cloud's own software would, plays the part of the
hypervisor through weft.lab.instances, and believes nothing that it has not seen inside an instance, on a node or on a
switch. What it saw stands in its checks; it succeeds only if each of them did.
"""
