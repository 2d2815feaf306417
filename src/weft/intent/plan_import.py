"""Taking a foreign plan over: all of it in one transaction, or none, with a report of what stands in the way."""

import msgspec

from weft.intent.plan import adopt_subnets, check_owner
from weft.intent.plan_rows import DomainPlan, tree_of
from weft.ipam.imports import Entry, Problem, delegation, merge, read_csv, read_netbox
from weft.ipam.tree import Tree
from weft.model.errors import Conflict, Invalid, WeftError
from weft.store import Snapshot, Transaction

FORMATS = {"csv": read_csv, "netbox": read_netbox}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do: how many prefixes it took, how many were there, and what it could not take."""

    imported: int
    present: int
    problems: list[Problem]


def read(kind: str, text: str) -> tuple[list[Entry], list[Problem]]:
    """Read a foreign plan. Raises Invalid for an unknown kind, and for a text that is not of it."""
    reader = FORMATS.get(kind)
    if reader is None:
        raise Invalid(f"'{kind}' is no format of plans; possible: {', '.join(FORMATS)}")
    return reader(text)


def examine(snapshot: Snapshot, entries: list[Entry], unread: list[Problem]) -> tuple[list[Entry], Report]:
    """Return the entries that can be taken over, and the report; changes nothing."""
    problems = list(unread)
    owned = []
    for entry in entries:
        try:
            check_owner(snapshot, entry.owner)
            owned.append(entry)
        except WeftError as error:
            problems.append(Problem(entry.where, str(entry.cidr), error.message))
    trees = {domain: tree_of(snapshot, domain) for domain in {entry.domain for entry in owned}}
    fitting, clashes = merge(trees, owned)
    present = len(owned) - len(fitting) - len(clashes)
    return fitting, Report(imported=len(fitting), present=present, problems=problems + clashes)


def import_plan(tx: Transaction, entries: list[Entry], unread: list[Problem], *, skip: bool) -> Report:
    """Take a plan over. Raises Conflict, and changes nothing, if there are problems and they are not to be skipped."""
    plans = {domain: DomainPlan(tx, domain) for domain in sorted({entry.domain for entry in entries})}
    fitting, report = examine(tx, entries, unread)
    if report.problems and not skip:
        first = report.problems[0]
        message = f"{len(report.problems)} prefixes cannot be imported, such as {first.prefix or first.where}:"
        raise Conflict(f"{message} {first.reason}. Nothing was changed; see all with a dry run", kind="PlanConflict")
    now = tx.clock()
    for domain, plan in plans.items():
        new = [delegation(entry, tx.new_id(), now) for entry in fitting if entry.domain == domain]
        plan.become(Tree([*plan.tree, *new]))
        adopt_subnets(tx, plan)
    return report
