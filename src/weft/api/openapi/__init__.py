"""The API's description of itself: an OpenAPI 3.1 document, made from the operations that answer the requests.

Bodies of /v1 are described by the types that decode and encode them, Neutron's by the tables that check and convert its
attributes. An operation that nobody has described further is there too, with any JSON for its bodies: what the document
says is never more than what is so. The tests send requests made from it, and hold the answers against it.
"""
