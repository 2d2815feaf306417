"""How each kind of switch writes what a SwitchConfig says: text out, text in, and what leads from one to the other.

All of it is text and values; what is sent where, and when, is the business of weft.switches.
"""
