"""An empty SQLite store, made once in a process and copied: making its tables takes the time of many syncs."""

from pathlib import Path

from weft.store import Store

_EMPTY: list[bytes] = []


async def put_empty_store(path: Path) -> None:
    """Put the file of a store that nothing was written to, unless there is a file."""
    if not _copied(path):
        await (await Store.open(f"sqlite:///{path}")).close()
        _keep(path)


def _copied(path: Path) -> bool:
    """Copy the empty store to where no file is; tell whether there is one by now."""
    if path.exists():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    if _EMPTY:
        path.write_bytes(_EMPTY[0])
    return bool(_EMPTY)


def _keep(path: Path) -> None:
    _EMPTY.append(path.read_bytes())
