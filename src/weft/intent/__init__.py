"""What the rows mean: the use cases of callers and realizers, each one atomic transaction.

Every function takes the transaction (or the snapshot) it runs in and either does all of what it says or raises one of
weft.model.errors and leaves nothing behind. It knows no HTTP and no device; what it refuses, it refuses with the value
and, where Neutron has one, with Neutron's kind and text.
"""
