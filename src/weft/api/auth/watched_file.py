"""A file whose contents are taken up again when it changes, so that tokens and keys are replaced without a restart."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from weft.model.errors import Invalid

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
"""How often it is looked whether the file has changed."""

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The value of a file. A change that cannot be read is logged, and the last good value stays."""

    def __init__(self, path: Path, read: Callable[[Path], T], clock: Callable[[], float]) -> None:
        """Read the file; raises what `read` raises. `clock` counts seconds."""
        self._path = path
        self._read = read
        self._clock = clock
        self._mark = self._present_mark()
        self._value = read(path)
        self._look_at = clock() + LOOK_EVERY_S

    def current(self) -> T:
        """Return the file's value, read again if the file has changed."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._look()
        return self._value

    def _look(self) -> None:
        mark = self._present_mark()
        if mark is None or mark == self._mark:  # None: about to be replaced, or gone by mistake
            return
        self._mark = mark
        try:
            self._value = self._read(self._path)
        except Invalid as error:
            log.warning("file_not_taken_up", path=str(self._path), reason=error.message)
        else:
            log.info("file_taken_up", path=str(self._path))

    def _present_mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
