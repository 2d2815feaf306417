"""The shell scripts that run on a switch: one reads everything, one applies everything. Each is one SSH exec.

They need bash, iproute2, vtysh, and for the netns layout bpftool; nothing of weft is installed on the switch. An
applying script stops at the first failure and says which stage it was; what was done stays done, and the next observe
sees it.
"""

import base64
import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping

from weft.fabric.dialects.frr import Patch
from weft.switches import guard
from weft.switches.frr.changes import Batch, LinkChanges
from weft.switches.frr.kernel import OWN_SPACE, Handoffs, Kernel, Wanted
from weft.switches.frr.netns import FROM_CABLE, TENANT_SYSCTLS

PART = "=== weft "
"""What begins the line before each part of what the observing script prints."""
SPACES_DIR = "/run/weft/netns"
_TRIES = {
    "VRF_WAIT_TRIES": 250,  # 20 ms and a vtysh apart, as are the others
    "REMOVAL_TRIES": 250,  # FRR deletes an L3VNI in its own time
    "SAVE_TRIES": 5,
}
PORTION_BYTES = 60_000
"""How much configuration is typed in one go; Linux takes 128 KiB in an argument (MAX_ARG_STRLEN)."""

_PRELUDE = r"""
cd / && export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
"""

_OBSERVE = r"""
part() { printf '\n=== weft %s\n' "$1"; }
exec 3< <(vtysh -c 'show daemons' -c 'show running-config' -c 'show evpn vni json' -c 'show bgp summary json' \
    -c 'show vrf vni json' -c 'show ip route vrf all summary json' \
    </dev/null 2>&1)  # by far the slowest: let it run beside the rest
part links; ip -d -j addr
@BRIDGE_PARTS@
part sysctls
for name in @SYSCTLS@; do read -r value <"/proc/sys/${name//.//}" && echo "$name=$value"; done
if [ -e @PIN@/handoff ]; then
    part handoff; bpftool -j batch file - <<'WEFT'
map dump pinned @PIN@/handoff
prog show pinned @PIN@/from_cable
prog show pinned @PIN@/from_segment
net
WEFT
fi
for path in /run/weft/netns/*; do
    [ -e "$path" ] || continue
    part "space ${path##*/}"; printf 'addr\nnetconf\n' | ip -n "${path##*/}" -d -j -batch -
done
part zebra; stat -c %Y /run/frr/zebra.pid 2>/dev/null; date +%s
part frr; cat <&3
@ARMED@
part end
"""

_BRIDGE_PARTS = r"""
part vlans; bridge -j vlan
part closed; ip -j -4 route show table all type unreachable; ip -j -6 route show table all type unreachable
"""

_MONITOR = r"""
ip -o monitor link address route 2>/dev/null |
    sed -Eun '/ qdisc | inet6? |^(Deleted )?[0-9].* proto (bgp|static) /{/ table /!s/.*/changed/p}' &
met=$(mktemp)
while read -rt 2; [ $? -gt 128 ]; do
    [ ! /run/frr/zebra.pid -nt "$met" ] || { touch "$met"; echo changed; }
done
rm -f "$met"
kill 0
"""
"""Prints a line for each event, and for a zebra that has begun, until its standard input is closed: whoever monitors is
gone then. Not told are what a bridge makes of its ports, and the routes of VRFs, which come and go with instances."""

_ASK_NEIGHBOURS = r"""
ask() {
    sed -En '/extern_learn|NOARP|PERMANENT|FAILED/d
        s/^(\S+) dev (\S+) .*lladdr .*/neigh change \1 dev \2 nud probe/p' |
        ip "$@" -force -batch - >/dev/null 2>&1
}
ip neigh show | ask
for path in /run/weft/netns/*; do
    [ -e "$path" ] || continue
    ip -n "${path##*/}" neigh show | ask -n "${path##*/}"
done
true
"""

_PROBE = r"""
vtysh -c 'show zebra' </dev/null
"""

_STOPS = r"""
fail() { echo "weft: failed: $*" >&2; exit 1; }
reject() { echo "weft: rejected: $*" >&2; exit 2; }
"""

_GOES_ON = r"""
fail() { echo "weft: failed: $*" >&2; }
reject() { echo "weft: rejected: $*" >&2; }
"""

_APPLY = r"""
configure() {  # a stage's name, lines of configuration, VRFs; vtysh stops at the first line that FRR refuses
    local said name
    if said=$(vtysh -E -c "configure terminal"$'\n'"$2"$'\nend\n@SAVE@show vrf' </dev/null 2>&1); then
        if ! grep -q 'is not running' <<<"$said"; then
            for name in "${@:3}"; do await_vrf "$name" "$said"; done
            return
        fi
    fi
    tail -n 4 <<<"$said" >&2
    if grep -qE '^% *(Unknown|Ambiguous|Command incomplete|There is no|Malformed|Invalid)' <<<"$said"; then
        reject "$1"
    fi
    fail "$1"
}
configure_until() {  # the same, tried until FRR takes it
    local said
    for ((try = 0; try < @REMOVAL_TRIES@; try++)); do
        said=$(vtysh -c "configure terminal"$'\n'"$2" </dev/null 2>&1) && return
        sleep 0.01
    done
    tail -n 4 <<<"$said" >&2; fail "$1"
}
save() {
    local said
    for ((try = 0; try < @SAVE_TRIES@; try++)); do
        said=$(vtysh -c 'write memory' </dev/null 2>&1) && return
        sleep 0.1
    done
    tail -n 4 <<<"$said" >&2; fail 'save the configuration'
}
await_vrf() {  # a VRF, and what zebra said last
    local said=$2
    for ((try = 0; try < @VRF_WAIT_TRIES@; try++)); do
        grep -q "^vrf $1 .*\(netns\|table\)" <<<"$said" && return
        sleep 0.02
        said=$(vtysh -c 'show vrf' </dev/null)
    done
    fail "zebra does not see VRF $1"
}
space() {  # a tenant's namespace. The link to it is made when it is ready: zebra looks once, and then a second later
    local path=/run/weft/netns/$1
    mkdir -p /run/weft/netns /run/netns
    if [ ! -e "/run/netns/$1" ]; then
        : >"$path" && unshare --net="$path" sysctl -qw "${@:2}" && ln -sfn "$path" "/run/netns/$1" ||
            fail "namespace $1"
    else
        nsenter --net="$path" sysctl -qw "${@:2}" || fail "namespace $1"
    fi
}
bytes() { printf '%d %d %d %d ' $(($1 & 255)) $((($1 >> 8) & 255)) $((($1 >> 16) & 255)) $((($1 >> 24) & 255)); }
index() { local i=0; [ "$1" = - ] || read -r i <"/sys/class/net/$1/ifindex"; echo "$i"; }
entry() {  # interface, VLAN, to interface (- : stays), to VLAN
    local key value
    key=$(bytes "$(index "$1")")$(bytes "$2") value=$(bytes "$(index "$3")")$(bytes "$4")
    echo "map update pinned @PIN@/handoff key $key value $value"
}
no_entry() { echo "map delete pinned @PIN@/handoff key $(bytes "$1")$(bytes "$2")"; }
"""


def probe() -> str:
    """Return the script that says how FRR was started, which decides the layout."""
    return _PRELUDE + _PROBE


def ask_neighbours() -> str:
    """Return the script that has the kernel ask each neighbour whether it is there, and so tell zebra of it."""
    return _PRELUDE + _ASK_NEIGHBOURS


def monitor() -> str:
    """Return the command that tells of changes of a switch for as long as somebody listens."""
    return f"bash -c {shlex.quote(_PRELUDE + _MONITOR)}"


def vrf_kind(probed: str) -> str | None:
    """Return from the probe's output what FRR's VRFs are: ``Namespaces`` or ``l3mdev`` (VRF devices); None if zebra did
    not answer."""
    rows = (line.split() for line in probed.splitlines())
    return next((row[1] for row in rows if len(row) > 1 and row[0] == "VRF" and row[1] != "Installs"), None)


def observe(sysctls: Iterable[str], bpf_object: bytes, *, vrf_devices: bool) -> str:
    """Return the script that prints everything that a layout reads; `vrf_devices`: also what only that layout has."""
    text = _OBSERVE.replace("@SYSCTLS@", " ".join(sorted(sysctls))).replace("@PIN@", pin_folder(bpf_object))
    text = text.replace("@ARMED@", guard.armed())
    return _PRELUDE + text.replace("@BRIDGE_PARTS@", _BRIDGE_PARTS if vrf_devices else "")


def save() -> str:
    """Return the script that has FRR keep its configuration over a reboot."""
    return _PRELUDE + _STOPS + _apply_functions("", saves=True) + "save\n"


def pin_folder(bpf_object: bytes) -> str:
    """Return where the hand-off is pinned; another object has another folder, so that an upgrade is seen."""
    return f"/sys/fs/bpf/weft-{hashlib.sha256(bpf_object).hexdigest()[:12]}"


def apply(
    have: Kernel,
    want: Wanted,
    changes: LinkChanges,
    patch: Patch,
    *,
    bpf_object: bytes,
    new_vrfs: Iterable[str],
    gone_vrfs: Iterable[str],
    saves: bool = True,
    goes_on: bool = False,
) -> str:
    """Return the script that makes of what is there what is wanted.

    Of `new_vrfs` it waits until zebra sees them; of `gone_vrfs`, whose devices go, it takes the empty blocks away.
    Unless it `saves`, a reboot undoes it. With `goes_on`, a stage that fails does not stop it.
    """
    pin = pin_folder(bpf_object)
    text = _PRELUDE + (_GOES_ON if goes_on else _STOPS) + _apply_functions(pin, saves=saves)
    own_masters = [batch for batch in changes.masters if batch.space == OWN_SPACE]  # VRF devices are among them
    tenants_masters = [batch for batch in changes.masters if batch.space != OWN_SPACE]
    vnis_off = [group for group in patch.last if group[0].startswith("vrf ")]
    instances_off = [group for group in patch.last if group not in vnis_off]
    parts = [
        text,
        *_sysctls(have.sysctls, want.sysctls),
        *map(_batch, changes.first),
        *_spaces(have, want),
        *map(_batch, own_masters),
        *(_until("remove another BGP instance", group) for group in patch.first),
        *_configure(patch.lines, new_vrfs),
        *map(_batch, (*tenants_masters, *changes.links, *changes.ports)),
        *_handoff_additions(have.handoffs, want.handoffs, {name for _, name in changes.made}, pin, bpf_object),
        *(_until("remove an L3VNI", group) for group in vnis_off),  # FRR deletes it while the kernel's links go
        *_handoff_removals(have.handoffs, want.handoffs),
        *map(_batch, changes.last),
        *(_until("remove a VRF", group) for group in instances_off),
        *(_until("forget a VRF", [f"no vrf {name}"]) for name in gone_vrfs),
        *(["save"] if patch.last and saves else []),
    ]
    return "\n".join(parts) + "\n"


def _apply_functions(pin: str, *, saves: bool) -> str:
    text = _APPLY.replace("@PIN@", pin).replace("@SAVE@", r"write memory\n" if saves else "")
    for name, number in _TRIES.items():
        text = text.replace(f"@{name}@", str(number))
    return text


def _sysctls(have: Mapping[str, str], want: Mapping[str, str]) -> list[str]:
    pairs = [f"{name}={value}" for name, value in sorted(want.items()) if have.get(name) != value]
    return [f"sysctl -qw {shlex.join(pairs)} || fail sysctl"] if pairs else []


def _spaces(have: Kernel, want: Wanted) -> list[str]:
    settings = shlex.join(f"{name}={value}" for name, value in TENANT_SYSCTLS.items())
    return [f"space {shlex.quote(name)} {settings}" for name in sorted(want.spaces - have.forwarding)]


def _batch(batch: Batch) -> str:
    where = f" -n {shlex.quote(batch.space)}" if batch.space else ""
    what = f"{batch.tool}{where}"
    return _fed(f"{what} -batch -", batch.lines, f"{what} (see the line that it names)")


def _fed(command: str, lines: Iterable[str], stage: str) -> str:
    text = "\n".join(lines)
    return f"{command} <<'WEFT' || fail {shlex.quote(stage)}\n{text}\nWEFT"


def _configure(lines: Iterable[str], new_vrfs: Iterable[str]) -> list[str]:
    """Type lines, save what is then configured, and wait for VRFs: all in one vtysh, which takes long to start."""
    portions, names = list(_portions(lines)), list(new_vrfs)
    if not portions and not names:
        return []
    *early, last = portions or [""]
    return [
        *(shlex.join(["configure", "configuration", each]) for each in early),
        shlex.join(["configure", "configuration", last, *names]),
    ]


def _portions(lines: Iterable[str]) -> Iterator[str]:
    """Cut lines between blocks so that each portion fits an argument of a program."""
    portion: list[str] = []
    size = 0
    for line in lines:
        begins_block = not line.startswith((" ", "exit"))
        if begins_block and size > PORTION_BYTES:
            yield "\n".join(portion)
            portion, size = [], 0
        portion.append(line)
        size += len(line) + 1
    if portion:
        yield "\n".join(portion)


def _until(stage: str, lines: Iterable[str]) -> str:
    return f"configure_until {shlex.quote(stage)} {shlex.quote(chr(10).join(lines))}"


def _handoff_additions(have: Handoffs, want: Handoffs, made: set[str], pin: str, bpf_object: bytes) -> list[str]:
    parts = []
    if want.entries and not have.loaded:
        encoded = base64.b64encode(bpf_object).decode()
        parts.append(
            f"rm -rf /sys/fs/bpf/weft-*; mkdir -p /run/weft {pin} || fail bpffs\n"
            f"base64 -d >/run/weft/handoff.o <<'WEFT'\n{encoded}\nWEFT\n"
            f"bpftool prog loadall /run/weft/handoff.o {pin} pinmaps {pin} || fail 'load the VLAN hand-off'"
        )
    entries = [
        f"entry {shlex.quote(key[0])} {key[1]} {shlex.quote(value[0] or '-')} {value[1]}"
        for key, value in want.entries.items()
        if have.entries.get(key) != value or made & {key[0], value[0]}
    ]
    if entries:
        body = "\n".join(entries)
        parts.append(f"{{\n{body}\n}} | bpftool batch file - >/dev/null || fail 'VLAN hand-off'")
    filters = [
        line
        for name, program in want.programs.items()
        if have.programs.get(name) != program or name in made
        for line in (
            f"qdisc replace dev {name} clsact",
            f"filter replace dev {name} ingress pref 1 handle 1 protocol all bpf da object-pinned {pin}/{program}",
        )
    ]
    return parts + ([_fed("tc -batch -", filters, "tc")] if filters else [])


def _handoff_removals(have: Handoffs, want: Handoffs) -> list[str]:
    parts = [
        f"tc qdisc del dev {shlex.quote(name)} clsact || fail tc"
        for name, program in have.programs.items()
        if name not in want.programs and program == FROM_CABLE  # the others go with their links
    ]
    stale = [key for key, named in have.raw_keys.items() if named not in want.entries]
    if stale:
        body = "\n".join(f"no_entry {ifindex} {vlan}" for ifindex, vlan in stale)
        parts.append(f"{{\n{body}\n}} | bpftool batch file - >/dev/null || fail 'VLAN hand-off'")
    return parts
