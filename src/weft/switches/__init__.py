"""Reads and writes real switches, in the lab and in production by the same path: SSH to the management address.

A driver's observe returns what the device is, read back from it and never remembered; apply is safe to make again and
leaves a failure half-way to the next observe. It decides nothing: what a switch shall be comes from weft.fabric.
"""
