"""Encrypt messages with npm's @shutter-network/shutter-crypto 2.0, and print of each what its epoch decides.

    tinyheap profile shutter-crypto.wasm --host host_shutter.py

The program leaves its functions in an object `__wasm_bridge__` of JavaScript's global object.  They take bytes and return
hexadecimal digits, or a text that begins with "Error:".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

GENERATOR = bytes.fromhex(
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
)
"""A point of the curve alt_bn128's second group: the public key of the secret key 1, which is for examples only."""
GROUP_DIGITS = 258
"""What a ciphertext begins with: "0x", and a point of that group, which is the same for all epochs."""
SIGMA = bytes(32)
"""What makes a ciphertext another each time, and is random where that matters."""


def drive(program: Program) -> None:
    """Encrypt a message for each of a few epochs, and one for no key."""
    for epoch in range(4):
        print(f"epoch {epoch}: {encrypted(program, b'Hello', GENERATOR, epoch)[GROUP_DIGITS:][:64]}")
    print(encrypted(program, b"Hello", b"", 0))


def encrypted(program: Program, message: bytes, public_key: bytes, epoch: int) -> str:
    """A message, to be read by whoever has the key of an epoch; or what is wrong with the public key."""
    return str(program.call_script("__wasm_bridge__.encrypt", message, public_key, epoch.to_bytes(32, "big"), SIGMA))
