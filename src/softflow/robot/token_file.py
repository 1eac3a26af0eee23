"""The token of a policy's server and its clients, in a file that only its owner may read."""

from __future__ import annotations

import stat
from pathlib import Path

from softflow.errors import ConfigError
from softflow.utils.files import require_regular

MAX_TOKEN_BYTES = 4096
_MAKE = "(umask 077; openssl rand -hex 32 > token)"


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: others may read it, or it holds no token.
        StoreError: it is no file.
    """
    require_regular(path)
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--token-file {path}: {error.strerror}; make one: {_MAKE}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"--token-file {path} can be read by others; chmod 600 {path}")
    token = content.decode("ascii", errors="replace").strip()
    if len(content) > MAX_TOKEN_BYTES or not token.isascii() or not token.isalnum():
        raise ConfigError(f"--token-file {path} holds no token of letters and digits; {_MAKE}")
    return token
