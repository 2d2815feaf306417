"""weft's own API, /v1: inventory, nodes and their agents' watches, ports with state and history, the fabric.

Bodies are the types of weft.protocol; this package only converts between them and what the core thinks with.
"""
