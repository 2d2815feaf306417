"""JSON-RPC's stream: messages without separators."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.ovs.jsonrpc import Framer
from weft.model.errors import Permanent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=5)


@given(messages=MESSAGES, ascii_only=st.booleans(), between=st.sampled_from(["", "\n", "  "]), data=st.data())
def test_messages_come_whole_wherever_the_stream_breaks(
    messages: list[dict[str, object]], ascii_only: bool, between: str, data: st.DataObject
) -> None:
    stream = between.join(json.dumps(message, ensure_ascii=ascii_only) for message in messages).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    framer, found = Framer(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += framer.feed(stream[start:end])
    assert found == messages


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(Permanent, match="no JSON-RPC"):
        Framer().feed(b"HTTP/1.1 400 Bad Request}")
