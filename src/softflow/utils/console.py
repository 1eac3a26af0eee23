"""What reaches the terminal: text as it is, and nothing that steers the terminal.

Names in files may hold escape sequences, which recolour, hide or rewrite what is on the screen, and
letters that turn the direction of reading. They are shown as their code instead.
"""

from __future__ import annotations

import sys
import unicodedata

_KEPT = "\n\t"
_STEERING = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTIONS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


def plain(text: str) -> str:
    """Text without control characters (C0, C1), half surrogates and turns of direction."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_text(letter) else _code(letter) for letter in text)


def _is_text(letter: str) -> bool:
    if letter in _KEPT:
        return True
    return unicodedata.category(letter) not in _STEERING and ord(letter) not in _DIRECTIONS


def _code(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def say(text: object = "", *, to_errors: bool = False) -> None:
    """Print a line on standard output, or standard error."""
    print(plain(str(text)), file=sys.stderr if to_errors else sys.stdout)
