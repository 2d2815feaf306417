"""The path between a node and a container that a port of the node leads to."""

from weft.agent.cni.node_path import LEG, container_lines, node_lines


def test_both_ways_are_laid_without_anybody_being_asked_for_a_mac() -> None:
    assert node_lines("weft-v3", "fa:16:3e:00:00:01", ["10.0.0.5"]) == [
        f"address replace {LEG}/32 dev weft-v3",
        f"route replace 10.0.0.5/32 dev weft-v3 src {LEG}",
        "neighbour replace 10.0.0.5 lladdr fa:16:3e:00:00:01 dev weft-v3 nud permanent",
    ]
    assert container_lines("eth0", "fe:16:3e:00:00:01") == [
        f"route replace {LEG}/32 dev eth0 scope link",
        f"neighbour replace {LEG} lladdr fe:16:3e:00:00:01 dev eth0 nud permanent",
    ]
