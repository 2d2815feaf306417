"""OpenStack Networking v2.0, as a real Neutron answers it: names, types, statuses and errors are recorded ones.

Each resource is a table of attributes (what may be given, when, in which form), a function that renders a row, and the
intent functions its requests become; all that is the same for every resource stands once, in resource.py and
listing.py. An attribute that weft cannot honour is accepted only with the value it has anyway.
"""
