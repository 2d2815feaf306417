"""The unmodified `openstack` command line in a process of its own."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEADLINE_S = 60.0
"""Only reached by a failing test."""


class Shell:
    """A process that runs `openstack` commands as one user, whom these variables describe."""

    def __init__(self, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self.environment = kept | variables
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "openstack_shell.py")],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str, str]:
        """Run a command and return exit code, output and errors."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(shlex.split(command)) + "\n")
        stdin.flush()
        code, out, err = json.loads(stdout.readline())
        return code, out, err

    def __call__(self, command: str) -> Any:
        """Run a command that succeeds, and return what it says, as JSON if it is that."""
        shows = any(word in shlex.split(command) for word in ("create", "show", "list"))
        code, out, err = self.run(f"{command} -f json" if shows else command)
        assert code == 0, (command, out, err)
        return json.loads(out) if shows else out

    def refused(self, command: str) -> str:
        """Run a command that fails, and return why."""
        code, out, err = self.run(command)
        assert code != 0, (command, out)
        return err

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(DEADLINE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
