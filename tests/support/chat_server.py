"""A server on this machine that speaks the OpenAI chat interface, or misbehaves as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]
"""Writes a whole answer, or something else."""


@dataclass
class ChatServer:
    """What it answers, one after the other (the last one for ever), and what it was asked."""

    url: str
    answers: list[Answer]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def chat_server(*answers: Answer) -> Iterator[ChatServer]:
    """A server with real sockets, gone afterwards."""
    served = ChatServer("", list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            served.bodies.append(json.loads(self.rfile.read(size)))
            served.headers.append(dict(self.headers))
            served.paths.append(self.path)
            answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(status: int, body: bytes, **headers: str) -> Answer:
    """A plain answer; underscores in the names of headers become dashes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def says(text: str) -> Answer:
    """A completion in which the model says `text`."""
    message = {"role": "assistant", "content": text}
    completion = {"id": "x", "choices": [{"index": 0, "message": message}], "usage": {}}
    return reply(200, json.dumps(completion).encode())
