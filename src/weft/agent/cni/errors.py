"""Errors as CNI has them: a code that the runtime acts on, a sentence, and details (specification, section 5)."""

from enum import IntEnum


class Code(IntEnum):
    """The specification's codes, and weft's own from 100."""

    INCOMPATIBLE_VERSION = 1
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    UNDECODABLE = 6
    INVALID_CONFIGURATION = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    REFUSED = 100
    """The server refused: no address, no such network, a name that is taken."""
    NOT_AS_ADDED = 101
    """CHECK found a container that is not wired as it was."""


class CniError(Exception):
    """A call that failed."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
