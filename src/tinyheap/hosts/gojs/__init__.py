"""The Go/JavaScript bridge, by which Go's and TinyGo's programs call JavaScript (``gojs``, ``env.syscall/js.*``).

`bridge` stands on `abi` (how its functions are called), `references` (how values cross), `script` (JavaScript's values as
Python objects) and `realm` (the global object).
"""
