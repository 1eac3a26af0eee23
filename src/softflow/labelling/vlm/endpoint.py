"""One question to an OpenAI-compatible server: bounded in time and size, the key in nobody's log.

`POST URL/chat/completions`. Redirects are not followed, for they would carry the key elsewhere; an
answer is read to a bound; a deadline cuts the connection, however slowly it drips; what a server
says of its refusal is quoted without the key.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from softflow.errors import ConfigError, DataError, EndpointError, brief
from softflow.utils.documents import misfit, parse_json

Answer = TypeVar("Answer")

MAX_ANSWER_BYTES = 2**20
MAX_WAIT_S = 30.0
"""Between two tries, whatever the server asks for."""
PASSES = frozenset({408, 429, 500, 502, 503, 504})
"""Refusals that may be none the next time."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SHOWN = 200


class _FailedTryError(Exception):
    """A try that failed and may be made again; `wait_s` as the server asked, if it did."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class ChatEndpoint:
    """A model behind a URL.

    Args:
        url: base of the interface, such as http://localhost:8000/v1.
        model: as the server calls it.
        key_variable: environment variable with the key; unset or empty: none is sent.
        timeout_s: seconds for one try, from connecting to the last byte.
        tries: how often to try.
        pause_s: before the second try; doubled before each further one.

    Raises:
        ConfigError: a URL that cannot be meant, or one to which the key would go unencrypted.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        *,
        timeout_s: float = 120.0,
        tries: int = 3,
        pause_s: float = 1.0,
    ) -> None:
        self._url, self._key = _checked_url(url), _key(key_variable)
        self.model = model
        self._timeout_s, self._tries, self._pause_s = timeout_s, tries, pause_s
        if self._key and self._url.scheme == "http" and self._url.hostname not in LOOPBACK:
            raise ConfigError(
                f"the key in {key_variable} would go to {self._url.hostname} unencrypted; give an "
                "https:// address, or unset the variable if that server wants no key"
            )

    def ask(
        self,
        content: Sequence[Mapping[str, Any]],
        understand: Callable[[str], Answer],
        options: Mapping[str, Any] | None = None,
    ) -> Answer:
        """What the model says, understood; asked again while it fails and tries are left.

        Args:
            content: parts of the message of the user, as the interface has them.
            understand: text of the answer -> what it means; DataError if it means nothing.
            options: further fields of the request.

        Raises:
            EndpointError: no try went well; says how the last one failed.
        """
        messages = [{"role": "user", "content": list(content)}]
        request = {"model": self.model, "messages": messages, **(options or {})}
        body = json.dumps(request, allow_nan=False).encode()
        pause_s = self._pause_s
        for left in reversed(range(self._tries)):
            try:
                return understand(_text_of(self._reply(body).body))
            except (_FailedTryError, DataError) as error:
                why = self._without_key(str(error))
                if not left:
                    raise EndpointError(
                        f"{self._shown_url} gave no usable answer in {self._tries} tries, the last "
                        f"time: {why}"
                    ) from None
                asked = error.wait_s if isinstance(error, _FailedTryError) else 0.0
                time.sleep(min(pause_s if asked is None else asked, MAX_WAIT_S))
                pause_s *= 2
        raise EndpointError(f"{self._shown_url} was not asked: tries is {self._tries}")

    @property
    def _shown_url(self) -> str:
        return f"'{self._url.geturl()}'"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    def _reply(self, body: bytes) -> _Reply:
        try:
            reply = self._exchanged(body)
        except ssl.SSLCertVerificationError as error:
            raise EndpointError(f"{self._shown_url} cannot be trusted: {brief(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _FailedTryError(f"the connection failed ({brief(error)})") from error
        if reply.status == 200:
            return reply
        said = self._without_key(_printable(reply.body))
        if reply.status in PASSES:
            raise _FailedTryError(f"status {reply.status}: {said}", _retry_after(reply.headers))
        raise EndpointError(f"{self._shown_url} refuses with status {reply.status}: {said}")

    def _exchanged(self, body: bytes) -> _Reply:
        """One request on a connection of its own, cut at the deadline."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else None
        connection = (kind or http.client.HTTPConnection)(
            self._url.hostname or "", self._url.port, timeout=self._timeout_s
        )
        started = time.monotonic()
        try:
            connection.connect()
            left_s = max(self._timeout_s - (time.monotonic() - started), 0.0)
            deadline = threading.Timer(left_s, _cut, (connection.sock,))
            deadline.daemon = True
            deadline.start()
            try:
                path = f"{self._url.path.rstrip('/')}/chat/completions"
                connection.request("POST", path, body, self._headers())
                response = connection.getresponse()
                read = response.read(MAX_ANSWER_BYTES + 1)
            finally:
                deadline.cancel()
        finally:
            connection.close()
        if time.monotonic() - started >= self._timeout_s:
            raise TimeoutError(f"no whole answer within {self._timeout_s:g} s")
        if len(read) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
        return _Reply(response.status, dict(response.getheaders()), read)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _checked_url(url: str) -> SplitResult:
    example = "give the base of its interface, such as http://localhost:8000/v1"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for what is none
    except ValueError as error:
        raise ConfigError(f"url is {url!r:.200}: {error}; {example}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"url is {url!r:.200}; {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"the url has a user, a query or a fragment; {example}")
    return parts


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip() if variable else ""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(f"the environment variable {variable} holds no key: it has odd letters")
    return key


def _retry_after(headers: Mapping[str, str]) -> float | None:
    asked = next((v for name, v in headers.items() if name.lower() == "retry-after"), "").strip()
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else None


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def _text_of(body: bytes) -> str:
    """What the model says in a completion; raises `_FailedTryError` for anything else."""
    value: Any = None
    try:
        value = parse_json(body)
        return msgspec.convert(value, _Completion).choices[0].message.content
    except msgspec.ValidationError as error:
        raise _FailedTryError(f"no chat completion: {misfit(error, value)}") from error
    except (ValueError, IndexError) as error:
        raise _FailedTryError(f"no chat completion: {brief(error)}") from error


def _printable(body: bytes) -> str:
    text = body[: 4 * _SHOWN].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_SHOWN] or "nothing"
