"""What --help says of each option."""

from __future__ import annotations

import re


def explained(text: str) -> dict[str, str]:
    """Option or argument -> what a command's help says of it."""
    texts: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if found := re.match(r"  (--[a-z][a-z0-9.-]+|[A-Z]+)( |$)", line):
            name = found[1].replace("--no-", "--")
            texts[name] = line.strip().partition("  ")[2]
        elif name and line.startswith("      "):
            texts[name] += line
        else:
            name = ""
    return texts
