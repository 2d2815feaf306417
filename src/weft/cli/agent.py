"""`weft agent`."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/weft/agent.toml"),
    show_default=True,
    help="The node's TOML file: its name, the servers, where its token is, its NICs.",
)
def agent(config: Path) -> None:
    """Run the agent of one node until it is told to stop. What it has wired keeps forwarding without it."""
    from weft.agent.main import run  # noqa: PLC0415 - a command that is no agent need not load one
    from weft.agent.settings import load  # noqa: PLC0415

    run(load(config))
