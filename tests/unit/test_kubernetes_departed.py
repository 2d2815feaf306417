"""Which held ports' objects are gone: whole lists, two looks, and every name that is not understood stays."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.kubernetes.departed import MIN_APART_S, PodRef, Present, Suspects, departed, namespaces_of, pod_ref
from weft.model.ids import Epoch, PortId


class Port(msgspec.Struct, frozen=True):
    port_id: PortId
    name: str
    epoch: Epoch = Epoch(1)


DB, BARE, WEB = (Port(PortId(name), f"prod/shop/{name}") for name in ("db-0", "debug", "web-7c9d-x2x4z"))


def present(*, sets: tuple[str, ...] = (), pods: tuple[str, ...] = (), asked: tuple[str, ...] = ("shop",)) -> Present:
    return Present(
        stateful_sets={("shop", name) for name in sets}, pods={("shop", name) for name in pods}, namespaces=asked
    )


def names(found: list[Port]) -> list[str]:
    return [each.port_id for each in found]


@pytest.mark.parametrize(
    ("workload", "ref"),
    [
        ("prod/shop/db-0", PodRef("shop", "db-0")),
        ("prod/shop/db-0/net1", PodRef("shop", "db-0")),
        ("production/shop/db-0", None),
        ("the-db", None),
        ("prod/shop", None),
        ("prod/shop/", None),
        ("prod//db-0", None),
        ("prod/a/b/c/d", None),
        ("", None),
    ],
)
def test_a_workload_of_a_cluster_is_named_for_a_pod(workload: str, ref: PodRef | None) -> None:
    assert pod_ref(workload, "prod") == ref


@pytest.mark.parametrize(
    ("pod", "owner"),
    [("db-0", "db"), ("a-b-12", "a-b"), ("db-20000", "db"), ("db", None), ("-1", None), ("db-01", None)],
)
def test_an_ordinal_tells_the_stateful_set(pod: str, owner: str | None) -> None:
    assert PodRef("shop", pod).stateful_set == owner


def test_only_namespaces_of_the_cluster_are_asked_about() -> None:
    held = [DB, BARE, Port(PortId("x"), "prod/bank/a"), Port(PortId("y"), "test/lab/a"), Port(PortId("z"), "the-db")]
    assert namespaces_of(held, "prod") == ["bank", "shop"]


def test_a_port_is_given_up_when_two_looks_agree() -> None:
    gone, suspects = departed([DB, BARE], present(), "prod", {}, 0.0)
    assert gone == []
    gone, suspects = departed([DB, BARE], present(), "prod", suspects, MIN_APART_S - 1)
    assert gone == [], "two looks at once are one"
    gone, _ = departed([DB, BARE], present(), "prod", suspects, MIN_APART_S)
    assert names(gone) == ["db-0", "debug"]


def test_what_is_there_again_is_no_suspect() -> None:
    _, suspects = departed([DB], present(), "prod", {}, 0.0)
    gone, suspects = departed([DB], present(sets=("db",)), "prod", suspects, 60.0)
    assert (gone, suspects) == ([], {})
    assert departed([DB], present(), "prod", suspects, 120.0)[0] == []


def test_a_stateful_set_keeps_its_ordinals_though_it_is_scaled_down() -> None:
    _, suspects = departed([DB, BARE], present(sets=("db",)), "prod", {}, 0.0)
    assert names(departed([DB, BARE], present(sets=("db",)), "prod", suspects, 60.0)[0]) == ["debug"]


def test_a_pod_keeps_its_port_though_nothing_owns_it() -> None:
    here = present(pods=("db-0", "debug", "web-7c9d-x2x4z"))
    _, suspects = departed([DB, BARE, WEB], here, "prod", {}, 0.0)
    assert suspects == {}


def test_a_port_that_a_container_had_meanwhile_begins_anew() -> None:
    _, suspects = departed([DB], present(), "prod", {}, 0.0)
    again = Port(DB.port_id, DB.name, Epoch(2))
    gone, suspects = departed([again], present(), "prod", suspects, 60.0)
    assert (gone, suspects) == ([], {(DB.port_id, Epoch(2)): 60.0})


def test_a_namespace_that_was_not_asked_about_changes_nothing() -> None:
    _, suspects = departed([DB], present(), "prod", {}, 0.0)
    gone, after = departed([DB], present(asked=()), "prod", suspects, 60.0)
    assert (gone, after) == ([], suspects)
    assert names(departed([DB], present(), "prod", after, 120.0)[0]) == ["db-0"]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12))
def test_whatever_looks_see_two_in_a_row_that_see_nothing_are_needed(looks: list[tuple[bool, bool, bool]]) -> None:
    suspects: Suspects = {}
    before_empty = False
    for number, (has_set, has_pod, asked) in enumerate(looks):
        seen = present(
            sets=("db",) if has_set else (), pods=("db-0",) if has_pod else (), asked=("shop",) if asked else ()
        )
        gone, suspects = departed([DB], seen, "prod", suspects, 60.0 * number)
        empty = asked and not has_set and not has_pod
        assert bool(gone) == (empty and before_empty)
        before_empty = empty or (before_empty and not asked)
