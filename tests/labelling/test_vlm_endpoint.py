"""One question to a server that may refuse, dawdle, lie or shout: real sockets on this machine."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler

import pytest
from chat_server import Answer, chat_server, reply, says

from softflow.errors import ConfigError, DataError, EndpointError
from softflow.labelling.vlm.endpoint import MAX_ANSWER_BYTES, ChatEndpoint

KEY = "sk-very-secret-0123456789"
QUESTION = [{"type": "text", "text": "what happened?"}]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", KEY)


def endpoint(url: str, timeout_s: float = 5.0, tries: int = 2) -> ChatEndpoint:
    return ChatEndpoint(
        url, "some-model", "THEIR_KEY", timeout_s=timeout_s, tries=tries, pause_s=0.01
    )


def test_a_question_and_its_answer() -> None:
    with chat_server(says("it was cut")) as server:
        assert endpoint(server.url).ask(QUESTION, str.upper, {"top_p": 0.5}) == "IT WAS CUT"
    assert server.paths == ["/v1/chat/completions"]
    (body,) = server.bodies
    assert body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": QUESTION}],
        "top_p": 0.5,
    }
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "")
    with chat_server(says("yes")) as server:
        endpoint(server.url).ask(QUESTION, str)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    busy = reply(status, b"busy", Retry_After="0")
    with chat_server(busy, says("yes")) as server:
        assert endpoint(server.url).ask(QUESTION, str) == "yes"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_refusal_is_told_at_once_and_without_the_key(status: int) -> None:
    said = f"Incorrect API key provided: {KEY}\n\x1b[31m".encode()
    with (
        chat_server(reply(status, said, Location="http://example.com/")) as server,
        pytest.raises(EndpointError, match=f"refuses with status {status}") as caught,
    ):
        endpoint(server.url).ask(QUESTION, str)
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_answer_that_means_nothing_is_asked_for_again() -> None:
    def understand(text: str) -> str:
        if text == "hm":
            raise DataError(f"hm is no answer, said with {KEY}")
        return text

    with chat_server(says("hm"), says("yes")) as server:
        assert endpoint(server.url).ask(QUESTION, understand) == "yes"
    with (
        chat_server(says("hm")) as server,
        pytest.raises(EndpointError, match="no usable answer in 2 tries") as caught,
    ):
        endpoint(server.url).ask(QUESTION, understand)
    assert len(server.bodies) == 2
    assert KEY not in f"{caught.value!r}"


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A letter now and then: no single wait is ever too long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.02)


def dripping_headers(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(200):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


def shouting(handler: BaseHTTPRequestHandler) -> None:
    """More than anybody wants to keep."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(64):
        handler.wfile.write(b" " * (MAX_ANSWER_BYTES // 16))


def hanging_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


def promising_more(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [')
    handler.close_connection = True


def badly_chunked(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}")
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (dripping, "connection failed"),
        (dripping_headers, "connection failed"),
        (shouting, "more than 1,048,576 bytes"),
        (hanging_up, "connection failed"),
        (promising_more, "no chat completion"),
        (badly_chunked, "connection failed"),
        (reply(200, b"<html>"), "no chat completion"),
        (reply(200, b'{"choices": []}'), "no chat completion"),
        (reply(200, b'{"choices": [{"message": {"content": null}}]}'), "no chat completion"),
        (reply(200, b"[" * 100_000), "no chat completion"),
        (reply(200, b'{"choices": NaN}'), "no chat completion"),
        (reply(200, b"\xff\xfe"), "no chat completion"),
        (reply(503, b"", Retry_After="-5"), "status 503"),
        (reply(429, b"", Retry_After="soon"), "status 429"),
    ],
)
def test_a_server_that_misbehaves_is_left_in_time(answer: Answer, why: str) -> None:
    started = time.monotonic()
    with chat_server(answer) as server, pytest.raises(EndpointError, match=why):
        endpoint(server.url, timeout_s=0.4).ask(QUESTION, str)
    assert time.monotonic() - started < 10
    assert len(server.bodies) == 2


def test_nobody_there() -> None:
    with chat_server(says("yes")) as server:
        url = server.url
    with pytest.raises(EndpointError, match="connection failed"):
        endpoint(url).ask(QUESTION, str)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "give the base"),
        ("file:///etc/passwd", "give the base"),
        ("http://user:word@localhost/v1", "has a user"),
        ("http://localhost:99999/v1", "give the base"),
        ("http://localhost/v1?key=x", "a query"),
        ("http://models.example.com/v1", "unencrypted"),
    ],
)
def test_an_address_that_cannot_be_meant(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        endpoint(url)
    assert KEY not in str(caught.value)


def test_a_key_with_a_line_break_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "secret\r\nX-Header: 1")
    with pytest.raises(ConfigError, match="odd letters") as caught:
        endpoint("http://localhost/v1")
    assert "secret" not in str(caught.value)
