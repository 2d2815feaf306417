"""From a server's settings to the sources of callers that it asks."""

import time

from weft.api.auth.credential import TokenSource
from weft.api.auth.token_file import TokenFile
from weft.api.settings import ServerSettings


def token_sources(settings: ServerSettings) -> tuple[TokenSource, ...]:
    """Return the sources that the settings name, in the order in which a token is asked of them.

    Raises Invalid if a file that they name cannot be read or holds something wrong.
    """
    sources: list[TokenSource] = []
    if settings.token_file is not None:
        sources.append(TokenFile(settings.token_file, time.time))
    return tuple(sources)
