"""Writes matmul_bytes.js, the program that matmul.wat says in words: `python -m course_lib.widgets.matmul`.

Needs wasmtime (extra `test`), whose assembler it is. A test holds that the bytes that ship are these.
"""

from __future__ import annotations

import base64

from course_lib.files import write_atomically
from course_lib.widgets.page import HERE

PLACE = HERE / "matmul_bytes.js"


def program() -> bytes:
    """The WebAssembly of matmul.wat. Raises ImportError without wasmtime."""
    import wasmtime

    return bytes(wasmtime.wat2wasm((HERE / "matmul.wat").read_text(encoding="utf-8")))


def script() -> str:
    """The module that exports it, in base64."""
    code = base64.b64encode(program()).decode()
    about = "/** matmul.wat as WebAssembly, in base64, written by matmul.py. @type {string} */"
    return f'{about}\nexport const PROGRAM =\n  "{code}";\n'


if __name__ == "__main__":
    print(write_atomically(PLACE, script()))
