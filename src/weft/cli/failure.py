"""Errors as people and scripts see them: one line on stderr, and an exit code."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

REFUSED = 1
"""The request was understood and refused: invalid, in conflict, not found, not allowed."""
USAGE = 2
"""The command line makes no sense."""
UNAVAILABLE = 3
"""No server answers, or it cannot answer now: the same command may succeed later."""
INTERRUPTED = 130
"""Ctrl-C."""


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong and end."""
    click.echo(f"weft: {message}", err=True)
    sys.exit(code)


@contextmanager
def failures_said() -> Iterator[None]:
    """Turn every error that weft, click or the user raises on purpose into a line and an exit code."""
    from weft.model.errors import Transient, WeftError  # noqa: PLC0415 - `weft --help` needs none of it

    try:
        yield
    except WeftError as error:
        fail(error.message, UNAVAILABLE if isinstance(error, Transient) else REFUSED)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE)
    except click.ClickException as error:
        fail(error.format_message(), REFUSED)
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        sys.exit(0)


def guarded(run: Callable[[], None]) -> None:
    """Run a command with its failures said."""
    with failures_said():
        run()
