"""The HTTP client of a weft server, for the command line, the agents, the lab and anybody's programs.

`Client` is for threads and scripts, `AsyncClient` for event loops; both send the same calls (weft.client.neutron,
weft.client.native) and raise the errors of weft.model.errors with the server's own text. A client never retries, caches
or reconnects by itself: what to do about a Transient error is its caller's decision.
"""

from weft.client.aio import AsyncClient
from weft.client.context import Context, find_context
from weft.client.endpoint import TlsFiles
from weft.client.sync import Client

__all__ = ["AsyncClient", "Client", "Context", "TlsFiles", "find_context"]
