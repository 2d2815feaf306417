"""Open vSwitch as the agent uses it: OVSDB and OpenFlow clients, the flow pipeline, and the plan for both.

`flow`, `pipeline`, `observed`, `bridges`, `plan`, `openflow` compute and do no I/O; `jsonrpc`, `database` and `switch`
speak to the two daemons over their unix sockets. Flows carry the agent's cookie mark and rows its external_ids;
nothing without the mark is changed, except what makes a bridge the bridge that the settings ask for.
"""
