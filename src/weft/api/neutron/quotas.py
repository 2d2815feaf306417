"""Quotas: what a project may have, what it has, and what projects have that were told nothing."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.neutron.attributes import bad_request, invalid_input
from weft.api.neutron.listing import with_fields
from weft.api.neutron.policy import MAX_PROJECT_LENGTH, acting_in, denied
from weft.api.neutron.values import Refused, boolean, integer
from weft.api.routing import Operation
from weft.intent.quotas import own_quotas, quota_of, reset_quota, set_quota, used_by
from weft.model.errors import NotFound
from weft.model.quota import DEFAULTS, UNLIMITED, Quota
from weft.store import Snapshot, Store

MAX_LIMIT = 2**31 - 1

_LIMIT = integer(UNLIMITED, MAX_LIMIT)
_CHECKS = ("check_limit", "force")
"""What a change says of itself: to refuse limits that the project is beyond, or not to (as is the case anyway)."""
_OWNER = ("project_id", "tenant_id")


class QuotaPages:
    """The pages of quotas."""

    def __init__(self, store: Store, project: str) -> None:
        """`project` is what administrators act for who name none."""
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations."""
        one = "/v2.0/quotas/{project}"
        return [
            Operation("GET", "/v2.0/quotas", self.index),
            Operation("GET", one, self.show, Access.USER),
            Operation("PUT", one, self.update),
            Operation("DELETE", one, self.delete),
            Operation("GET", one + "/default", self.default, Access.USER),
            Operation("GET", one + "/details", self.details, Access.USER),
            Operation("GET", one + "/details.json", self.details, Access.USER),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the quotas of the projects that have their own."""
        wanted = {value for name in _OWNER for value in request.query_params.getlist(name)}
        fields = [field for field in request.query_params.getlist("fields") if field]
        found = [
            {**_limits(quota), "project_id": quota.project_id, "tenant_id": quota.project_id}
            for quota in await self._store.read(own_quotas)
            if not wanted or quota.project_id in wanted
        ]
        return JsonAnswer({"quotas": [with_fields(each, fields) for each in found]})

    async def show(self, request: Request) -> Response:
        """Answer a project's limits."""
        project = self._readable(request)
        return JsonAnswer({"quota": _limits(await self._store.read(lambda snapshot: quota_of(snapshot, project)))})

    async def default(self, request: Request) -> Response:
        """Answer the limits of a project that has none of its own."""
        self._readable(request)
        return JsonAnswer({"quota": dict(DEFAULTS)})

    async def details(self, request: Request) -> Response:
        """Answer a project's limits, each with what the project has."""
        project = self._readable(request)

        def look(snapshot: Snapshot) -> Mapping[str, Mapping[str, int]]:
            used, quota = used_by(snapshot, project), quota_of(snapshot, project)
            return {name: {"limit": quota.limit(name), "used": used[name], "reserved": 0} for name in DEFAULTS}

        return JsonAnswer({"quota": await self._store.read(look)})

    async def update(self, request: Request) -> Response:
        """Change a project's limits."""
        project = _project_named(request)
        limits, checks = _asked(await read_json(request, dict[str, object]), project)
        above_use = checks.get("check_limit", False)
        quota = await self._store.transact(lambda tx: set_quota(tx, project, limits, above_use=above_use))
        return JsonAnswer({"quota": _limits(quota)})

    async def delete(self, request: Request) -> Response:
        """Give a project the default limits."""
        project = _project_named(request)
        await self._store.transact(lambda tx: reset_quota(tx, project))
        return no_content()

    def _readable(self, request: Request) -> str:
        """Return the project of a path, which the caller may ask about."""
        acting, project = acting_in(request, self._project), _project_named(request)
        if not acting.user.is_admin and project != acting.project:
            raise denied("rule:get_quota")
        return project


def _project_named(request: Request) -> str:
    project: str = request.path_params["project"]
    if len(project) > MAX_PROJECT_LENGTH or "\0" in project:
        raise NotFound("no project has an id like this", kind="QuotaMissingProject")
    return project


def _limits(quota: Quota) -> dict[str, object]:
    return {resource: quota.limit(resource) for resource in DEFAULTS}


def _asked(body: Mapping[str, object], project: str) -> tuple[dict[str, int], dict[str, bool]]:
    """Return the limits that a body names, and how they shall be taken."""
    given = body.get("quota")
    if not isinstance(given, dict):
        raise bad_request("Unable to find 'quota' in request body")
    limits: dict[str, int] = {}
    checks: dict[str, bool] = {}
    for name, value in given.items():
        try:
            if name in _CHECKS:
                checks[name] = boolean(value)
            elif name in DEFAULTS:
                limits[name] = int(str(_LIMIT(value)))
            elif name not in _OWNER or value != project:
                raise bad_request(f"Unrecognized attribute(s) '{str(name)[:100]}'")
        except Refused as refused:
            raise invalid_input(name, str(refused)) from None
    return limits, checks
