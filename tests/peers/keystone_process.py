"""A real Keystone on SQLite in a folder of its own, served by a process of its own on loopback."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

PASSWORD = "the-administrators-password"
DEADLINE_S = 60.0
"""Only reached by a failing test."""

CONFIG = """
[DEFAULT]
use_stderr = false
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[identity]
password_hash_rounds = 4
"""

PROGRAM = """
import socket, sys, warnings
warnings.simplefilter("ignore")
from keystone.server import wsgi
from werkzeug.serving import make_server
listening = socket.create_server(("127.0.0.1", 0))
application = wsgi.initialize_public_application()
server = make_server("127.0.0.1", 0, application, threaded=True, fd=listening.fileno())
print(listening.getsockname()[1], flush=True)
server.serve_forever()
"""


PREPARE = """
import os, sys
from keystone.cmd import manage
owner = [f"--keystone-user={os.getuid()}", f"--keystone-group={os.getgid()}"]
urls = [f"--bootstrap-{kind}-url=http://127.0.0.1:5000/v3" for kind in ("admin", "public", "internal")]
bootstrap = ["bootstrap", f"--bootstrap-password={sys.argv[2]}", "--bootstrap-region-id=one", *urls]
for command in (["fernet_setup", *owner], ["db_sync"], bootstrap):
    child = os.fork()  # each command wants the configuration as it is before any; importing it takes seconds
    if not child:
        sys.argv[1:] = [sys.argv[1], *command]
        sys.exit(manage.main())
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{command[0]} failed")
"""


class Keystone:
    """A running Keystone and an administrator's client of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        """With ``/v3``."""
        self._http = httpx.Client(timeout=DEADLINE_S, trust_env=False)
        self.admin_token = self.login("admin", PASSWORD, project="admin")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def login(
        self, user: str, password: str, *, project: str | None = None, domain: str | None = None, system: bool = False
    ) -> str:
        """Return a token of a user for a project, a domain, the system or nothing."""
        default = {"name": "Default"}
        scope: dict[str, Any] = {}
        if project:
            scope = {"scope": {"project": {"name": project, "domain": default}}}
        elif domain:
            scope = {"scope": {"domain": {"name": domain}}}
        elif system:
            scope = {"scope": {"system": {"all": True}}}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "password": password, "domain": default}},
        }
        answer = self._http.post(f"{self.url}/auth/tokens", json={"auth": {"identity": identity, **scope}})
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Send a request as the administrator and return the answer's JSON."""
        answer = self._http.request(
            method, self.url + path, json=body, headers={"X-Auth-Token": self.admin_token} | headers
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        headers = {"X-Auth-Token": self.admin_token, "X-Subject-Token": token}
        self._http.delete(f"{self.url}/auth/tokens", headers=headers).raise_for_status()

    def project(self, name: str) -> str:
        """Make a project and return its id."""
        return str(self.call("POST", "/projects", {"project": {"name": name}})["project"]["id"])

    def user(self, name: str, password: str, project_id: str | None = None, *roles: str) -> str:
        """Make a user with roles in a project and return its id; a role that is not there is made."""
        user = str(self.call("POST", "/users", {"user": {"name": name, "password": password}})["user"]["id"])
        for role in roles:
            self.call("PUT", f"/projects/{project_id}/users/{user}/roles/{self._role(role)}")
        return user

    def _role(self, name: str) -> str:
        found = self.call("GET", f"/roles?name={name}")["roles"]
        made = found[0] if found else self.call("POST", "/roles", {"role": {"name": name}})["role"]
        return str(made["id"])


@contextlib.contextmanager
def running_keystone(folder: Path) -> Iterator[Keystone]:
    """Make a Keystone in a folder and run it."""
    for name in ("fernet", "credential"):
        (folder / name).mkdir(mode=0o700)
    config = folder / "keystone.conf"
    config.write_text(CONFIG.format(folder=folder))
    environment = os.environ | {"OS_KEYSTONE_CONFIG_DIR": str(folder), "OS_KEYSTONE_CONFIG_FILES": str(config)}
    _prepare(config, environment)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=(folder / "errors").open("w"),
        env=environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (folder / "errors").read_text()
        keystone = Keystone(f"http://127.0.0.1:{port}/v3")
        try:
            yield keystone
        finally:
            keystone.close()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _prepare(config: Path, environment: dict[str, str]) -> None:
    """Make keys, tables, and an administrator."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREPARE, f"--config-file={config}", PASSWORD],
        env=environment,
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
