"""The address plan: which prefixes may stand beside each other, and which address of a subnet is given out next.

`plan` checks a subnet before it exists, `pools` picks addresses from memory in constant time. Nothing here decides who
owns an address: that is the unique index of the store, and a pool is only its fast and forgetful shadow.
"""
