"""Who may have which address: pools that give out, take back and let rest.

An address that a pool gave out is not given out again before it was released and has rested. A pool is a hint in
memory, rebuilt from rows; this package does no I/O, and the database's unique index has the last word.
"""
