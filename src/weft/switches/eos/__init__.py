"""Arista EOS switches, by eAPI: JSON-RPC over HTTPS, with configuration sessions.

A change is typed into a session and committed as a whole, so a switch that refuses a line has taken none. A foundation
is committed under a timer, after which the switch goes back by itself. No script runs on the switch.
"""
