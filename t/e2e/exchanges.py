"""
Requests with their responses, as a client sees them, or as a script of the stand-in fires them; and the same as h2olog
is to print them.
"""

from __future__ import annotations

import json
import socket
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import jsonschema
from conftest import PATIENCE, SLOWNESS, Server, Tracer
from support import header_line

Fields = List[Tuple[str, str]]
Record = Dict[str, Any]

# Headers that the stand-in sends, and h2o does not trace.
UNTRACED = ("connection", "server")

# A response that no event of its thread follows is complete after 100 ms. Who ends the trace sooner cuts it: it counts
# as unfinished.
QUIET = 0.2 * SLOWNESS


class Exchange:
    """A request, and its response if there is one. What is left out is not known."""

    def __init__(
        self, conn: int, req: int, path: str, method: str = "GET", authority: str = "a.example", scheme: str = "http",
        version: int = 0x101, headers: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        self.conn, self.req, self.version = conn, req, version
        self.pseudo = {"method": method, "scheme": scheme, "authority": authority, "path": path}
        self.headers: Fields = [*headers]
        self.status: int | None = None
        self.answered: Fields = []
        # of a client: the time when it sent the request (on time.time()), and from then to the first byte, in seconds
        self.sent = self.ttfb = 0.0

    @property
    def protocol(self) -> str:
        return {0x100: "HTTP/1.0", 0x101: "HTTP/1.1", 0x200: "HTTP/2", 0x300: "HTTP/3"}[self.version]

    def answer(self, status: int, answered: Sequence[tuple[str, str]] = ()) -> Exchange:
        self.status, self.answered = status, [*answered]
        return self

    # --- as h2olog prints it ---

    def record(self, state: str = "complete") -> Record:
        """As `requests -j` does, without times; see untimed()."""
        record: Record = {"conn": self.conn, "req": self.req}
        if state != "begun-before-trace":
            record.update(protocol=self.protocol, **self.pseudo)
        if self.status is not None:
            record["status"] = self.status
        if state != "begun-before-trace":
            record["request-headers"] = [[name, value] for name, value in self.headers]
        if self.status is not None:
            record["response-headers"] = [[name, value] for name, value in self.answered]
        return {**record, "state": state}

    def lines(self, state: str = "complete") -> list[str]:
        """As `http` does. Only with -g or -q, it says the state of those that are not complete."""
        begin, protocol = f"{self.conn} {self.req} ", f"HTTP/{self.version >> 8}.{self.version & 255}"
        return [
            f"{begin}RxProtocol {protocol}",
            *(f"{begin}RxHeader   :{name} {self.pseudo[name]}" for name in sorted(self.pseudo)),
            *(f"{begin}RxHeader   {name} {value}" for name, value in self.headers),
            *([] if self.status is None else [f"{begin}TxStatus   {self.status}"]),
            *(f"{begin}TxHeader   {name} {value}" for name, value in self.answered),
            *([] if state == "complete" else [f"{begin}State      {state}"]),
        ]

    # --- as a script fires it ---

    def fire_request(self, conn: str | None = None) -> str:
        """`conn` replaces the number of the connection; "thread" does for one that each thread has."""
        conn = conn or str(self.conn)
        pseudo = [(f":{name}", self.pseudo[name]) for name in sorted(self.pseudo)]
        return f"h2o:receive_request conn_id={conn} req_id={self.req} http_version={self.version}\n" + "".join(
            header_line("receive_request_header", conn, self.req, name.encode(), value.encode())
            for name, value in [*pseudo, *self.headers]
        )

    def fire_response(self, conn: str | None = None) -> str:
        conn = conn or str(self.conn)
        return f"h2o:send_response conn_id={conn} req_id={self.req} status={self.status}\n" + "".join(
            header_line("send_response_header", conn, self.req, name.encode(), value.encode())
            for name, value in self.answered
        )

    def fire(self, conn: str | None = None) -> str:
        return self.fire_request(conn) + self.fire_response(conn)


class Connection:
    """Of a client, to the stand-in; `number` is h2o's number of it. It keeps the time."""

    def __init__(self, server: Server, number: int) -> None:
        self.number, self.requests, self.rest = number, 0, b""
        self.authority = f"127.0.0.1:{server.port}"
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(
        self, path: str, method: str = "GET", headers: Sequence[tuple[str, str]] = (), body_size: int = 0
    ) -> Exchange:
        """The head of a request; its body is for the caller to send."""
        self.requests += 1
        lower = [(name.lower(), value) for name, value in headers]
        exchange = Exchange(self.number, self.requests, path, method, self.authority, headers=lower)
        length = [("Content-Length", str(body_size))] if body_size else []
        lines = [f"{name}: {value}\r\n" for name, value in [("Host", self.authority), *length, *headers]]
        head = f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()
        exchange.sent, self.sent = time.time(), time.monotonic()
        self.socket.sendall(head)
        return exchange

    def receive(self) -> None:
        got = self.socket.recv(1 << 20)
        assert got, "the server closed the connection"
        self.rest += got

    def hear(self, exchange: Exchange) -> Exchange:
        """The response."""
        if not self.rest:
            self.receive()
        exchange.ttfb = time.monotonic() - self.sent
        while b"\r\n\r\n" not in self.rest:
            self.receive()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        has_body = exchange.pseudo["method"] != "HEAD"
        size = int(dict(fields).get("content-length", 0)) if has_body else 0
        while len(self.rest) < size:
            self.receive()
        self.rest = self.rest[size:]
        return exchange.answer(int(status.split()[1]), [field for field in fields if field[0] not in UNTRACED])

    def ask(
        self, path: str, method: str = "GET", headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Exchange:
        exchange = self.send(path, method, headers, len(body))
        self.socket.sendall(body)
        return self.hear(exchange)

    def close(self) -> None:
        self.socket.close()


# --- what `requests -j` prints ---


@lru_cache(maxsize=None)
def schema() -> Any:
    file = Path(__file__).parents[2] / "doc" / "requests.schema.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(content)
    validator.check_schema(content)
    return validator(content)


def records_of(tracer: Tracer) -> list[Record]:
    """The lines that there are, by the schema. (Of many, all that are special, and each tenth; it takes a while.)"""
    records = [json.loads(line) for line in tracer.lines()]
    for nth, record in enumerate(records):
        if len(records) < 300 or nth % 10 == 0 or record.get("state") != "complete":
            schema().validate(record)
    return records


def wait_records(tracer: Tracer, count: int) -> list[Record]:
    tracer.wait_lines(count)
    return records_of(tracer)


def untimed(record: Record) -> Record:
    """Without what depends on the time. What is known of it is there."""
    times = {"time", "ttfb-us", "duration-us"}
    expected = {"time"} if "protocol" in record or "status" in record else set()
    if record["state"] == "complete":
        expected.add("ttfb-us")
    assert expected <= set(record), record
    return {name: value for name, value in record.items() if name not in times}


def checked(records: Sequence[Record], exchanges: Sequence[Exchange]) -> None:
    """They are the exchanges, complete, in this order."""
    assert [untimed(record) for record in records] == [exchange.record() for exchange in exchanges]
