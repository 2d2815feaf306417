"""The cache of proven tokens: what is believed for how long, that many who ask at once cause one proof, and bounds."""

import asyncio

import pytest

from weft.api.access import ADMINISTRATOR, Unauthenticated
from weft.api.auth import token_cache
from weft.api.auth.token_cache import BAD_AGE_S, Proven, TokenCache
from weft.model.errors import Transient


class Prover:
    """Proves tokens as a test says, and counts."""

    def __init__(self) -> None:
        self.now = 100.0
        self.proofs = 0
        self.lifetime_s = 1000.0
        self.error: Exception | None = None
        self.door = asyncio.Event()
        self.door.set()
        self.cache = TokenCache(60.0, lambda: self.now)

    async def prove(self) -> Proven:
        self.proofs += 1
        await self.door.wait()
        if self.error is not None:
            raise self.error
        return Proven(ADMINISTRATOR, self.now + self.lifetime_s)

    async def ask(self, key: str = "k") -> object:
        return await self.cache.caller_of(key, self.prove)


@pytest.mark.parametrize(("lifetime_s", "believed_s"), [(1000.0, 60.0), (5.0, 5.0), (float("inf"), 60.0)])
async def test_a_good_token_is_believed_until_it_expires_but_not_for_ever(lifetime_s: float, believed_s: float) -> None:
    prover = Prover()
    prover.lifetime_s = lifetime_s
    assert await prover.ask() == ADMINISTRATOR
    prover.now += believed_s - 0.1
    assert await prover.ask() == ADMINISTRATOR
    assert prover.proofs == 1
    prover.now += 0.1
    await prover.ask()
    assert prover.proofs == 2


async def test_a_bad_token_is_refused_for_a_while_and_a_failure_is_not_remembered() -> None:
    prover = Prover()
    for error, proofs in ((Unauthenticated("bad"), 1), (Transient("away", retry_after_s=1), 3)):
        prover.error, prover.proofs = error, 0
        for _ in range(3):
            with pytest.raises(type(error)):
                await prover.ask()
        assert prover.proofs == proofs
        prover.now += BAD_AGE_S
    prover.error = None
    assert await prover.ask() == ADMINISTRATOR


async def test_those_who_ask_at_once_wait_for_one_proof_even_if_the_first_goes_away() -> None:
    prover = Prover()
    prover.door.clear()
    asking = [asyncio.create_task(prover.ask()) for _ in range(10)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    prover.door.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert found[1:] == [ADMINISTRATOR] * 9
    assert isinstance(found[0], asyncio.CancelledError)
    assert prover.proofs == 1


async def test_many_bad_tokens_drive_no_good_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_REMEMBERED", 3)
    prover = Prover()
    await prover.ask("good")
    prover.error = Unauthenticated("bad")
    for number in range(10):
        with pytest.raises(Unauthenticated):
            await prover.ask(f"bad-{number}")
    assert await prover.ask("good") == ADMINISTRATOR
    assert prover.proofs == 11
    prover.error = None
    for number in range(3):
        await prover.ask(f"good-{number}")
    prover.proofs = 0
    await prover.ask("good")
    assert prover.proofs == 1
