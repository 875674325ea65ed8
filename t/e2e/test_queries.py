"""Only what is asked for (-q), together (-g), until enough is seen (-n, --for)."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, SLOWNESS, Tracer, run
from exchanges import QUIET, Connection, Exchange, checked, records_of, untimed
from support import Memory, Serve, Trace, become_nobody, endless

MODES = ["http", "requests", "quic", "all"]

# Of a connection over HTTP/3, with everything that quic and all need.
QUIC = """
quicly:accept conn=5 at=now
h2o:h3s_accept conn_id=1 quic=5
quicly:packet_sent conn=5 at=now pn=1 len=1200 packet_type=3
quicly:packet_sent conn=5 at=now pn=2 len=100 packet_type=3
quicly:packet_lost conn=5 at=now pn=1
h2o:send_response_header conn_id=1 req_id=0 name="server" name_len=6 value="h2o" value_len=3
"""


def grouped(*exchanges: Exchange) -> list[str]:
    return [line for exchange in exchanges for line in [*exchange.lines(), ""]]


# --- queries ---


def test_truth(serve: Serve, trace: Trace) -> None:
    """Of the same requests, each query chooses its own. (A table of expressions is in t/unit/event/query.c.)"""
    server = serve()
    client = Connection(server, 1)
    queries = {
        "status >= 500": ["/status/503"],
        'path ~ "^/api/" and rx.x-tenant or method == \'POST\'': ["/api/b?x=1", "/post"],
        "ttfb >= 300ms and ttfb-us >= 300000 or tx.content-length > 1k": ["/bytes/2000", "/delay/300"],
        "rx.x-tenant != 'a' and rx.x-tenant !~ '^x'": ["/api/b?x=1"],  # what is not there makes a comparison false
        "not (status == 200 or status == 404) and bytes > 0 or duration > 0us": [],  # HTTP/1 has neither
        "state == 'complete' and protocol == 'HTTP/1.1' and authority ~ '^127' and req < 3": ["/", "/status/503"],
    }
    tracers = {query: trace(server, "requests", "-j", "-q", query) for query in queries}
    everything = trace(server, "requests", "-j")
    paths = ["/", "/status/503", "/status/301", "/api/a", "/bytes/2000", "/delay/300"]
    exchanges = {path: client.ask(path) for path in paths}
    exchanges["/api/b?x=1"] = client.ask("/api/b?x=1", headers=[("X-Tenant", "b")])
    exchanges["/post"] = client.ask("/post", "POST")
    time.sleep(QUIET)
    checked(records_of(finish(everything)), [*exchanges.values()])
    for query, chosen in queries.items():
        found = {record["path"]: untimed(record) for record in records_of(finish(tracers[query]))}
        assert found == {path: exchanges[path].record() for path in chosen}, query


def finish(tracer: Tracer) -> Tracer:
    assert tracer.stop() == 0
    return tracer


@pytest.mark.parametrize("program", ["h2olog", "h2olog-single"])
def test_query_of_http(serve: Serve, trace: Trace, program: str) -> None:
    """The lines of a request together, whole, with an empty line behind."""
    server = serve(threads=2)
    query = 'status >= 500 and path ~ "^/status/.*x"'
    tracer, both = trace(server, "-q", query, program=program), trace(server, "-g", "-q", query, program=program)
    client = Connection(server, 1)
    asked = [client.ask(path) for path in ("/", "/status/503", "/status/503?x", "/status/404?x", "/status/500?xx")]
    expected = grouped(asked[2], asked[4])
    for each in (tracer, both):
        assert each.wait_lines(len(expected)) == expected
        assert finish(each).lines() == expected


def test_groups(serve: Serve, trace: Trace) -> None:
    """In the order in which they are complete; lines of others do not come between. What is not complete says so."""
    exchanges = [
        Exchange(1, req, f"/{req}", version=0x200, headers=[("a", "b")]).answer(200 + req, [("c", "d")])
        for req in (1, 3, 5, 7)
    ]
    first, second, third, unanswered = exchanges
    script = first.fire_request() + second.fire_request() + second.fire_response() + third.fire_request()
    script += first.fire_response() + unanswered.fire_request() + third.fire_response()
    unanswered.status, unanswered.answered = None, []
    server = serve(script=script)
    tracer, plain = trace(server, "-g"), trace(server, "http")
    assert server.play() == (script.count("\n"), 0)
    expected = grouped(second, first, third)
    tracer.wait_lines(len(expected))
    assert finish(tracer).lines() == [*expected, *unanswered.lines("unfinished"), ""]
    assert sorted(finish(plain).lines()) == sorted(line for each in exchanges for line in each.lines())


TIME = r"(\d\d):(\d\d):(\d\d\.\d{6}) "


@pytest.mark.parametrize("words", [[], ["-g"]])
def test_times(serve: Serve, trace: Trace, words: list[str]) -> None:
    """Local time; those of a request have that of its arrival, and those of its response that one's."""
    server = serve()
    tracer = trace(server, "-T", *words, before=lambda: os.environ.update(TZ="TEST+3"))
    exchange = Connection(server, 1).ask("/delay/100")
    expected = exchange.lines() + ([""] if words else [])
    lines = tracer.wait_lines(len(expected))
    seconds = []
    for line, text in zip(lines, expected):
        match = re.fullmatch(TIME + re.escape(text), line) if text else re.fullmatch("", line)
        assert match is not None, line
        if text:
            hours, minutes, rest = match.groups()
            seconds.append((int(hours) * 3600 + int(minutes) * 60 + float(rest) - exchange.sent + 3 * 3600) % 86400)
    begins = [(late + 1) % 86400 - 1 for late in seconds]
    answered = expected.index("1 1 TxStatus   200")
    assert -0.001 <= begins[0] <= exchange.ttfb - 0.1 + 0.001 and begins == sorted(begins)
    assert begins[answered] - begins[0] >= 0.0999
    assert begins[-1] <= exchange.ttfb + 0.001
    if words:
        assert len(set(begins[:answered])) == len(set(begins[answered:])) == 1
    finish(tracer)


@pytest.mark.parametrize("mode", ["quic", "all"])
def test_query_of_events(serve: Serve, trace: Trace, mode: str) -> None:
    server = serve(script=QUIC)
    probes = [word for probe in ("packet_*t", "accept", "h3s_accept", "send_response_header") for word in ("-t", probe)]
    queries = {
        "len > 1k": ["packet-sent"],
        'type ~ "^packet" and pn == 1': ["packet-sent", "packet-lost"],
        "connection == 1 and not pn": ["accept", "h3s-accept", "send-response-header"],
        "name == 'server' and value ~ 'h2'": ["send-response-header"],
    }
    tracers = {query: trace(server, mode, *probes, "-q", query) for query in queries}
    server.play()
    for query, types in queries.items():
        events = [json.loads(line) for line in finish(tracers[query]).lines()]
        assert [event["type"] for event in events if event["type"] != "free"] == types, query


# --- queries that are wrong ---


WRONG = {
    "status >=": "at the end", "status >= 500 and": "at the end", "and status": "and", "(status == 200": "at the end",
    "status == 200)": ")", "path ~ '('": "column", "path ~ 'a": "column", "statsu == 200": "statsu",
    "status == 200 path": "path", "status ~~ 3": "column", "status == 1ms": "1ms", "\x1b[2J": "column", "rx.": "rx.",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["http", "requests"])
def test_wrong_queries(serve: Serve, mode: str) -> None:
    """They are refused, with the place, before anything is done: the server is not touched."""
    server = serve()
    memory = Memory(server)
    code = memory.read_code()
    for query, place in WRONG.items():
        done = run(mode, "-q", query, "-p", str(server.pid))
        assert (done.returncode, done.stdout) == (2, ""), query
        sentence = done.stderr.split("\n")[0]
        assert sentence.startswith("h2olog: -q, ") and place in sentence, done.stderr
        assert done.stderr.replace("\n", "").isprintable()
    assert memory.switched_on() == set() and memory.read_code() == code


@pytest.mark.parametrize("words", [["-q", "status >="], ["requests", "-F", "%m %Y"], ["requests", "-q", "path ~ '['"]])
def test_wrong_without_root(anywhere: Path, words: list[str]) -> None:
    done = run(*words, "-p", "1", program=str(anywhere / "h2olog"), before=become_nobody)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("h2olog: ")


def test_wrong_formats(serve: Serve) -> None:
    """With the place, and the list of what there is."""
    pid = str(serve().pid)
    for format_ in ("%", "%m %Y", "%{x", "%{x}", "%{x}q", "a%"):
        done = run("requests", "-F", format_, "-p", pid)
        assert (done.returncode, done.stdout) == (2, ""), format_
        sentence = done.stderr.split("\n")[0]
        assert re.match(r"h2olog: the format has .* at character \d+: '", sentence) and "%{NAME}i" in sentence, sentence


@pytest.mark.parametrize(
    "words",
    [
        ["quic", "-g"], ["all", "-T"], ["requests", "-g"], ["requests", "-T"], ["http", "-j"], ["http", "-F", "%m"],
        ["all", "-F", "%m"], ["quic", "--color", "always"], ["requests", "-a"], ["requests", "-t", "accept"],
        ["requests", "--color", "blue"], ["http", "-n", "0"], ["http", "-n", "x"], ["http", "--for", "3x"],
        ["http", "--for", "0"], ["http", "--for", ""], ["quic", "--max-requests", "5"], ["requests", "--max-age", "x"],
        ["http", "--redact="], ["http", "--redact=a,,b"], ["http", "--redact=a b"], ["http", "-R", ""],
        ["http", "-q", ""], ["http", "-q", "status", "-q", "path"], ["requests", "-j", "-F", "%m"],
        ["all", "-a", "--redact"], ["requests", "--max-requests", "0"], ["requests", "-F", ""],
    ],
)  # fmt: skip
def test_wrong_options(words: list[str]) -> None:
    done = run(*words, "-p", "1")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("h2olog: "), done.stderr


# --- regular expressions that never end ---


@pytest.mark.parametrize("mode", [["requests"], ["http"]])
def test_catastrophic_expression(serve: Serve, trace: Trace, mode: list[str]) -> None:
    """Against what a client chose for that: no match, in bounded time; said once, and counted at the end."""
    evil, count = "a" * 4000 + "!", 200
    exchanges = [
        Exchange(1, n, f"/{n}", version=0x200, headers=[("x-evil", evil if n % 2 else "a" * 20)]).answer(200, [])
        for n in range(1, count + 1)
    ]
    server = serve(script="".join(exchange.fire() for exchange in exchanges))
    tracer = trace(server, *mode, "-q", "rx.x-evil ~ '^(a+)+$'")
    begun = time.monotonic()
    server.play()
    assert finish(tracer) is tracer
    took = time.monotonic() - begun
    output = tracer.out.read_text()
    assert all((f"/{n} " in output or f"/{n}\n" in output) == (n % 2 == 0) for n in range(1, count + 1))
    assert "!" not in output
    messages = tracer.messages()
    assert took < 5.0 * SLOWNESS, took
    assert len(re.findall(r"regular expression", messages)) == 2 and f" {count // 2} " in messages, messages


# --- enough ---


@pytest.mark.parametrize("mode", MODES)
def test_count(serve: Serve, trace: Trace, mode: str) -> None:
    """As many as that, also if more come at once; then it ends by itself."""
    exchanges = [Exchange(1, n, f"/{n}", version=0x200).answer(200, [("a", "b")]) for n in range(1, 100)]
    packets = "quicly:packet_sent conn=5 at=now pn=# len=1200\n" * 50
    server = serve(script="".join(exchange.fire() for exchange in exchanges) + packets)
    memory = Memory(server)
    probes = {"quic": ["-t", "packet_sent"], "all": ["-t", "send_response*"]}.get(mode, [])
    tracer = trace(server, mode, *probes, "-n", "7")
    server.play()
    assert tracer.process.wait(PATIENCE) == 0
    assert memory.switched_on() == set()
    lines = tracer.lines()
    assert len(lines) == 7
    if mode == "http":
        assert lines == [line for exchange in exchanges for line in exchange.lines()][:7]
    elif mode == "requests":
        assert [line.split()[-1] for line in lines] == [f"1/{n}" for n in range(1, 8)]
    else:
        assert [json.loads(line)["seq"] for line in lines] == [*range(1, 8)]


@pytest.mark.parametrize("words", [["-g"], ["-q", "status < 300"], ["requests", "-j", "-q", "status < 300"]])
def test_count_of_requests(serve: Serve, trace: Trace, words: list[str]) -> None:
    """Of those that a query chooses; it ends as soon as the last one is complete."""
    server = serve()
    tracer = trace(server, *words, "-n", "2")
    client = Connection(server, 1)
    asked = [client.ask(path) for path in ("/", "/status/404", "/status/204", "/")]
    assert tracer.process.wait(PATIENCE) == 0
    chosen = asked[:2] if words == ["-g"] else [asked[0], asked[2]]
    if words[0] == "requests":
        checked(records_of(tracer), chosen)
    else:
        assert tracer.lines() == grouped(*chosen)


def test_duration_with_a_reader_that_does_not_read(serve: Serve, trace: Trace) -> None:
    """The output is full, so the write waits. The time ends it nevertheless."""
    server = serve(script=endless(20000))
    ours, theirs = os.pipe()
    tracer = trace(server, "--for", f"{600 * SLOWNESS}ms", stdout=theirs)
    os.close(theirs)
    begun = time.monotonic()
    server.start_playing()
    assert tracer.process.wait(PATIENCE) == 1 and "nobody reads it" in tracer.messages()
    assert time.monotonic() - begun < 4.0 * SLOWNESS
    os.close(ours)


@pytest.mark.parametrize("mode, count", [("requests", []), ("http", ["-n", "1000000"])])
def test_duration(serve: Serve, trace: Trace, mode: str, count: list[str]) -> None:
    """Also of a server that does nothing. What is open is said to be unfinished."""
    server = serve()
    memory = Memory(server)
    begun = time.monotonic()
    tracer = trace(server, mode, "--for", f"{600 * SLOWNESS}ms", *count)
    attached = time.monotonic()
    client = Connection(server, 1)
    client.send("/delay/60000")
    assert tracer.process.wait(PATIENCE) == 0
    assert time.monotonic() - begun >= 0.6 * SLOWNESS and time.monotonic() - attached < 3.0 * SLOWNESS
    assert memory.switched_on() == set()
    assert mode != "requests" or tracer.lines()[0].endswith("  unfinished")
