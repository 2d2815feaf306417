"""The CNI plugin: an executable that a container runtime calls. It imports nothing but the standard library.

All that it does is to hand the call to the node's agent and to print what the agent answers; so it starts in the time
that an interpreter takes, and there is one place where containers are wired.
"""
