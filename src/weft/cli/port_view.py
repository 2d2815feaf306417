"""How ports are shown to people."""

import time
from collections.abc import Iterable, Mapping, Sequence

from weft.cli.output import Output, ago, clock
from weft.client.timeline import TimedStep, timeline
from weft.protocol.port import HistoryStep, PortStatus


def print_port_table(output: Output, ports: Iterable[PortStatus], network_names: Mapping[str, str]) -> None:
    """Print a line for each port."""
    output.table(
        ["NAME", "STATE", "NODE", "ADDRESSES", "MAC", "NETWORK", "OWNER", "ID"],
        [
            [
                port.name,
                port.state,
                port.node,
                [each.address for each in port.fixed_ips],
                port.mac,
                network_names.get(port.network_id, port.network_id),
                port.device_owner,
                port.id,
            ]
            for port in ports
        ],
    )


def print_port(
    output: Output, port: PortStatus, history: Sequence[HistoryStep], network_names: Mapping[str, str]
) -> None:
    """Print all about one port."""
    fields = {
        "port": port.name,
        "id": port.id,
        "state": port.state,
        "reason": port.reason,
        "since": f"{clock(port.since)} ({ago(time.time() - port.since)} ago)",
        "addresses": [each.address for each in port.fixed_ips],
        "mac": port.mac,
        "network": network_names.get(port.network_id, port.network_id),
        "device": " ".join(filter(None, (port.device_id, port.device_owner))),
        "project": port.project_id,
    }
    output.fields({name: value for name, value in fields.items() if value})
    if port.bindings:
        output.line()
        output.heading("Bindings")
        _print_bindings(output, port)
    output.line()
    output.heading("History")
    output.table(
        ["TIME", "SINCE REQUEST", "BY", "STEP", "EPOCH", "DETAIL"],
        [_history_row(step) for step in timeline(history)],
        indent=2,
    )


def _print_bindings(output: Output, port: PortStatus) -> None:
    said = {(each.epoch, each.realizer): each for each in port.realizations}
    rows = []
    for binding in sorted(port.bindings, key=lambda each: each.epoch):
        for realizer in binding.owed:
            found = said.get((binding.epoch, realizer))
            rows.append(
                [
                    binding.epoch,
                    binding.node,
                    "draining" if binding.draining else "current",
                    realizer,
                    found.state if found else "pending",
                    clock(found.at) if found and found.at else None,
                    found.reason if found else None,
                ]
            )
    output.table(["EPOCH", "NODE", "", "REALIZER", "STATE", "AT", "REASON"], rows, indent=2)


def _history_row(timed: TimedStep) -> list[object]:
    step = timed.step
    return [clock(step.at), f"{timed.after_s:+.3f} s", step.actor, timed.title, step.epoch or None, step.detail]
