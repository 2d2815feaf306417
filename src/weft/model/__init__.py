"""The nouns of weft: inventory (sites, switches, links, nodes) and intent (routers, networks, subnets, ports).

Everything here is a frozen value; a value that exists has valid fields, and what only several values together
can violate is reported by a function that returns every problem, not the first. This package does no I/O, knows
no clock, and imports nothing of weft.
"""
