"""Token files: what a line grants, what is refused, and that a changed file counts without a restart."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from weft.api.access import Caller, NodeAgent, Role, Unauthenticated, User, digest
from weft.api.auth.credential import Credential
from weft.api.auth.token_file import TokenFile, read_token_file
from weft.api.auth.watched_file import LOOK_EVERY_S
from weft.model.errors import Invalid
from weft.model.ids import NodeName


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def write(path: Path, text: str) -> None:
    """Write a file as deployment tools do: beside it, then renamed."""
    path.with_suffix(".next").write_text(text)
    path.with_suffix(".next").rename(path)


def remove(path: Path) -> None:
    path.unlink()


def admin(token: str) -> User:
    return User(project_id=None, user_id=f"token:{digest(token)[:12]}", roles=frozenset({Role.ADMIN}))


@pytest.mark.parametrize(
    ("line", "token", "caller"),
    [
        ("one", "one", admin("one")),
        ("  two  ", "two", admin("two")),
        (f"sha256:{digest('three')}", "three", admin("three")),
        (
            "t roles=member,reader project=red user=ci",
            "t",
            User(project_id="red", user_id="ci", roles=frozenset({Role.MEMBER, Role.READER})),
        ),
        ("t roles=admin user=ops", "t", User(project_id=None, user_id="ops", roles=frozenset({Role.ADMIN}))),
        ("t node=node1", "t", NodeAgent(NodeName("node1"))),
        ("t node=node1 expires=2033-01-01", "t", NodeAgent(NodeName("node1"))),
        ("t user=u roles=service project=p expires=2023-11-15T00:00:00+01:00", "t",
         User(project_id="p", user_id="u", roles=frozenset({Role.SERVICE}))),
    ],
)  # fmt: skip
async def test_a_line_grants_what_it_says(path: Path, line: str, token: str, caller: Caller) -> None:
    write(path, f"# operators\n\n{line}\n")
    assert await TokenFile(path, Clock()).caller_of(Credential(token)) == caller


async def test_another_token_is_nobodys(path: Path) -> None:
    write(path, f"sha256:{digest('secret')}\n")
    tokens = TokenFile(path, Clock())
    assert await tokens.caller_of(Credential("other")) is None
    assert await tokens.caller_of(Credential(f"sha256:{digest('secret')}")) is None
    assert await tokens.caller_of(Credential(digest("secret"))) is None


async def test_an_expired_token_is_refused(path: Path) -> None:
    write(path, "t roles=admin expires=2023-11-14T22:13:21\n")  # one second from now
    clock = Clock()
    tokens = TokenFile(path, clock)
    assert await tokens.caller_of(Credential("t")) is not None
    clock.now += 1
    with pytest.raises(Unauthenticated, match="expired"):
        await tokens.caller_of(Credential("t"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "holds no token"),
        ("\n# only a comment\n", "holds no token"),
        ("SECRET roles=boss project=red", "'boss' is no role"),
        ("SECRET roles=node project=red", "'node' is no role"),
        ("SECRET roles=member", "add project=NAME"),
        ("SECRET project=red", "it names no role"),
        ("SECRET colour=red", "'colour=red' is none of"),
        ("SECRET user=", "'user=' is none of"),
        ("SECRET user=a user=b", "'user=b' is none of"),
        ("SECRET node=a roles=admin", "write node=NAME alone"),
        ("SECRET node=a expires=soon", "expires=soon is no time"),
        ("other\nSECRET\nSECRET node=a", "line 3"),
    ],
)
def test_a_wrong_line_is_named_and_its_token_is_not(path: Path, text: str, named: str) -> None:
    write(path, text)
    with pytest.raises(Invalid) as caught:
        read_token_file(path)
    assert named in caught.value.message
    assert str(path) in caught.value.message
    assert "SECRET" not in caught.value.message


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(Invalid, match="cannot read the token file"):
        TokenFile(path, Clock())


async def test_a_changed_file_counts_and_a_broken_one_does_not(path: Path) -> None:
    clock = Clock()
    write(path, "old\n")
    tokens = TokenFile(path, clock)
    for text, is_old, is_new in (("new\n", False, True), ("broken roles=boss\n", False, True), (None, False, True)):
        if text is None:
            remove(path)
        else:
            write(path, text)
        clock.now += LOOK_EVERY_S
        with capture_logs() as logs:
            assert (await tokens.caller_of(Credential("old")) is not None) is is_old
            assert (await tokens.caller_of(Credential("new")) is not None) is is_new
        assert "SECRET" not in str(logs)
