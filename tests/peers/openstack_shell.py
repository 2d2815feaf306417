"""The `openstack` command line, many times in one process: starting it takes two seconds each time.

Reads a JSON list of arguments a line, and answers each with a line: exit code, output and errors as a JSON list.
"""

import contextlib
import io
import json
import sys
import warnings

from openstackclient.shell import OpenStackShell


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run one command as the program `openstack` does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        shell = OpenStackShell()
        shell.stdout, shell.stderr = out, err
        try:
            code = shell.run(arguments)
        except SystemExit as exit_:  # wrong usage
            code = int(exit_.code or 0)
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
