"""Lists: which objects, in which order, which page of them, and which of their attributes."""

import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request

from weft.api.neutron.attributes import MAX_REASON_LENGTH, Attribute, bad_request, invalid_input
from weft.api.neutron.values import Refused, boolean
from weft.model.errors import Invalid
from weft.model.numbers import whole_number

Rendered = dict[str, object]
Matcher = Callable[[Rendered], bool]

_RESERVED = {"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"}
_TAGS: Mapping[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda wanted, found: wanted <= found,
    "tags-any": lambda wanted, found: bool(wanted & found),
    "not-tags": lambda wanted, found: not wanted <= found,
    "not-tags-any": lambda wanted, found: not wanted & found,
}
_FIXED_IP_KEYS = {"ip_address", "subnet_id", "ip_address_substr"}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list request's query, checked."""

    filters: Mapping[str, tuple[str, ...]]
    fields: tuple[str, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    """Sort keys, the first the most important, each with whether it descends."""
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False
    seen_by: str | None = None
    """The project whose view limits what is listed; None: nothing does."""
    after_id: str | None = None
    at_most: int | None = None
    """Rows wanted of a resource that is paged: so many of those with greater ids. None: all."""

    @property
    def in_order_of_ids(self) -> bool:
        """Whether pages run through ids upwards, which is the order of creation."""
        return self.order in ((), (("id", False),)) and not self.page_reverse

    def only(self, name: str) -> str | None:
        """Return the one value that `name` must have, if the query wants exactly one."""
        values = self.filters.get(name, ())
        return values[0] if len(values) == 1 else None


def parse_query(table: Mapping[str, Attribute], items: Iterable[tuple[str, str]]) -> ListQuery:
    """Return a list request's query; raise Invalid for an attribute or value that Neutron refuses."""
    given: dict[str, tuple[str, ...]] = {}
    for name, value in items:
        given[name] = (*given.get(name, ()), value)
    filters = {name: values for name, values in given.items() if name not in _RESERVED}
    known = {name for name, attribute in table.items() if attribute.filters} | (
        _TAGS.keys() if "tags" in table else set()
    )
    unknown = [name for name in filters if name not in known]
    if unknown:
        raise bad_request(f"{unknown} is invalid attribute for filtering")
    return ListQuery(
        filters=filters,
        fields=tuple(field for field in given.get("fields", ()) if field),
        order=_order(table, given.get("sort_key", ()), given.get("sort_dir", ())),
        limit=_limit(given.get("limit", ("",))[-1]),
        marker=given.get("marker", ("",))[-1] or None,
        page_reverse=given.get("page_reverse", ("",))[-1].lower() == "true",
    )


def _order(
    table: Mapping[str, Attribute], keys: Sequence[str], directions: Sequence[str]
) -> tuple[tuple[str, bool], ...]:
    unknown = [key for key in keys if not (key in table and table[key].sorts)]
    if unknown:
        raise bad_request(f"{unknown} is invalid attribute for sort_keys")
    wrong = [each for each in directions if each not in ("asc", "desc")]
    if wrong:
        raise bad_request(f"{wrong} is invalid value for sort_dirs, valid value is 'asc' and 'desc'")
    if directions and len(directions) != len(keys):
        raise bad_request("The number of sort_keys and sort_dirs must be same")
    descends = [each == "desc" for each in directions] or [False] * len(keys)
    return tuple(zip(keys, descends, strict=True))


def _limit(text: str) -> int | None:
    if not text:
        return None
    limit = whole_number(text)
    if limit is None:
        shown = text[:MAX_REASON_LENGTH]
        raise Invalid(f"Bad limit request: Limit must be an integer 0 or greater and not '{shown}'.")
    return limit or None  # Neutron takes 0 for no limit


def matcher(table: Mapping[str, Attribute], query: ListQuery) -> Matcher:
    """Return what tells whether a rendered object passes all filters of `query`."""
    compared = [(name, values) for name, values in query.filters.items() if name in _TAGS or table[name].matched]
    tests = [_test(table, name, values) for name, values in compared]
    return lambda found: all(test(found) for test in tests)


def _test(table: Mapping[str, Attribute], name: str, values: tuple[str, ...]) -> Matcher:
    if name in _TAGS:
        compare = _TAGS[name]
        wanted_tags = {tag for value in values for tag in value.split(",")}
        return lambda found: compare(wanted_tags, set(_listed(found["tags"])))
    if name == "fixed_ips":
        return _fixed_ips_test(values)
    wanted = frozenset(filter_value(name, table[name], value) for value in values)
    return lambda found: not wanted.isdisjoint(_texts(found.get(name)))


def filter_value(name: str, attribute: Attribute, text: str) -> str:
    """Return a filter's value in the form in which the rendered attribute has it."""
    convert = attribute.filter_as or attribute.convert
    if convert is None or not text:
        return text
    try:
        return _texts(convert(text))[0]
    except Refused as refused:
        if convert is boolean:
            raise invalid_input(name, str(refused)) from None
        return text  # no object has such a value: the list is empty, as Neutron's is


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    return ("" if value is None else str(value),)


def _listed(value: object) -> Iterable[str]:
    return map(str, value) if isinstance(value, list | tuple) else ()


def _fixed_ips_test(values: tuple[str, ...]) -> Matcher:
    wanted: dict[str, set[str]] = {}
    for value in values:
        key, _, text = value.partition("=")
        if key not in _FIXED_IP_KEYS or not text:
            reason = f"'{value}' is not KEY=VALUE with one of {sorted(_FIXED_IP_KEYS)}"
            raise invalid_input("fixed_ips", reason)
        wanted.setdefault(key, set()).add(address_text(text) if key == "ip_address" else text)

    def test(found: Rendered) -> bool:
        fixed_ips = found["fixed_ips"]
        assert isinstance(fixed_ips, list)
        return all(_any_address_has(fixed_ips, key, texts) for key, texts in wanted.items())

    return test


def address_text(text: str) -> str:
    """Return an address as it is shown; what is none, as it is."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _any_address_has(fixed_ips: Iterable[Mapping[str, str]], key: str, texts: set[str]) -> bool:
    if key == "ip_address_substr":
        return any(text in each["ip_address"] for each in fixed_ips for text in texts)
    return any(each[key] in texts for each in fixed_ips)


def page_of(found: list[Rendered], query: ListQuery, marker: Rendered | None = None) -> list[Rendered]:
    """Return the objects of the page that `query` asks for, in its order; ids, which grow with time, decide ties.

    The page begins after `marker`, an object that need not be among those found.
    """
    if marker is not None and all(each["id"] != marker["id"] for each in found):
        found = [*found, marker]
    ordered = sorted(found, key=lambda each: str(each["id"]))
    for key, descends in reversed(query.order):
        ordered.sort(key=lambda each: _sort_value(each.get(key)), reverse=descends)
    if query.page_reverse:
        ordered.reverse()
    if marker is not None:
        position = next(at for at, each in enumerate(ordered) if each["id"] == marker["id"])
        ordered = ordered[position + 1 :]
    page = ordered[: query.limit]
    if query.page_reverse:
        page.reverse()
    return page


def marker_among(found: Sequence[Rendered], query: ListQuery) -> Rendered | None:
    """Return the object that a page shall begin after, where all that can be listed was found; None: it begins it."""
    if query.marker is None:
        return None
    for each in found:
        if each["id"] == query.marker:
            return each
    raise bad_request(f"the marker '{query.marker}' is not among the objects listed: begin again without it")


def _sort_value(value: object) -> tuple[bool, str | int]:
    if isinstance(value, int):  # booleans too
        return (True, value)
    return (value is not None, "" if value is None else str(value))


def with_fields(found: Rendered, fields: Sequence[str]) -> Rendered:
    """Return `found` with the named attributes only; with all if none is named."""
    return {name: value for name, value in found.items() if name in fields} if fields else found


def page_links(request: Request, query: ListQuery, page: Sequence[Rendered]) -> list[dict[str, str]]:
    """Return the links to the pages after and before a page, where Neutron gives them."""
    if query.limit is None or not page:
        return []
    kept = [item for item in request.query_params.multi_items() if item[0] not in ("marker", "page_reverse")]
    base = f"{origin(request)}{request.url.path}?"
    full = len(page) == query.limit
    links = []
    if full or query.page_reverse:
        links.append({"rel": "next", "href": base + urlencode([*kept, ("marker", str(page[-1]["id"]))])})
    if full or not query.page_reverse:
        before = [*kept, ("marker", str(page[0]["id"])), ("page_reverse", "True")]
        links.append({"rel": "previous", "href": base + urlencode(before)})
    return links


async def streamed(
    collection: str,
    fields: Sequence[str],
    first: Iterable[Sequence[Rendered]],
    later: AsyncIterator[Sequence[Rendered]],
) -> AsyncIterator[bytes]:
    """Yield the body of a list too long to be held at once; the portions of it that are read already come first."""
    yield f'{{"{collection}":['.encode()
    separator = b""
    async for portion in _all(first, later):
        if portion:
            shown = [with_fields(each, fields) for each in portion]
            yield separator + msgspec.json.encode(shown)[1:-1]
            separator = b","
    yield b"]}"


async def _all(
    first: Iterable[Sequence[Rendered]], later: AsyncIterator[Sequence[Rendered]]
) -> AsyncIterator[Sequence[Rendered]]:
    for portion in first:
        yield portion
    async for portion in later:
        yield portion


def origin(request: Request) -> str:
    """Return scheme and host as the client wrote them, so that links lead back the way it came."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    return f"{scheme}://{request.headers.get('host', 'localhost')}"
