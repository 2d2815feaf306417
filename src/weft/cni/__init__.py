"""The CNI plugin: an executable that a container runtime calls, once in C and once in the standard library's Python.

All that it does is to hand the call to the node's agent and to print what the agent answers; so it starts in the time
that a process takes, and there is one place where containers are wired. The one in C is installed where it was
compiled.
"""

from pathlib import Path

COMPILED = Path(__file__).with_name("weft-cni")
INTERPRETED = Path(__file__).with_name("plugin.py")


def plugin() -> Path:
    """Return the plugin that is installed here: the compiled one, if there is one."""
    return COMPILED if COMPILED.exists() else INTERPRETED
