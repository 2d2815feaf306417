"""What a check of addresses finds: about what, what is wrong with it, and what would put it right."""

from enum import StrEnum

import msgspec

from weft.model.ids import NetworkId

LATE_S = 900.0
"""How late what runs in the background may be before it is a finding."""


class Trouble(StrEnum):
    """What kind of wrong."""

    LEAK = "leak"
    """Nobody has it, and nobody can get it."""
    DOUBLE = "double"
    """Two have it, or may."""
    ORPHAN = "orphan"
    """What it belongs to is gone."""
    OUTSIDE = "outside"
    """It is where it may not be."""


class Remedy(StrEnum):
    """What a repair does; none: a person has to decide."""

    NONE = ""
    FREE_ADDRESS = "free the address after a quarantine"
    END_REST = "end its rest after a quarantine"
    DROP_HOLD = "forget the hold"
    FREE_PREFIX = "free the prefix"
    DELETE_PORT = "delete the port"
    DROP_BLOCK = "forget the block"


class Subject(StrEnum):
    """What a finding is about."""

    PORT = "port"
    ADDRESS = "address"
    REST = "rest"
    HOLD = "hold"
    PLAN = "plan"
    BLOCK = "block"
    WORKLOAD = "workload"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `id` is that of its subject; `key` names it over time."""

    about: Subject
    trouble: Trouble
    text: str
    id: str
    remedy: Remedy = Remedy.NONE
    network_id: NetworkId = NetworkId("")
    address: str = ""

    @property
    def key(self) -> str:
        """What two checks have to find alike."""
        return "/".join((self.about, self.trouble, self.remedy, self.id, self.network_id, self.address))


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that the next check has to make again before anything is freed."""

    id: str
    since: float
