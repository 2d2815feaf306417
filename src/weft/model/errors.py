"""The five ways an operation can fail; only the outermost shell turns them into statuses and exit codes.

A message says what was wrong, with the value, and what to do about it.
"""


class WeftError(Exception):
    """Root of all errors that weft raises on purpose.

    `kind` is a short machine-readable name of the cause, such as ``IpAddressInUse``; the API layer uses it to
    choose the error type that a Neutron client knows.
    """

    default_kind = "WeftError"

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind


class Invalid(WeftError):
    """The caller's request can never succeed as it stands."""

    default_kind = "BadRequest"


class Conflict(WeftError):
    """The request is valid, but the present state forbids it."""

    default_kind = "Conflict"


class NotFound(WeftError):
    """The named object does not exist, or the caller may not know that it does."""

    default_kind = "NotFound"


class Forbidden(WeftError):
    """The caller is known and may not do this."""

    default_kind = "Forbidden"


class Transient(WeftError):
    """A passing failure; the same request may succeed after `retry_after_s` seconds."""

    default_kind = "ServiceUnavailable"

    def __init__(self, message: str, *, retry_after_s: float, kind: str | None = None) -> None:
        super().__init__(message, kind=kind)
        self.retry_after_s = retry_after_s


class Permanent(WeftError):
    """A device or provider refused for good; a person has to look."""

    default_kind = "Permanent"
