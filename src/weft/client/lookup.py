"""Names for people, ids for programs: which object somebody means."""

import uuid
from collections.abc import Sequence

from weft.client.call import JsonObject
from weft.model.errors import Conflict, NotFound


def is_id(text: str) -> bool:
    """Tell whether `text` is written like the id of an object."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def the_one(noun: str, name: str, found: Sequence[JsonObject]) -> JsonObject:
    """Return the only object found for a name; raise NotFound for none, Conflict for several, naming their ids."""
    if not found:
        raise NotFound(f"no {noun} has the name or id '{name}'")
    if len(found) > 1:
        ids = ", ".join(str(each["id"]) for each in found)
        raise Conflict(f"{len(found)} {noun}s are named '{name}': say which by its id ({ids})", kind="AmbiguousName")
    return found[0]
