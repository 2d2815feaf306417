"""Measurements of weft on this machine, printed beside their targets: `make bench`, or `python -m bench [lab|spawn]`.

They run in a lab of their own and need root. Figures vary with the machine; ratios and targets are what to look at.
"""
