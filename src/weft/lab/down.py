"""Taking a lab away: every process, namespace, mount and file of it, whatever state it is in, and nothing else."""

import shutil

from weft.lab import namespaces, processes, state
from weft.lab.commands import run
from weft.lab.progress import Progress
from weft.lab.state import LabState


async def down(progress: Progress) -> LabState | None:
    """Remove the machine's lab; return what it was, None if there was none.

    What is removed is what the lab's state names, and what carries the lab's mark.
    """
    with state.operating("down"):
        lab = state.find()
        if lab is None:
            shutil.rmtree(state.LAB_DIR, ignore_errors=True)  # of an `up` that was killed before it made anything
            return None
        await remove(lab, progress)
        return lab


async def remove(lab: LabState, progress: Progress) -> None:
    """Remove everything of a lab; may be called again if it fails."""
    killed = await processes.kill_all(lab.id, lab.namespaces)
    progress.done(f"{killed} processes ended")
    await namespaces.delete(lab.namespaces)
    progress.done(f"{len(lab.namespaces)} namespaces removed, their cables with them")
    await _unmount(lab)
    state.CLIENT_FILE.unlink(missing_ok=True)
    shutil.rmtree(state.LAB_DIR, ignore_errors=True)


async def _unmount(lab: LabState) -> None:
    """Unmount what is left under the lab's directory, and /run/netns if nobody had a namespace before this lab."""
    prefix = f"{state.LAB_DIR}/"
    mounts = [line.split()[1] for line in state.MOUNTS.read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(prefix)), reverse=True):
        await run("umount", "--lazy", mount)
    if not lab.netns_mounted and state.netns_mounted() and not namespaces.existing():
        await run("umount", str(namespaces.NETNS_DIR))
