"""The text that `h2olog -p PID` prints."""

from __future__ import annotations

import http.client
import os
import random
import select
import statistics
import time
from typing import Sequence

import pytest
from conftest import PATIENCE, SLOWNESS, Server, soon_enough
from support import Serve, Trace, header

VERSIONS = ["2020-06", "2026-06"]
# For kernels without links, this program attaches and detaches one location after another.
RUNS = [("h2olog", "2020-06"), ("h2olog", "2026-06"), ("h2olog-single", "2026-06")]

# Tags of lines, and their probes.
PROBES = {"RxHeader": "receive_request_header", "TxHeader": "send_response_header"}


class Client:
    """A connection to a server, and the expected lines of its requests."""

    def __init__(self, server: Server, number: int, version: str = "1.1") -> None:
        self.server, self.number, self.version, self.requests = server, number, version, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self.connection._http_vsn_str = f"HTTP/{version}"  # type: ignore[attr-defined]

    def ask(
        self, path: str, method: str = "GET", headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> list[str]:
        """Makes a request. Adds the expected lines, for the response as the client sees it."""
        self.requests += 1
        begin = f"{self.number} {self.requests} "
        self.connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        self.connection.putheader("Host", self.server.url[len("http://") :])
        if body:
            self.connection.putheader("Content-Length", str(len(body)))
        for name, value in headers:
            self.connection.putheader(name, value)
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        response.read()
        answered = [field for field in response.getheaders() if field[0] not in ("connection", "server")]
        return [
            f"{begin}RxProtocol HTTP/{self.version}",
            f"{begin}RxHeader   :authority 127.0.0.1:{self.server.port}",
            f"{begin}RxHeader   :method {method}",
            f"{begin}RxHeader   :path {path}",
            f"{begin}RxHeader   :scheme http",
            *(f"{begin}RxHeader   {name.lower()} {value}" for name, value in headers),
            f"{begin}TxStatus   {response.status}",
            *(f"{begin}TxHeader   {name} {value}" for name, value in answered),
        ]


def printed(serve: Serve, trace: Trace, script: str, version: str = "2026-06", program: str = "h2olog") -> list[str]:
    """Returns all lines of a script."""
    server = serve(version, script=script)
    tracer = trace(server, program=program)
    fired, skipped = server.play()
    assert fired > 0 and skipped == 0
    assert tracer.stop() == 0
    return tracer.lines()


# --- real requests ---


@pytest.mark.parametrize("program, version", RUNS)
def test_request(serve: Serve, trace: Trace, program: str, version: str) -> None:
    server = serve(version)
    tracer = trace(server, program=program)
    server.curl("-A", "tester/1.0", "-H", "X-Request-Id: 42", "/index.html")
    lines = tracer.wait_lines(12)
    assert lines[10].startswith("1 1 TxHeader   date ")
    del lines[10]
    assert lines == [
        "1 1 RxProtocol HTTP/1.1",
        f"1 1 RxHeader   :authority 127.0.0.1:{server.port}",
        "1 1 RxHeader   :method GET",
        "1 1 RxHeader   :path /index.html",
        "1 1 RxHeader   :scheme http",
        "1 1 RxHeader   user-agent tester/1.0",
        "1 1 RxHeader   accept */*",
        "1 1 RxHeader   x-request-id 42",
        "1 1 TxStatus   200",
        "1 1 TxHeader   content-length 13",
        "1 1 TxHeader   content-type text/html",
    ]
    assert tracer.stop() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_methods_and_connections(serve: Serve, trace: Trace, version: str) -> None:
    server = serve(version, threads=2)
    tracer = trace(server)
    first, second = Client(server, 1), Client(server, 2)
    expected = [
        *first.ask("/"),
        *first.ask("/status/404?why=not", headers=[("Accept", "a, b"), ("accept", "c"), ("X-Empty", "")]),
        *second.ask("/index.html", "POST", [("Content-Type", "text/plain")], b"a body that is none of h2olog's"),
        *first.ask("/index.html", "HEAD"),
        *second.ask("/status/204", "DELETE"),
        *second.ask("/status/204"),
        *first.ask("/bytes/300000"),
        *first.ask("/header/x-long/4096"),
    ]
    old = Client(server, 3, "1.0")
    expected += old.ask("/", headers=[("User-Agent", "old one")])
    assert tracer.stop() == 0
    assert tracer.lines() == expected


def test_requests_before_and_after_the_trace(serve: Serve, trace: Trace) -> None:
    server = serve()
    client = Client(server, 1)
    client.ask("/before")
    tracer = trace(server)
    expected = client.ask("/during")
    assert tracer.stop() == 0
    client.ask("/after")
    assert tracer.lines() == expected
    assert expected[0] == "1 2 RxProtocol HTTP/1.1"


# --- events that requests over HTTP/1.1 cannot cause ---


@pytest.mark.parametrize("program, version", RUNS)
def test_numbers(serve: Serve, trace: Trace, program: str, version: str) -> None:
    protocols = {0x009: "0.9", 0x100: "1.0", 0x101: "1.1", 0x10A: "1.10", 0x1FF: "1.255", 0x200: "2.0", 0x300: "3.0"}
    statuses = [100, 200, 204, 404, 599, 0, -1, 2**31 - 1, -(2**31)]
    ids = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1]
    script = "".join(f"h2o:receive_request conn_id=7 req_id=8 http_version={number}\n" for number in protocols)
    script += "".join(f"h2o:send_response conn_id=7 req_id=8 status={status}\n" for status in statuses)
    script += "".join(f"h2o:send_response conn_id=3 req_id={number} status=200\n" for number in ids)
    script += "".join(f"h2o:receive_request conn_id={number} req_id=4 http_version=0x101\n" for number in ids)
    script += "".join(
        f'h2o:{probe} conn_id={number} req_id={number} name="a" name_len=1 value="b" value_len=1\n'
        for number in ids
        for probe in ("receive_request_header", "send_response_header")
    )
    assert printed(serve, trace, script, version, program) == [
        *(f"7 8 RxProtocol HTTP/{text}" for text in protocols.values()),
        *(f"7 8 TxStatus   {status}" for status in statuses),
        *(f"3 {number} TxStatus   200" for number in ids),
        *(f"{number} 4 RxProtocol HTTP/1.1" for number in ids),
        *(f"{number} {number} {tag}Header   a b" for number in ids for tag in ("Rx", "Tx")),
    ]


HOSTILE = {
    b"a\n99 1 TxStatus   200": r"a\x0a99 1 TxStatus   200",
    b"a\r\nb": r"a\x0d\x0ab",
    b"over\rwritten": r"over\x0dwritten",
    b"\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    b"nul\0nul\0": r"nul\x00nul\x00",
    b"\0": r"\x00",
    b"del\x7f\x7f": r"del\x7f\x7f",
    b"back\x08\x08\x08\x08space": r"back\x08\x08\x08\x08space",
    b"\xc2\x9b31m": r"\xc2\x9b31m",  # U+009B, CSI: the same as ESC [
    b"\xc2\x85next": r"\xc2\x85next",  # U+0085, NEL
    b"\x9b31m": r"\x9b31m",
    b"\tof\ttabs\t": "\tof\ttabs\t",
    b"  of blanks  ": "  of blanks  ",
    b"\"quotes' \\x0a \\": "\"quotes' \\x0a \\",
    "naïve – 漢字 😀 \u00a0".encode(): "naïve – 漢字 😀 \u00a0",
    "\U0010ffff\ufffd\uffff".encode(): "\U0010ffff\ufffd\uffff",
    b"\xff\xfe": r"\xff\xfe",
    b"caf\xe9": r"caf\xe9",  # Latin-1
    b"\xe9t\xe9": r"\xe9t\xe9",
    b"\x80\xbf": r"\x80\xbf",  # continuation bytes without a first byte
    b"\xc0\x8a": r"\xc0\x8a",  # an overlong newline
    b"\xe0\x80\x8a": r"\xe0\x80\x8a",
    b"\xf0\x80\x80\x8a": r"\xf0\x80\x80\x8a",
    b"\xed\xa0\x80": r"\xed\xa0\x80",  # a surrogate
    b"\xf4\x90\x80\x80": r"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80": r"\xf8\x88\x80\x80\x80",
    b"\xe2\x82": r"\xe2\x82",  # incomplete at the end
    b"\xe2\x82\n\xe2\x82\xac": "\\xe2\\x82\\x0a€",  # incomplete before a newline
    b"\xf0\x9f\x98a": r"\xf0\x9f\x98a",
}


@pytest.mark.parametrize("program, version", RUNS)
def test_hostile_bytes(serve: Serve, trace: Trace, program: str, version: str) -> None:
    script = "".join(
        header(b"name", content, "receive_request_header") + header(content, b"value") for content in HOSTILE
    )
    expected: list[str] = []
    for text in HOSTILE.values():
        expected += [f"1 2 RxHeader   name {text}", f"1 2 TxHeader   {text} value"]
    assert printed(serve, trace, script, version, program) == expected


def test_every_byte(serve: Serve, trace: Trace) -> None:
    def shown(byte: int) -> str:
        return chr(byte) if 0x20 <= byte < 0x7F or byte == 0x09 else f"\\x{byte:02x}"

    script = "".join(header(b"n" + bytes([byte]) + b"n", b"v" + bytes([byte]) + b"v") for byte in range(256))
    assert printed(serve, trace, script) == [f"1 2 TxHeader   n{shown(byte)}n v{shown(byte)}v" for byte in range(256)]


def test_every_character_of_two_bytes(serve: Serve, trace: Trace) -> None:
    def shown(code: int) -> str:
        return chr(code) if code >= 0xA0 else f"\\xc2\\x{code:02x}"

    script = "".join(header(b"n", chr(code).encode()) for code in range(0x80, 0x800))
    assert printed(serve, trace, script) == [f"1 2 TxHeader   n {shown(code)}" for code in range(0x80, 0x800)]


@pytest.mark.parametrize("version", VERSIONS)
def test_lengths(serve: Serve, trace: Trace, version: str) -> None:
    cases: list[tuple[bytes, bytes, str]] = [
        (b"", b"", " "),
        (b"", b"value", " value"),
        (b"name", b"", "name "),
        (b"name", b"v", "name v"),
        (b"name", b"v" * 4095, "name " + "v" * 4095),
        (b"name", b"v" * 4096, "name " + "v" * 4096),
        (b"name", b"v" * 4097, "name " + "v" * 4096 + " [+1 bytes]"),
        (b"name", b"v" * 100_000, "name " + "v" * 4096 + " [+95904 bytes]"),
        (b"name", b"\n" * 4097, "name " + r"\x0a" * 4096 + " [+1 bytes]"),
        (b"n" * 255, b"v", "n" * 255 + " v"),
        (b"n" * 256, b"v", "n" * 256 + " v"),
        (b"n" * 257, b"v", "n" * 256 + " [+1 bytes] v"),
        (b"n" * 1000, b"v" * 5000, "n" * 256 + " [+744 bytes] " + "v" * 4096 + " [+904 bytes]"),
    ]
    script = "".join(header(name, value, probe) for name, value, _ in cases for probe in PROBES.values())
    script += "h2o:send_response_header conn_id=1 req_id=2 name=NULL name_len=0 value=NULL value_len=0\n"
    assert printed(serve, trace, script, version) == [
        *(f"1 2 {tag}   {text}" for _, _, text in cases for tag in PROBES),
        "1 2 TxHeader    ",
    ]


def test_truncation_splits_no_character(serve: Serve, trace: Trace) -> None:
    cases: list[tuple[bytes, str]] = []
    for character in ("é", "€", "😀"):
        size = len(character.encode())
        for inside in range(1, size + 1):  # how many bytes of it are within the 4096
            start = 4096 - inside
            shown = character if inside == size else ""
            left = 4 + (size - inside if shown else size)
            cases.append((b"v" * start + character.encode() + b"more", "v" * start + shown + f" [+{left} bytes]"))
    # invalid bytes are not a truncated character, and neither is the end of a complete value
    cases.append((b"v" * 4095 + b"\xffmore", "v" * 4095 + r"\xff" + " [+4 bytes]"))
    cases.append((b"v" * 4095 + b"\xc3", "v" * 4095 + r"\xc3"))
    cases.append((b"v" * 4094 + b"\x80\x80m", "v" * 4094 + r"\x80\x80" + " [+1 bytes]"))
    script = "".join(header(b"n", value) for value, _ in cases)
    assert printed(serve, trace, script) == [f"1 2 TxHeader   n {text}" for _, text in cases]
    script = "".join(header(value[3840:], b"") for value, _ in cases)  # the same at the end of a name's 256
    assert printed(serve, trace, script) == [f"1 2 TxHeader   {text[3840:]} " for _, text in cases]


# --- delays ---


def read_lines(fd: int, count: int, rest: bytes) -> tuple[list[str], bytes]:
    """Reads `count` lines from a pipe as they come."""
    while rest.count(b"\n") < count:
        ready, _, _ = select.select([fd], [], [], PATIENCE)
        assert ready, f"only {rest!r} was in the pipe"
        got = os.read(fd, 65536)
        assert got, "the pipe has ended"
        rest += got
    *lines, rest = rest.split(b"\n", count)
    return [line.decode() for line in lines], rest


def test_lines_come_at_once(serve: Serve, trace: Trace) -> None:
    server = serve()
    readable, writable = os.pipe()
    tracer = trace(server, stdout=writable)
    os.close(writable)
    client, rest = Client(server, 1), b""

    def delay() -> float:
        """The median of all; the third longest has five times the limit."""
        nonlocal rest
        delays = []
        for _ in range(21):
            # otherwise each request would come right after the lines of the one before
            time.sleep(random.uniform(0, 0.1 * SLOWNESS))
            before = time.monotonic()
            expected = client.ask("/")
            lines, rest = read_lines(readable, len(expected), rest)
            delays.append(time.monotonic() - before)
            assert lines == expected and rest == b""
        return max(statistics.median(delays), sorted(delays)[-3] / 5)

    soon_enough(delay, 0.1 * SLOWNESS)
    assert tracer.stop() == 0
    assert os.read(readable, 1) == b""
    os.close(readable)
