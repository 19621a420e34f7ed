"""Receivers of alerts on this machine: HTTP and SMTP over real sockets, polite or not."""

from __future__ import annotations

import email
import email.policy
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


@dataclass
class Receiver:
    """What arrived, in order, and where to send it."""

    port: int
    arrived: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def wait_for(self, count: int, patience: float = 120) -> list[Any]:
        """Returns what arrived as soon as it is that many messages, or what there is when the patience ends."""
        deadline = time.monotonic() + patience
        while len(self.arrived) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        return list(self.arrived)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A handler that hangs must not keep the test from ending.
    block_on_close = False


@contextmanager
def http_receiver(status: int = 200, *, location: str | None = None, hangs: bool = False) -> Iterator[Receiver]:
    """Takes POST requests with JSON, answers them with a status, or never answers."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.paths.append(self.path)
            receiver.arrived.append(json.loads(content))
            if hangs:
                # A byte a second satisfies every limit on the time between two bytes.
                while not ended.wait(1):
                    self.wfile.write(b"H")
                return
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.arrived.append("GET")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    with _Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            ended.set()
            server.shutdown()
            thread.join()


@contextmanager
def smtp_receiver() -> Iterator[Receiver]:
    """Takes e-mails; `arrived` has the parsed messages, `paths` the recipients."""

    class Handler(socketserver.StreamRequestHandler):
        answers: ClassVar = {"EHLO": "250 textclf", "DATA": "354 go on", "QUIT": "221 bye"}

        def handle(self) -> None:
            self.say("220 textclf")
            for line in self.rfile:
                command = line.decode().strip()
                self.say(self.answers.get(command[:4].upper(), "250 ok"))
                if command.upper().startswith("RCPT TO:"):
                    receiver.paths.append(command[8:].strip("<>"))
                elif command.upper() == "DATA":
                    self.take_message()
                elif command.upper() == "QUIT":
                    return

        def take_message(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b"."))
            receiver.arrived.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
            self.say("250 taken")

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
