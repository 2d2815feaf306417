"""Numbers as callers write them."""

MAX_DIGITS = 18
"""More are no number that anything here has; Python refuses to read thousands of them."""


def whole_number(text: str) -> int | None:
    """Return the number that decimal digits stand for, and nothing but digits; None for any other text."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        return None
    return int(text)
