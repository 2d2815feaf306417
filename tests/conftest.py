"""What holds for all tests: see tests/thorough.py."""

from tests import thorough

__all__ = ["thorough"]
