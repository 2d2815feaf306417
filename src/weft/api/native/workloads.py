"""What an agent asks for its node's containers."""

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, read_json
from weft.api.routing import Operation
from weft.intent.workloads import attach, release, workload_of, workloads_on
from weft.model.ids import NodeName, PortId
from weft.protocol.workload import WorkloadRelease, WorkloadRequest
from weft.store import Store


class WorkloadPages:
    """The pages under /v1/nodes/{node}/workloads."""

    def __init__(self, store: Store, project: str) -> None:
        """`project` owns workloads of which nobody says whose they are."""
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations."""
        path = "/v1/nodes/{node}/workloads"
        return [
            Operation("GET", path, self.all, Access.OWN_NODE),
            Operation("POST", path, self.attach, Access.OWN_NODE),
            Operation("POST", f"{path}/release", self.release, Access.OWN_NODE),
            Operation("GET", f"{path}/{{port_id}}", self.show, Access.OWN_NODE),
        ]

    async def all(self, request: Request) -> Response:
        """Answer the workloads that are on a node."""
        node = NodeName(request.path_params["node"])
        found = await self._store.read(lambda snapshot: workloads_on(snapshot, node))
        return JsonAnswer({"workloads": found})

    async def show(self, request: Request) -> Response:
        """Answer one of them."""
        node, port_id = NodeName(request.path_params["node"]), PortId(request.path_params["port_id"])
        return JsonAnswer({"workload": await self._store.read(lambda snapshot: workload_of(snapshot, node, port_id))})

    async def attach(self, request: Request) -> Response:
        """Answer the port of a workload's name, on this node from now on."""
        node, asked = NodeName(request.path_params["node"]), await read_json(request, WorkloadRequest)
        made = await self._store.transact(lambda tx: attach(tx, node, asked, project_id=self._project))
        return JsonAnswer({"workload": made})

    async def release(self, request: Request) -> Response:
        """Let go of a workload's port, and answer whether that was its holder's to do."""
        node, asked = NodeName(request.path_params["node"]), await read_json(request, WorkloadRelease)
        done = await self._store.transact(lambda tx: release(tx, node, asked, project_id=self._project))
        return JsonAnswer({"released": done})
