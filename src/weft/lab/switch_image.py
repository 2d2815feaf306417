"""The image that the lab's switches boot from: Debian 13 with FRR, Open vSwitch, sshd and iproute2, in a folder.

Debian 12's FRR (8.4) loses the router MACs of an L3VNI when a link flaps, so the switches run FRR 10.3 of Debian 13
whatever the machine itself runs. The folder is shared by all switches and read-only to them; it is built once, and
again only when the recipe below changes. Built beside and renamed: an image that is there is whole.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from weft.model.errors import Permanent, WeftError

IMAGE = Path("/var/lib/weft/switch-image")
SUITE = "trixie"
PACKAGES = (
    "frr",
    "openvswitch-switch",
    "openssh-server",
    "iproute2",
    "bpftool",
    "ethtool",
    "procps",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "gawk",
    "grep",
    "hostname",
    "iputils-ping",
    "mount",
    "sed",
    "tcpdump",
    "util-linux",
    "base-files",
)
STAMP = "etc/weft-switch-image"
"""The file in the image that holds the hash of the recipe that it was made by."""
BUILD_TIMEOUT_S = 600.0
LOG_TAIL_LINES = 15

# mmdebstrap's variant "extract" runs no maintainer scripts: what they would have made and a switch needs is here.
_FILES = {
    "etc/passwd": (
        0o644,
        (
            "root:x:0:0:root:/root:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
            "frr:x:101:101:FRR:/nonexistent:/usr/sbin/nologin\n"
        ),
    ),
    "etc/group": (0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nfrr:x:101:\nfrrvty:x:102:frr\n"),
    "etc/shadow": (0o640, "root:*:20000::::::\nsshd:!:20000::::::\nfrr:!:20000::::::\n"),
    "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"),
    "etc/hosts": (0o644, "127.0.0.1 localhost\n"),
    "etc/pam.d/frr": (0o644, "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n"),
    "etc/pam.d/other": (0o644, "auth required pam_deny.so\naccount required pam_deny.so\n"),
}
_LINKS = {
    "usr/bin/sh": "dash",
    "usr/bin/awk": "gawk",
    "usr/sbin/ovs-vswitchd": "/usr/lib/openvswitch-switch/ovs-vswitchd",
    "var/run": "/run",
}
_FOLDERS = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "etc/frr",
    "etc/openvswitch",
    "etc/ssh",
    "var/lib/frr",
    "var/log/frr",
    "var/tmp/frr",
)
_UNNEEDED = ("var/run", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt")


def recipe_hash() -> str:
    """Return what identifies the recipe."""
    recipe = (SUITE, PACKAGES, _FILES, _LINKS, _FOLDERS, _UNNEEDED)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()


def is_current(image: Path = IMAGE) -> bool:
    """Tell whether the image is there and made by the present recipe."""
    try:
        return (image / STAMP).read_text().strip() == recipe_hash()
    except OSError:
        return False


def build(image: Path = IMAGE, say: Callable[[str], None] = print) -> bool:
    """Build the image unless it is current; return whether it was built. `say` is told what is being done.

    Raise Permanent if a tool is missing, if no Debian mirror is configured, or if mmdebstrap fails.
    """
    if is_current(image):
        return False
    _require_tools()
    mirror = _mirror()
    draft = image.with_name(f"{image.name}.new-{os.getpid()}")
    _remove_drafts(image)
    image.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    say(f"Debian {SUITE} into {image} (about 120 MB)")
    try:
        _bootstrap(draft, mirror, say)
        _complete(draft)
        _replace(image, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(f"the switch image is ready after {time.monotonic() - began:.0f} s")
    return True


def _require_tools() -> None:
    if os.geteuid() != 0:
        raise Permanent("the switch image can only be built by root")
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("apt-get", "apt (this needs a Debian machine)")):
        if shutil.which(tool) is None:
            raise Permanent(f"`{tool}` is not there; install {package}, or run scripts/setup")


def _mirror() -> str:
    """Return the machine's own Debian mirror, without the suites that have only updates."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Identifier: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in asked.stdout.splitlines():
        origin, codename, uri = line.split("|", 2)
        if origin == "Debian" and "-" not in codename:
            return uri.rstrip("/")
    raise Permanent("apt knows no Debian mirror: check /etc/apt/sources.list, then run `apt-get update`")


def _acquire_options() -> Iterator[str]:
    """Yield apt's own settings of how to fetch (proxies, certificates), which mmdebstrap does not take over."""
    asked = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    for line in asked.stdout.splitlines():
        if line.startswith(("Acquire::http", "Acquire::https", "Acquire::Retries")) and not line.endswith('"";'):
            yield f"--aptopt={line}"


def _bootstrap(draft: Path, mirror: str, say: Callable[[str], None]) -> None:
    command = ["mmdebstrap", "--mode=root", "--variant=extract", f"--include={','.join(PACKAGES)}"]
    command += [*_acquire_options(), SUITE, str(draft), mirror]
    said: list[str] = []
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                say(f"  {line[3:].strip()}")
    if process.returncode:
        tail = "\n".join(said[-LOG_TAIL_LINES:])
        raise Permanent(f"mmdebstrap could not make Debian {SUITE} from {mirror}:\n{tail}")


def _complete(root: Path) -> None:
    """Make what maintainer scripts would have made, take away what a switch never reads, and put the stamp."""
    for folder in _UNNEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, (mode, text) in _FILES.items():
        (root / name).write_text(text)
        (root / name).chmod(mode)
    for name, target in _LINKS.items():
        if not (root / name).exists():
            (root / name).symlink_to(target)
    for needed in ("usr/lib/frr/bgpd", "usr/lib/frr/mgmtd", "usr/sbin/sshd", "usr/bin/vtysh", "usr/sbin/bpftool"):
        if not (root / needed).exists():
            raise Permanent(f"the new switch image has no /{needed}: Debian {SUITE} changed; see {Path(__file__).name}")
    (root / STAMP).write_text(recipe_hash() + "\n")


def _replace(image: Path, draft: Path) -> None:
    """Put the draft in the image's place. Switches that run keep the old folder until they stop."""
    old = image.with_name(f"{image.name}.old-{os.getpid()}")
    if image.exists():
        image.rename(old)
    draft.rename(image)
    shutil.rmtree(old, ignore_errors=True)


def _remove_drafts(image: Path) -> None:
    """Remove what builds that were killed have left; a build that runs holds no claim here: set-up runs alone."""
    for left in image.parent.glob(f"{image.name}.*-*"):
        shutil.rmtree(left, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Build the image if needed; with --check, only tell by the exit status whether it is current."""
    parser = argparse.ArgumentParser(prog="switch-image", description="Build the image of the lab's switches.")
    parser.add_argument("--check", action="store_true", help="exit with 0 if the image is current, else with 1")
    parser.add_argument("--image", type=Path, default=IMAGE, help=f"where it stands (default: {IMAGE})")
    options = parser.parse_args(argv)
    if options.check:
        return 0 if is_current(options.image) else 1
    try:
        if not build(options.image, lambda line: print(f"    {line}", flush=True)):
            print(f"    {options.image} is current")
    except WeftError as error:
        print(f"switch-image: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
