"""Outcomes of the items of a batch, as values or errors."""

from weft.client.endpoint import RETRY_AFTER_S, said_error
from weft.model.errors import Permanent, WeftError
from weft.protocol.workload import Workload, WorkloadError, WorkloadOutcome


def error_in(said: WorkloadError) -> WeftError:
    """Return the error of an item: what the same request would have raised alone."""
    after_s = RETRY_AFTER_S if said.retry_after_s is None else said.retry_after_s
    return said_error(said.status, said.message, said.kind, retry_after_s=after_s)


def workload_in(done: WorkloadOutcome) -> Workload:
    """Return the workload that was attached or claimed, or raise why it was not."""
    if done.error is not None:
        raise error_in(done.error)
    if done.workload is None:
        raise Permanent("the server says neither which workload it is nor what went wrong", kind="UnexpectedAnswer")
    return done.workload


def released_in(done: WorkloadOutcome) -> bool:
    """Return whether a release was its holder's, or raise why it failed."""
    if done.error is not None:
        raise error_in(done.error)
    return bool(done.released)
