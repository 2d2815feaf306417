"""How callers prove who they are: token files, nodes' tokens, JSON Web Tokens, Keystone, certificates.

A token is asked of one source after the other until one knows it. A source answers with the caller, with None if the
token is none of its kind, or raises: Unauthenticated if the token is not valid, Transient if that cannot be told now.
What a caller may do is not decided here, but in weft.api.access and by each page.
"""
