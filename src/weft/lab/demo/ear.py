"""A program that runs inside an instance and counts what arrives at its NIC, until its standard input ends.

    python ear.py INTERFACE MARKER...

It prints ``listening`` when it hears, and at the end a JSON object: all frames that came in, and for each marker (bytes
in hexadecimal) how many frames held it. It uses the standard library only: an instance has no weft.
"""

import json
import select
import socket
import sys

ETH_P_ALL = 0x0003
LARGEST_FRAME_BYTES = 65536
RECEIVE_BUFFER_BYTES = 4 << 20


def listen(interface: str, markers: list[bytes]) -> dict[str, object]:
    """Count frames that come in at `interface` until standard input ends."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    ear.bind((interface, 0))
    print("listening", flush=True)
    heard = dict.fromkeys(markers, 0)
    frames = 0
    while True:
        ready, _, _ = select.select([ear, sys.stdin], [], [])
        if ear in ready:
            frame, address = ear.recvfrom(LARGEST_FRAME_BYTES)
            if address[2] == socket.PACKET_OUTGOING:  # type: ignore[attr-defined,unused-ignore]
                continue
            frames += 1
            for marker in markers:
                heard[marker] += marker in frame
        elif sys.stdin in ready:  # only when the socket is drained: nothing heard is left uncounted
            return {"frames": frames, "heard": {marker.hex(): count for marker, count in heard.items()}}


if __name__ == "__main__":
    print(json.dumps(listen(sys.argv[1], [bytes.fromhex(marker) for marker in sys.argv[2:]])))
