"""What is printed of requests: formats of access logs, colours, chosen headers; and what is hidden."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Tracer
from exchanges import QUIET, Connection, Exchange, checked, records_of
from support import Serve, Trace, header_line

# --- access logs ---


def logged(tracer: Tracer, count: int) -> list[str]:
    lines = tracer.wait_lines(count)
    assert tracer.stop() == 0
    assert len(tracer.lines()) == count
    return lines


LOCAL = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"


def test_named_formats(serve: Serve, trace: Trace) -> None:
    server = serve()
    common, combined = trace(server, "requests", "-F", "common"), trace(server, "requests", "-F", "combined")
    client = Connection(server, 1)
    client.ask("/status/404?a=b", headers=[("User-Agent", "tester/1.0"), ("Referer", "http://a.example/")])
    client.ask("/", "POST", headers=[("User-Agent", 'a "quoted" \\ one'), ("Referer", '" 200 1 "')])
    assert [re.sub(LOCAL, "TIME", line) for line in logged(common, 2)] == [
        '- - - TIME "GET /status/404?a=b HTTP/1.1" 404 -',
        '- - - TIME "POST / HTTP/1.1" 200 -',
    ]
    assert [re.sub(LOCAL, "TIME", line) for line in logged(combined, 2)] == [
        '- - - TIME "GET /status/404?a=b HTTP/1.1" 404 - "http://a.example/" "tester/1.0"',
        r'- - - TIME "POST / HTTP/1.1" 200 - "\x22 200 1 \x22" "a \x22quoted\x22 \ one"',
    ]


def test_own_format(serve: Serve, trace: Trace) -> None:
    server = serve()
    format_ = "%m|%U|%q|%H|%s|%r|%V|%{X-Number}i|%{x-NUMBER}o|%{content-type}o|%{connection-id}x/%{request-id}x|"
    format_ += "%h %l %u %A %p %v %b %D %{NAME}e %{error}x %{x-missing}i|%%|%{%Y}t %{sec}t.%{usec_frac}t"
    tracer = trace(server, "requests", "-F", format_, before=lambda: os.environ.update(TZ="UTC"))
    client = Connection(server, 1)
    first = client.ask("/status/503?a=%22&b=c", headers=[("x-number", "7")])
    client.ask("/")
    host = re.escape(client.authority)
    lines, unknown = logged(tracer, 2), "- - - - - - - - - - -"
    match = re.fullmatch(
        r"GET\|/status/503\|\?a=%22&b=c\|HTTP/1\.1\|503\|GET /status/503\?a=%22&b=c HTTP/1\.1"
        rf"\|{host}\|7\|7\|text/plain\|1/1\|{unknown}\|%\|(\d{{4}}) (\d+\.\d{{6}})", lines[0],
    )  # fmt: skip
    assert match is not None, lines[0]
    assert match.group(1) == time.strftime("%Y", time.gmtime(first.sent))
    assert -0.001 <= float(match.group(2)) - first.sent <= first.ttfb + 0.001
    assert re.fullmatch(
        rf"GET\|/\|\|HTTP/1\.1\|200\|GET / HTTP/1\.1\|{host}\|-\|-\|text/html\|1/2\|{unknown}\|%\|.*", lines[1]
    )


def test_format_of_http3(serve: Serve, trace: Trace) -> None:
    """What HTTP/3 tells in addition."""
    exchange = Exchange(1, 4, "/a?b", scheme="https", version=0x300).answer(200)
    script = exchange.fire() + "sleep 20\nh2o:h3s_stream_set_state conn_id=1 req_id=4 state=7\n"
    script += "h2o:h3s_stream_stats conn_id=1 stream_id=4 response_body_bytes=4321\n"
    server = serve(script=script)
    tracer = trace(server, "requests", "-F", "%r %b %D %{http3.stream-id}x %{http2.stream-id}x")
    server.play()
    (line,) = logged(tracer, 1)
    match = re.fullmatch(r"GET /a\?b HTTP/3 4321 (\d+) 4 -", line)
    assert match is not None and 20_000 <= int(match.group(1)) < PATIENCE * 1e6, line


def test_goaccess(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    """It takes each line, whatever the clients sent."""
    hostile = ["a", '"', '" "', "\\", '\\"', "\x1b[2J\n\r\0", "é", "\xff", "[", "%", "a b", "-"]
    exchanges = [
        Exchange(1, n, f"/{n}?{value}", version=0x200, headers=[("referer", value), ("user-agent", value)]).answer(200)
        for n, value in enumerate(hostile, 1)
    ]
    server = serve(script="".join(exchange.fire() for exchange in exchanges))
    tracer = trace(server, "requests", "-F", "combined")
    server.play()
    logged(tracer, len(exchanges))
    report = tmp_path / "report.json"
    options = ["--log-format=COMBINED", "--no-ip-validation", "--no-global-config"]
    subprocess.run(
        ["goaccess", str(tracer.out), *options, "-o", str(report)],
        check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    general = json.loads(report.read_text(errors="replace"))["general"]
    assert (general["total_requests"], general["failed_requests"]) == (len(exchanges), 0)


# --- colours ---


@pytest.mark.parametrize(
    "words, variables, is_coloured",
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),
        (["--color", "never"], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["-F", "%s"], {}, False),
    ],
)
def test_colours_of_a_terminal(
    serve: Serve, trace: Trace, words: list[str], variables: dict[str, str], is_coloured: bool
) -> None:
    server = serve()
    master, slave = os.openpty()
    try:
        tracer = trace(server, "requests", *words, stdout=slave, before=lambda: os.environ.update(variables))
        client, shown = Connection(server, 1), b""
        for status in (200, 301, 404, 503):
            client.ask(f"/status/{status}")
        while shown.count(b"\n") < 4:
            shown += os.read(master, 65536)
        assert tracer.stop() == 0
    finally:
        os.close(master)
        os.close(slave)
    colours = re.findall(rb"\x1b\[(\d+)m(\d+)\x1b\[0m", shown)
    assert colours == ([(b"32", b"200"), (b"36", b"301"), (b"33", b"404"), (b"31", b"503")] if is_coloured else [])
    assert shown.count(b"\x1b") == 2 * len(colours)


@pytest.mark.parametrize("when", ["always", "auto"])
def test_colours_of_a_file(serve: Serve, trace: Trace, when: str) -> None:
    server = serve()
    tracer = trace(server, "requests", "--color", when)
    Connection(server, 1).ask("/")
    (line,) = logged(tracer, 1)
    assert ("  \x1b[32m200\x1b[0m  " in line) == (when == "always") == ("\x1b" in line)


# --- headers that are chosen ---


def test_chosen_headers(serve: Serve, trace: Trace) -> None:
    """-R and -s; a query sees the others, too, and they are not printed for that."""
    server = serve()
    chosen = ["-R", "User-Agent", "-R", "x-none", "-s", "Content-Type"]
    query = ["-q", "rx.cookie == 'secret' and tx.x-number and path != '/other'"]
    tracers = {
        "text": trace(server, *chosen),
        "pseudo": trace(server, "-R", ":PATH", "-s", "x-number"),
        "grouped": trace(server, *chosen, *query),
        "json": trace(server, "requests", "-j", *chosen),
        "queried": trace(server, "requests", "-j", *chosen, *query),
    }
    client = Connection(server, 1)
    headers = [("User-Agent", "tester"), ("Cookie", "secret"), ("x-number", "5"), ("user-agent", "again")]
    exchanges = [client.ask("/status/404", headers=headers), client.ask("/other", headers=headers), client.ask("/")]
    time.sleep(QUIET)
    texts = [["RxHeader   user-agent tester", "RxHeader   user-agent again"]] * 2 + [[]]
    for name, tracer in tracers.items():
        assert tracer.stop() == 0
        assert "secret" not in tracer.out.read_text(), name
    expected = [
        f"1 {n} {text}"
        for n, (exchange, own) in enumerate(zip(exchanges, texts), 1)
        for text in [
            "RxProtocol HTTP/1.1", *own, f"TxStatus   {exchange.status}",
            f"TxHeader   content-type {dict(exchange.answered)['content-type']}",
        ]
    ]  # fmt: skip
    assert tracers["text"].lines() == expected
    assert tracers["grouped"].lines() == [*expected[:5], ""]
    assert [line for line in tracers["pseudo"].lines() if "Header" in line] == [
        "1 1 RxHeader   :path /status/404", "1 1 TxHeader   x-number 5",
        "1 2 RxHeader   :path /other", "1 2 TxHeader   x-number 5", "1 3 RxHeader   :path /",
    ]  # fmt: skip
    for exchange in exchanges:
        exchange.headers = [field for field in exchange.headers if field[0].lower() == "user-agent"]
        exchange.answered = [field for field in exchange.answered if field[0] == "content-type"]
    checked(records_of(tracers["json"]), exchanges)
    checked(records_of(tracers["queried"]), exchanges[:1])


# --- what is hidden ---


SECRETS = {"Cookie": "sid=topsecret1", "Authorization": "Bearer topsecret", "Proxy-Authorization": "topsecret"}


ALL = ["all", "-t", "receive_request*", "-t", "send_response*"]  # all other probes would only take longer


def hidden(value: str) -> str:
    return f"[redacted, {len(value)} bytes]"


def test_redaction(serve: Serve, trace: Trace) -> None:
    """In every mode and output, and in no message; a query sees what is there."""
    server = serve()
    modes = {
        "http": [], "queried": ["-q", "rx.cookie ~ 'topsecret1$'"], "requests": ["requests"],
        "json": ["requests", "-j", "-q", "rx.authorization ~ '^Bearer top'"],
        "log": ["requests", "-F", "%{cookie}i|%{authorization}i|%{Proxy-Authorization}i|%{set-cookie}o|%{x-open}i"],
        "all": [*ALL, "-q", "name ~ '(?i)cookie|authorization' or value ~ 'topsecret'"],
    }  # fmt: skip
    tracers = {name: trace(server, *words, "--redact", "-d") for name, words in modes.items()}
    fields = [*SECRETS.items(), ("x-open", "open"), ("cookie", "")]
    exchange = Connection(server, 1).ask("/header/Set-Cookie/5000", headers=fields)
    time.sleep(QUIET)
    for tracer in tracers.values():
        assert tracer.stop() == 0
        assert b"topsecret" not in tracer.out.read_bytes() + tracer.err.read_bytes()
        assert b"xxxxx" not in tracer.out.read_bytes()
    exchange.headers = [(name, hidden(value) if name != "x-open" else value) for name, value in exchange.headers]
    exchange.answered = [
        (name, hidden("x" * 5000) if name.lower() == "set-cookie" else value) for name, value in exchange.answered
    ]
    assert tracers["http"].lines() == exchange.lines()
    assert tracers["queried"].lines() == [*exchange.lines(), ""]
    (record,) = records_of(tracers["json"])
    record.pop("truncated", None)
    checked([record], [exchange])
    secrets = [hidden(value) for value in SECRETS.values()]
    assert tracers["log"].lines() == ["|".join([*secrets, hidden("x" * 5000), "open"])]
    assert len(tracers["requests"].lines()) == 1
    values = [json.loads(line)["value"] for line in tracers["all"].lines()]
    assert values == [*secrets, hidden(""), hidden("x" * 5000)]


def test_redaction_of_quic(serve: Serve, trace: Trace) -> None:
    script = "quicly:accept conn=5\nh2o:h3s_accept conn_id=1 quic=5\n"
    server = serve(script=script + header_line("send_response_header", 1, 0, b"set-cookie", b"a=topsecret"))
    tracer = trace(server, "quic", "-t", "accept", "-t", "h3s_accept", "-t", "send_response_header", "--redact")
    server.play()
    assert tracer.stop() == 0
    assert [json.loads(line)["value"] for line in tracer.lines() if "set-cookie" in line] == ["[redacted, 11 bytes]"]
    assert "topsecret" not in tracer.out.read_text()


def test_chosen_redaction(serve: Serve, trace: Trace) -> None:
    """Of these names, and of no others; pseudo-headers can be hidden, too."""
    server = serve()
    names = "--redact=X-Token,:authority,content-TYPE"
    tracer, lines, log = trace(server, "requests", "-j", names), trace(server, "requests", names), trace(
        server, "requests", "-F", "%V %{x-token}i", names
    )
    exchange = Connection(server, 1).ask("/", headers=[("X-Token", "topsecret"), ("Cookie", "open")])
    time.sleep(QUIET)
    for each in (tracer, lines, log):
        assert each.stop() == 0
        assert exchange.pseudo["authority"] not in each.out.read_text() and "topsecret" not in each.out.read_text()
    authority = hidden(exchange.pseudo["authority"])
    exchange.pseudo["authority"] = authority
    exchange.headers[0] = ("x-token", "[redacted, 9 bytes]")
    exchange.answered = [(n, "[redacted, 9 bytes]" if n == "content-type" else v) for n, v in exchange.answered]
    checked(records_of(tracer), [exchange])
    assert f"http://{authority}/  HTTP/1.1" in re.sub(r" +HTTP", "  HTTP", lines.lines()[0])
    assert log.lines() == [f"{authority} [redacted, 9 bytes]"]


def test_paths_without_queries(serve: Serve, trace: Trace) -> None:
    server = serve()
    modes = {
        "http": [], "grouped": ["-g", "-q", "path ~ 'topsecret'"],
        "json": ["requests", "-j", "-q", "path ~ 'topsecret'"], "log": ["requests", "-F", "%U|%q|%r|%{referer}i"],
        "all": ALL,
    }  # fmt: skip
    tracers = {name: trace(server, *words, "--strip-query") for name, words in modes.items()}
    exchange = Connection(server, 1).ask("/status/200?token=topsecret?x", headers=[("Referer", "/a?b=c")])
    time.sleep(QUIET)
    for tracer in tracers.values():
        assert tracer.stop() == 0
        assert b"topsecret" not in tracer.out.read_bytes()
    exchange.pseudo["path"] = "/status/200"
    assert tracers["http"].lines() == exchange.lines()
    assert tracers["grouped"].lines() == [*exchange.lines(), ""]
    checked(records_of(tracers["json"]), [exchange])
    assert tracers["log"].lines() == ["/status/200||GET /status/200 HTTP/1.1|/a?b=c"]
    events = [json.loads(line) for line in tracers["all"].lines()]
    (path,) = (event for event in events if event.get("name") == ":path")
    assert path["value"] == "/status/200"
