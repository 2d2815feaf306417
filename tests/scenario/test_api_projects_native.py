"""Names, keys and operations are a project's own: nobody meets another's by them."""

from pathlib import Path

from neutron_projects import BLUE, RED, projects

ASYNC = {"Prefer": "respond-async"}


async def test_a_name_is_one_projects_and_leads_to_its_port_only(tmp_path: Path) -> None:
    async with projects(tmp_path) as here:
        network, _ = await here.network(RED, shared=False)
        path, body = "/v1/ports/by-name/web-1", {"network_id": network}
        made = await here.server.call("PUT", path, body, token=RED, status=201)
        assert (made["port"]["project_id"], made["port"]["bindings"]) == ("red", [])
        await here.server.call("GET", path, token=BLUE, status=404)
        refused = await here.server.call("PUT", path, body, token=BLUE, status=404)
        assert refused["error"]["kind"] == "NetworkNotFound"
        await here.server.call("PUT", path, {**body, "project_id": "red"}, token=BLUE, status=400)
        bound = await here.server.call("POST", "/v1/ports", {**body, "node": "node1"}, token=RED, status=403)
        assert "binding:host_id" in bound["error"]["message"]


async def test_a_key_is_one_callers(tmp_path: Path) -> None:
    async with projects(tmp_path) as here:
        made = [
            await here.server.answer(
                "POST", "/v2.0/networks", json={"network": {"name": "n"}}, token=who, headers={"Idempotency-Key": "k"}
            )
            for who in (RED, BLUE)
        ]
        assert [answer.status_code for answer in made] == [201, 201]
        assert [answer.json()["network"]["project_id"] for answer in made] == ["red", "blue"]


async def test_an_operation_is_made_as_its_caller_and_seen_by_its_project(tmp_path: Path) -> None:
    async with projects(tmp_path) as here:
        accepted = await here.server.answer(
            "POST", "/v2.0/networks", json={"network": {"name": "n"}}, token=RED, headers=ASYNC
        )
        assert accepted.status_code == 202
        location = accepted.headers["location"]
        await here.server.call("GET", location, token=BLUE, status=404)
        async with here.server.stream(f"{location}/watch", token=RED) as stream:
            while await stream.piece():
                pass
        done = (await here.server.call("GET", location, token=RED, status=200))["operation"]
        assert done["answer"]["network"]["project_id"] == "red"
        assert (await here.server.call("GET", "/v1/operations", token=BLUE))["operations"] == []


async def test_what_a_caller_may_not_do_it_may_not_have_done_later(tmp_path: Path) -> None:
    async with projects(tmp_path) as here:
        network, _ = await here.network(RED)
        accepted = await here.server.answer("DELETE", f"/v2.0/networks/{network}", token=BLUE, headers=ASYNC)
        location = accepted.headers["location"]
        async with here.server.stream(f"{location}/watch", token=BLUE) as stream:
            while await stream.piece():
                pass
        failed = (await here.server.call("GET", location, token=BLUE, status=200))["operation"]
        assert (failed["state"], failed["status"]) == ("failed", 404)
        assert await here.get(RED, f"networks/{network}")
