"""The driver of EOS switches: show, a configuration session, commit; through pyeapi, Arista's own client.

pyeapi is synchronous, so each call is a thread's. A later leader is told from the description of Loopback0, which every
change carries; between looking and committing another may come, which the session's own diff does not see.
"""

import asyncio
import itertools
import json
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyeapi
import structlog
from pyeapi.eapilib import CommandError, EapiError

from weft.fabric.config import SwitchConfig
from weft.fabric.dialects import eos, eos_reading
from weft.fabric.dialects.eos import MULTI_AGENT
from weft.fabric.dialects.frr_text import Tree, parse
from weft.fabric.facts import Facts, Session
from weft.fabric.plan import SwitchPlan
from weft.model.errors import Permanent, Transient, WeftError
from weft.model.ids import SwitchName
from weft.switches.driver import DriverSettings, Observed
from weft.switches.remainders import without_remainders

TIMEOUT_S = 20
RETRY_AFTER_S = 1.0
DEFAULT_PORT = 443
UNAUTHORIZED = "Unauthorized"
SESSION_PREFIX = "weft-"
PENDING_TIMER = "pendingCommitTimer"
FAMILIES: Mapping[str, str] = {"show bgp evpn summary": "l2VpnEvpn", "show ip bgp summary": "ipv4Unicast"}
"""What is asked for sessions, and the family's name as other drivers have it."""
SESSIONS = "show configuration sessions detail"
SAVE = "copy running-config startup-config"
_TERM = re.compile(r"description weft term (\d+)")

log = structlog.get_logger()
logging.getLogger("pyeapi").setLevel(logging.CRITICAL)  # what fails is raised, too


class EosObserved(Observed, frozen=True, kw_only=True):
    """What was read, with what apply needs of it."""

    running: Tree
    vlans: Mapping[int, int]


class EosDriver:
    """Drives one EOS switch; see weft.switches.driver.SwitchDriver."""

    def __init__(self, name: SwitchName, management: str, settings: DriverSettings) -> None:
        self._name = name
        self._settings = settings
        host, colon, port = management.rpartition(":")
        self._host, self._port = (host, int(port)) if colon and port.isdigit() else (management, DEFAULT_PORT)
        self._like = SwitchConfig(name=name, underlay=None)
        self._numbers = itertools.count(1)
        self._session = ""
        """What was committed under a timer last."""

    async def observe(self) -> EosObserved:
        """Return what the switch is, read from it now."""
        running = parse(await self._text("show running-config"))
        if MULTI_AGENT not in running:
            message = f"switch {self._name} has no EVPN: configure `{MULTI_AGENT}` on it and restart it"
            raise Permanent(message)
        answers = await self._run([*FAMILIES, SESSIONS])
        reading = eos_reading.read(running, self._like)
        return EosObserved(
            config=reading.config,
            facts=Facts(
                layout="eos",
                sessions=tuple(sorted(_sessions(dict(zip(FAMILIES.values(), answers, strict=False))))),
                is_confirmed=PENDING_TIMER not in _states(answers[-1]).values(),
                tells_overlay=False,
            ),
            drift=reading.drift,
            running=running,
            vlans=reading.vlans,
        )

    async def apply(
        self, plan: SwitchPlan, desired: SwitchConfig, observed: Observed, *, confirm_within_s: float | None = None
    ) -> None:
        """Make the switch what is desired, from what was observed; all of it, or nothing."""
        seen = observed if isinstance(observed, EosObserved) else await self.observe()
        desired = without_remainders(desired, self._like)
        wanted = eos.render(desired, eos.segment_vlans(desired, seen.vlans))
        lines = eos.patch(seen.running, wanted)
        if not lines:
            return
        self._refuse_later_leader(seen.running)
        undoable = confirm_within_s is not None and seen.config.underlay is not None
        self._like = desired
        log.debug("switch_apply", switch=self._name, steps=len(plan.steps), lines=len(lines))
        await self._abandon_sessions()
        name = f"{SESSION_PREFIX}{self._settings.term}-{next(self._numbers)}"
        try:
            await self._run([f"configure session {name}", *lines, *self._signature()])
        except WeftError:
            await self._abort(name)
            raise
        if undoable and confirm_within_s is not None:
            self._session = name
            await self._run([f"configure session {name} commit timer {_clock(confirm_within_s)}"])
            return
        await self._run([f"configure session {name}", "commit"])
        await self._run([SAVE])

    async def confirm(self) -> None:
        """Have what was applied stay; raise Transient if the switch went back already."""
        states = _states((await self._run([SESSIONS]))[-1])
        if states.get(self._session) != PENDING_TIMER:
            message = f"switch {self._name} went back already: nobody confirmed session {self._session} in time"
            raise Transient(message, retry_after_s=RETRY_AFTER_S)
        await self._run([f"configure session {self._session} commit"])
        await self._run([SAVE])

    def watch(self, lost: Callable[[], None], changed: Callable[[], None]) -> None:
        """Each call has a connection of its own, so none is ever lost: the switch is looked at from time to time."""

    async def close(self) -> None:
        """There is no connection to give up."""

    def _signature(self) -> list[str]:
        if not self._settings.term:
            return []
        return ["interface Loopback0", f"description weft term {self._settings.term}", "exit"]

    def _refuse_later_leader(self, running: Tree) -> None:
        own = self._settings.term
        terms = (_TERM.fullmatch(line) for line in running.get("interface Loopback0", {}))
        for term in (int(found[1]) for found in terms if found):
            if own and term > own:
                message = f"switch {self._name} refuses this controller: it follows that of term {term}, not of {own}"
                raise Transient(message, retry_after_s=RETRY_AFTER_S)

    async def _abandon_sessions(self) -> None:
        """Drop what an earlier attempt has typed and not committed: EOS keeps only a few sessions."""
        states = _states((await self._run([SESSIONS]))[-1])
        for name, state in states.items():
            if name.startswith(SESSION_PREFIX) and state == "pending":
                await self._abort(name)

    async def _abort(self, name: str) -> None:
        try:
            await self._run([f"configure session {name} abort"])
        except WeftError as error:  # it is abandoned before the next change
            log.info("session_not_aborted", switch=self._name, session=name, reason=error.message)

    async def _text(self, command: str) -> str:
        answer = (await self._run([command], encoding="text"))[-1]
        output = answer.get("output")
        if not isinstance(output, str):
            raise self._nonsense(answer)
        return output

    async def _run(self, commands: list[str], encoding: str = "json") -> list[Mapping[str, Any]]:
        """Run commands on the switch, in one request; return what each says."""
        try:
            async with asyncio.timeout(TIMEOUT_S + 1):
                answers = await asyncio.to_thread(self._send, commands, encoding)
        except CommandError as error:
            raise Permanent(f"switch {self._name} refused the configuration: {_refusal(error)}") from None
        except EapiError as error:
            raise self._unreachable(error) from None
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {TIMEOUT_S} s"
            raise Transient(f"switch {self._name}: {reason}", retry_after_s=RETRY_AFTER_S) from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # pyeapi takes what came for an answer
            raise self._nonsense(error) from None
        if len(answers) != len(commands) or not all(isinstance(answer, dict) for answer in answers):
            raise self._nonsense(answers)
        return answers

    def _send(self, commands: list[str], encoding: str) -> list[Mapping[str, Any]]:
        settings = self._settings
        node = pyeapi.connect(
            transport="https",
            host=self._host,
            port=self._port,
            username=settings.eapi_user,
            password=self._password(),
            timeout=TIMEOUT_S,
            context=ssl.create_default_context(cafile=settings.eapi_ca and str(settings.eapi_ca)),
            return_node=True,
        )
        found: list[Mapping[str, Any]] = node.run_commands(commands, encoding=encoding)
        return found

    def _password(self) -> str:
        file = self._settings.eapi_password_file
        if file is None:
            message = f"switch {self._name} is driven by eAPI: start the server with --eapi-password-file PATH"
            raise Permanent(message)
        try:
            return file.read_text().strip()
        except OSError as error:
            raise Permanent(f"the password for eAPI, {file}, cannot be read: {error.strerror}") from None

    def _unreachable(self, error: EapiError) -> WeftError:
        text = str(error.message if hasattr(error, "message") else error)
        if UNAUTHORIZED in text:
            user = self._settings.eapi_user
            return Permanent(f"switch {self._name} refuses {user} with the password given: authorize it there")
        return Transient(f"switch {self._name} at {self._host}:{self._port}: {text}", retry_after_s=RETRY_AFTER_S)

    def _nonsense(self, answer: object) -> Transient:
        said = str(answer)[:200]
        message = f"switch {self._name} answered what is no answer of eAPI: {said}"
        return Transient(message, retry_after_s=RETRY_AFTER_S)


def _sessions(answers: Mapping[str, Mapping[str, Any]]) -> Iterable[Session]:
    for family, answer in answers.items():
        for address, peer in answer.get("vrfs", {}).get("default", {}).get("peers", {}).items():
            description, state = peer.get("description", ""), peer.get("peerState", "")
            yield Session(peer=description, peer_address=address, family=family, state=state)


def _states(answer: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(each.get("state", "")) for name, each in answer.get("sessions", {}).items()}


def _refusal(error: CommandError) -> str:
    """Return what a switch said of the command that it refused."""
    detail = error.command_error
    said = detail if isinstance(detail, str) else json.dumps(detail, default=str)
    return f"{error.error_text} ({said})" if said and said not in error.error_text else str(error.error_text)


def _clock(seconds: float) -> str:
    """Return a time as `commit timer` takes it: hh:mm:ss."""
    whole = max(1, round(seconds))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
