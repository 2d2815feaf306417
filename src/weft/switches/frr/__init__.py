"""FRR on Linux: routing is FRR's text, segments are the kernel's links; both are read back and compared.

What it makes is marked (the links' alias) and nothing else is removed. Two layouts of links say the same SwitchConfig:
`vrf` (VRF devices, one VLAN-aware bridge) for real switches, `netns` for kernels that have neither.
"""
