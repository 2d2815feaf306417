"""Addresses, their numbers and how they are written."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.addresses import ipv4_of, number_of


@given(st.ip_addresses())
def test_the_number_of_a_written_address_is_the_address_own(address: object) -> None:
    assert number_of(str(address)) == int(ip_address(str(address)))


@given(st.integers(0, (1 << 32) - 1))
def test_an_address_of_a_number_is_written_as_others_are(number: int) -> None:
    assert str(ipv4_of(number)) == str(ip_address(number))
    assert number_of(str(ipv4_of(number))) == number


@pytest.mark.parametrize("text", ["", "node1", "10.0.0.256", "2001:db8::g"])
def test_what_is_no_address_has_no_number(text: str) -> None:
    with pytest.raises((OSError, ValueError)):
        number_of(text)
