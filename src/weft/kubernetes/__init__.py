"""The Kubernetes API as weft needs it: which pods and StatefulSets there are, and what they ask of the network.

It is read, never written, and only as metadata: names, owners, labels and annotations. What is known of it is the state
of a complete list with every change since; where that cannot be had, nothing is known, which is not the same as empty.
"""
