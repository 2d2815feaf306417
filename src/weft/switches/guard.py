"""What guards a switch against its own controllers: a fence for deposed ones, and a way back from a change that cuts
them off.

Shell for switches that are written by scripts. A switch remembers the highest term that any leader has shown it
(weft.controller.leadership), and refuses scripts of a lower one; a lock keeps two scripts from running side by side. A
change that is to be confirmed leaves the script that undoes it on the switch, with a timer: unless a new connection
takes it away in time, the switch goes back by itself. This is commit-confirmed, as NETCONF has it (RFC 6241, section
8.4), for switches that do not.
"""

import hashlib
import shlex

FOLDER = "/run/weft"
CONFIRM = f"{FOLDER}/confirm"
ARMED_PART = "armed"
"""The part of an observing script's output that holds the token of a change that is not confirmed yet."""
FENCED = "weft: fenced: "
"""What begins the line on standard error that tells that another controller leads."""
FENCED_STATUS = 9
LOCK_WAIT_S = 30

_FENCE = r"""
mkdir -p @FOLDER@
exec 9>@FOLDER@/lock && flock -w @WAIT@ 9 || { echo 'weft: failed: another script holds the switch' >&2; exit 1; }
read -r term 2>/dev/null <@FOLDER@/term || term=0
if [ "$term" -gt @TERM@ ]; then
    echo "weft: fenced: it follows the controller of term $term, and this one is of term @TERM@" >&2
    exit 9
fi
[ "$term" = @TERM@ ] || echo @TERM@ >@FOLDER@/term
"""

_CONFIRMED = r"""
mkdir -p @CONFIRM@
cat >@CONFIRM@/apply <<'WEFT-APPLY'
@APPLY@
WEFT-APPLY
cat >@CONFIRM@/undo <<'WEFT-UNDO'
@UNDO@
WEFT-UNDO
cat >@CONFIRM@/timer <<'WEFT-TIMER'
sleep @WITHIN@
exec 9>@FOLDER@/lock && flock 9
[ "$(cat @CONFIRM@/armed 2>/dev/null)" = @TOKEN@ ] || exit 0
bash @CONFIRM@/undo >@CONFIRM@/undone 2>&1
rm -f @CONFIRM@/armed
WEFT-TIMER
echo @TOKEN@ >@CONFIRM@/armed
setsid bash @CONFIRM@/timer </dev/null >/dev/null 2>&1 9>&- &
setsid bash @CONFIRM@/apply </dev/null >@CONFIRM@/output 2>@CONFIRM@/errors &
wait $!; status=$?
cat @CONFIRM@/output; cat @CONFIRM@/errors >&2
exit $status
"""

_CONFIRM = r"""
[ -e @CONFIRM@/armed ] || { echo 'weft: failed: it was not confirmed in time, and the switch went back' >&2; exit 1; }
rm -f @CONFIRM@/armed
"""

_ARMED = r"""
part armed; cat @CONFIRM@/armed 2>/dev/null
"""


def fence(term: int) -> str:
    """Return what begins a script that writes: it waits for its turn, and ends if a later leader was there."""
    return _filled(_FENCE, TERM=str(term), WAIT=str(LOCK_WAIT_S))


def to_be_confirmed(apply: str, undo: str, within_s: float) -> str:
    """Return a script that runs `apply` to its end even if the connection is lost by it, and `undo` after `within_s`
    unless it is confirmed by then."""
    token = hashlib.sha256(f"{apply}\0{undo}".encode()).hexdigest()[:16]
    return _filled(_CONFIRMED, TOKEN=token, WITHIN=f"{within_s:g}", APPLY=apply, UNDO=undo)


def confirm() -> str:
    """Return the script that keeps what was changed."""
    return _filled(_CONFIRM)


def armed() -> str:
    """Return what an observing script prints of a change that is not confirmed yet; it needs the function `part`."""
    return _filled(_ARMED)


def fenced_by(errors: str) -> str | None:
    """Return why a switch did not take a script of this controller; None if it did."""
    return next((line.removeprefix(FENCED) for line in errors.splitlines() if line.startswith(FENCED)), None)


def _filled(text: str, **values: str) -> str:
    for name, value in {"FOLDER": FOLDER, "CONFIRM": CONFIRM, **values}.items():
        text = text.replace(f"@{name}@", value if name in {"APPLY", "UNDO"} else shlex.quote(value))
    return text
