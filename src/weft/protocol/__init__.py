"""What travels between the server and its agents, controllers' clients and the command line under /v1.

Messages are JSON; every type here is a wire type: strings and numbers, no addresses types, no behaviour beyond
encoding. Conversion to and from weft.model happens at the edge that receives the message.
"""
