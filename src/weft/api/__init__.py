"""The server's HTTP face: OpenStack Networking v2.0, weft's own /v1 with its watches, and /metrics.

A request is authenticated, decoded and checked here, and becomes one transaction or one snapshot of the store; what it
means is decided in weft.intent. Every error a caller can cause is answered with a body that names the value, never
with a traceback. Nothing in this package talks to a switch, a node or a cloud.
"""
