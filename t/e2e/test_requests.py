"""What `h2olog requests` prints: each request once, whole or with its state, with its own headers and times."""

from __future__ import annotations

import json
import math
import os
import random
import re
import select
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import BUILD, PATIENCE, SLOWNESS, Server, Tracer, soon_enough, wait_until
from exchanges import QUIET, Connection, Exchange, Record, checked, records_of, untimed, wait_records
from support import Memory, Serve, Trace, anonymous_kib, header_line, stopped

VERSIONS = ["2020-06", "2026-06"]
RUNS = [("h2olog", "2020-06"), ("h2olog", "2026-06"), ("h2olog-single", "2026-06")]


def columns(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


# --- real requests ---


@pytest.mark.parametrize("program, version", RUNS)
def test_requests(serve: Serve, trace: Trace, program: str, version: str) -> None:
    server = serve(version, threads=2)
    tracer = trace(server, "requests", "-j", program=program)
    first, second = Connection(server, 1), Connection(server, 2)
    begun = time.time()
    exchanges = [
        first.ask("/"),
        first.ask("/status/404?why=not", headers=[("Accept", "a, b"), ("accept", "c"), ("X-Empty", "")]),
        second.ask("/index.html", "POST", [("Content-Type", "text/plain")], b"a body that is none of h2olog's"),
        first.ask("/index.html", "HEAD"),
        second.ask("/status/204", "DELETE"),
        second.ask("/status/503", headers=[("x-number", "7")]),
        first.ask("/bytes/300000"),
        first.ask("/header/x-long/4096", headers=[("X-Quoted", 'a "b" \\ c')]),
    ]
    records = wait_records(tracer, len(exchanges))
    for conn in (1, 2):  # which may be of two threads of the server
        own = [exchange for exchange in exchanges if exchange.conn == conn]
        checked([record for record in records if record["conn"] == conn], own)
    for record in records:
        (exchange,) = (each for each in exchanges if (each.conn, each.req) == (record["conn"], record["req"]))
        assert exchange.sent - 0.001 <= record["time"] / 1000 <= exchange.sent + exchange.ttfb + 0.001
        assert 0 <= record["ttfb-us"] <= exchange.ttfb * 1e6
        assert begun <= exchange.sent
    assert tracer.stop() == 0
    assert len(tracer.lines()) == len(exchanges)


def test_line(serve: Serve, trace: Trace) -> None:
    """Columns that are aligned within 120; a long URL is whole."""
    server = serve()
    tracer = trace(server, "requests")
    client = Connection(server, 1)
    exchanges = [
        client.ask("/"),
        client.ask("/status/503?id=7"),
        client.ask("/delay/30", "POST"),
        client.ask("/" + "long/" * 100),
    ]
    lines = tracer.wait_lines(4)
    texts = [("/", 200, "GET"), ("/status/503?id=7", 503, "GET"), ("/delay/30", 200, "POST")]
    for nth, (line, (path, status, method)) in enumerate(zip(lines, texts), 1):
        match = re.fullmatch(
            rf"(\d\d:\d\d:\d\d\.\d{{6}})  {status}  ([ \d.]+)(us|ms|s)  {method:4}  (\S+) +  HTTP/1\.1  1/{nth}", line
        )
        assert match is not None, line
        assert len(line) <= 120 and match.group(4) == f"http://{client.authority}{path}"
        ttfb = float(match.group(2)) * {"us": 1e-6, "ms": 1e-3, "s": 1}[match.group(3)]
        assert (0.03 if nth == 3 else 0) <= ttfb <= exchanges[nth - 1].ttfb
    assert {line.index("HTTP/1.1") for line in lines[:3]} == {lines[0].index("HTTP/1.1")}
    assert f"http://{client.authority}{exchanges[3].pseudo['path']}  HTTP/1.1" in lines[3]
    assert tracer.stop() == 0 and len(tracer.lines()) == 4


def test_local_time(serve: Serve, trace: Trace) -> None:
    """Of the time zone that the caller has."""
    server = serve()
    tracer = trace(server, "requests", before=lambda: os.environ.update(TZ="TEST-9:30"))
    exchange = Connection(server, 1).ask("/")
    (line,) = tracer.wait_lines(1)
    hour, minute, second = line.split()[0].split(":")
    shown = int(hour) * 3600 + int(minute) * 60 + float(second)
    late = (shown - exchange.sent - 9.5 * 3600) % 86400
    assert late <= exchange.ttfb + 0.001 or late >= 86400 - 0.001, line
    assert tracer.stop() == 0


def test_line_comes_at_once(serve: Serve, trace: Trace) -> None:
    """A response that nothing follows is complete all the same, soon."""
    server = serve()
    tracer = trace(server, "requests", "-j")
    client = Connection(server, 1)
    delays = []
    for nth in range(1, 6):
        client.ask("/")
        begun = time.monotonic()
        tracer.wait_lines(nth)
        delays.append(time.monotonic() - begun)
    assert min(delays) < 0.3 * SLOWNESS, delays
    assert tracer.stop() == 0


# --- times, by the client's clock ---


def test_time_to_first_byte(serve: Serve, trace: Trace) -> None:
    """
    What is printed lies between the delay and what the client saw, always. What the client saw in addition is, in the
    median, at most 0.2 ms and the noise of the machine: what the client sees in addition to the delay of a server that
    is not traced, by turns. As others may use the machine, that is measured several times, see soon_enough().
    """
    server, untraced = serve(threads=2), serve(threads=2)
    times = {0: 40, 5: 20, 50: 5, 500: 1}
    clients = {delay: Connection(server, number) for number, delay in enumerate(times, 1)}
    others = {delay: Connection(untraced, number) for number, delay in enumerate(times, 1)}
    tracer = trace(server, "requests", "-j")
    count, best = 0, dict.fromkeys(times, math.inf)

    def ask(delay: int, asked: list[Exchange], noise: list[float]) -> None:
        for _ in range(times[delay]):
            asked.append(clients[delay].ask(f"/delay/{delay}"))
            noise.append(others[delay].ask(f"/delay/{delay}").ttfb * 1000 - delay)

    def measure() -> float:
        """The worst of the delays, each in its best measurement, in milliseconds."""
        nonlocal count
        asked: dict[int, list[Exchange]] = {delay: [] for delay in times}
        noise: dict[int, list[float]] = {delay: [] for delay in times}
        slow = threading.Thread(target=ask, args=(500, asked[500], noise[500]))
        slow.start()
        for delay in (0, 5, 50):
            ask(delay, asked[delay], noise[delay])
        slow.join(PATIENCE)
        records = wait_records(tracer, count + sum(times.values()))[count:]
        count += len(records)
        printed = {(record["conn"], record["req"]): record["ttfb-us"] / 1000 for record in records}
        for delay, exchanges in asked.items():
            differences = []
            for exchange in exchanges:
                ttfb = printed.pop((exchange.conn, exchange.req))
                assert delay <= ttfb + 0.001 <= exchange.ttfb * 1000 + 0.002
                differences.append(exchange.ttfb * 1000 - ttfb)
            best[delay] = min(best[delay], statistics.median(differences) - statistics.median(noise[delay]))
        assert printed == {} and len({record["ttfb-us"] % 1000 for record in records}) > 10  # not rounded
        return max(best.values())

    soon_enough(measure, 0.2 * SLOWNESS)
    assert tracer.stop() == 0


# --- states ---


def test_client_that_goes_away(serve: Serve, trace: Trace) -> None:
    """Without a response: unfinished as soon as the connection is closed. With one: complete."""
    server = serve()
    tracer = trace(server, "requests", "-j")
    aborting, other = Connection(server, 1), Connection(server, 2)
    aborted = aborting.send("/delay/60000", headers=[("x-number", "1")])
    exchange = other.ask("/")
    checked(wait_records(tracer, 1), [exchange])
    aborting.close()
    assert untimed(wait_records(tracer, 2)[1]) == aborted.record("unfinished")
    other.close()
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 2


@pytest.mark.parametrize("end", ["SIGINT", "the server's"])
def test_request_that_is_open_at_the_end(serve: Serve, trace: Trace, end: str) -> None:
    server = serve()
    tracer, text = trace(server, "requests", "-j"), trace(server, "requests")
    clients = [Connection(server, number) for number in (1, 2, 3)]
    opened = [client.send(f"/delay/6000{client.number}") for client in clients]
    whole = Connection(server, 4).ask("/")
    checked(wait_records(tracer, 1), [whole])
    text.wait_lines(1)
    if end == "SIGINT":
        assert tracer.stop() == text.stop() == 0
    else:
        server.stop(signal.SIGKILL)
        assert tracer.process.wait(PATIENCE) == text.process.wait(PATIENCE) == 0
    records = records_of(tracer)
    assert sorted(record["conn"] for record in records[1:]) == [1, 2, 3]
    for record in records[1:]:
        assert untimed(record) == opened[record["conn"] - 1].record("unfinished")
    lines = text.lines()[1:]
    assert len(lines) == 3
    for exchange in opened:
        (line,) = (line for line in lines if exchange.pseudo["path"] in line)
        assert columns(line)[1:3] == ["-", "-"] and line.endswith("  unfinished")


def test_request_that_began_before(serve: Serve, trace: Trace) -> None:
    """Its body comes when it is traced; only the response is known, and nothing is made up."""
    server = serve()
    client = Connection(server, 1)
    client.ask("/")
    exchange = client.send("/index.html", "POST", [("x-secret", "before")], body_size=4)
    time.sleep(0.1 * SLOWNESS)  # until the server has the head
    tracer, text = trace(server, "requests", "-j"), trace(server, "requests")
    client.socket.sendall(b"body")
    client.hear(exchange)
    following = client.ask("/following")
    records = wait_records(tracer, 2)
    assert untimed(records[0]) == exchange.record("begun-before-trace")
    assert "ttfb-us" not in records[0]
    checked(records[1:], [following])
    line = text.wait_lines(2)[0]
    assert columns(line)[1:3] == ["200", "-"] and line.endswith("  1/2  begun before the trace")
    assert tracer.stop() == text.stop() == 0
    assert len(tracer.lines()) == len(text.lines()) == 2


# --- states, by scripts ---


def printed(serve: Serve, trace: Trace, script: str, count: int, version: str = "2026-06") -> list[Record]:
    """All records that a script leads to, which are `count`."""
    server = serve(version, script=script)
    tracer = trace(server, "requests", "-j")
    fired, skipped = server.play()
    assert fired > 0 and skipped == 0
    tracer.wait_lines(count)
    assert tracer.stop() == 0
    records = records_of(tracer)
    assert len(records) == count
    return records


def stream(conn: int, req: int, version: int = 0x200, status: int = 200) -> Exchange:
    """One whose every part has its numbers."""
    exchange = Exchange(
        conn, req, f"/{conn}/{req}", authority=f"{conn}.example", scheme="https", version=version,
        headers=[("x-number", f"{conn}/{req}"), ("cookie", f"a={req}"), ("cookie", f"b={req}")],
    )  # fmt: skip
    return exchange.answer(status, [("content-length", str(req)), ("x-answer", f"{conn}/{req}")])


@pytest.mark.parametrize("version", VERSIONS)
def test_streams_of_a_connection(serve: Serve, trace: Trace, version: str) -> None:
    """HTTP/2: requests are answered in any order, at once or late, also before others have come."""
    exchanges = [stream(conn, req, status=200 + req) for conn in (1, 2) for req in range(1, 40, 2)]
    waiting, order, script = [*exchanges], [], ""
    answered: list[Exchange] = []
    random.shuffle(waiting)
    while waiting or order:
        if waiting and (not order or random.random() < 0.5):
            order.append(waiting.pop())
            script += order[-1].fire_request()
        else:
            answered.append(order.pop(random.randrange(len(order))))
            script += answered[-1].fire_response()
    checked(printed(serve, trace, script, len(answered), version), answered)


def test_streams_of_threads(serve: Serve, trace: Trace) -> None:
    """Events of several threads come between those of a request; each request has its own headers."""
    threads, count = 4, 60
    exchanges = [stream(0, req) for req in range(count)]
    script = "".join(
        f"{first.fire_request('thread')}{second.fire_request('thread')}"
        f"{second.fire_response('thread')}{first.fire_response('thread')}"
        for first, second in zip(exchanges[::2], exchanges[1::2])
    )
    records = printed(serve, trace, f"hop every 7\nthreads {threads}\n{script}", threads * count)
    order = [exchange for pair in zip(exchanges[1::2], exchanges[::2]) for exchange in pair]
    for thread in range(1, threads + 1):
        own = [{**untimed(record), "conn": 0} for record in records if record["conn"] == thread]
        assert own == [exchange.record() for exchange in order]


def test_requests_of_a_connection_in_turn(serve: Serve, trace: Trace) -> None:
    """HTTP/1, as fast as can be; the connection ends at once behind the last one."""
    exchanges = [stream(conn, req, version=0x101) for conn in range(1, 50) for req in range(1, 5)]
    script = "".join(exchange.fire() for exchange in exchanges)
    script += "".join(f"h2o:h1_close conn_id={n}\n" for n in range(1, 50))
    checked(printed(serve, trace, script, len(exchanges)), exchanges)


def test_numbers_of_a_connection_come_again(serve: Serve, trace: Trace) -> None:
    """Never in one process; but a request that was never answered does not give its headers to another one."""
    first, second = stream(1, 1), stream(1, 1)
    second.pseudo["path"], second.headers = "/other", [("x-other", "1")]
    unanswered, answered = printed(serve, trace, first.fire_request() + second.fire(), 2)
    first.status, first.answered = None, []
    assert untimed(unanswered) == first.record("unfinished")
    assert untimed(answered) == second.record()


H3 = {"2020-06": ("h3_stream_set_state", "h3_close"), "2026-06": ("h3s_stream_set_state", "h3s_destroy")}


def stats(conn: int, req: int, bytes_: int) -> str:
    return f"h2o:h3s_stream_stats conn_id={conn} stream_id={req} response_body_bytes={bytes_}\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_http3(serve: Serve, trace: Trace, version: str) -> None:
    """The end of a stream is known, and of servers since 2026-06 the bytes. The request is complete then."""
    state, _ = H3[version]
    first, second = stream(1, 0, 0x300), stream(1, 4, 0x300)
    script = first.fire_request() + second.fire_request() + first.fire_response() + f"sleep {300 * SLOWNESS}\n"
    script += second.fire_response()
    for number in (1, 2, 3, 7):
        script += f"h2o:{state} conn_id=1 req_id=4 state={number}\n"
    script += stats(1, 4, 1234) if version == "2026-06" else ""
    script += f"h2o:{state} conn_id=1 req_id=0 state=7\n"
    script += stats(1, 0, 2**40) if version == "2026-06" else ""
    later, earlier = printed(serve, trace, script, 2, version)
    assert later["ttfb-us"] >= 300_000 * SLOWNESS > earlier["ttfb-us"]
    assert later["duration-us"] >= later["ttfb-us"] and earlier["duration-us"] >= 300_000 * SLOWNESS
    bytes_ = [{"bytes": 1234}, {"bytes": 2**40}] if version == "2026-06" else [{}, {}]
    assert [untimed(record) for record in (later, earlier)] == [
        {**exchange.record(), **own} for exchange, own in zip((second, first), bytes_)
    ]


def test_http3_connection_has_a_number(serve: Serve, trace: Trace) -> None:
    """That of `quic`, if its begin was traced."""
    script = "h2o:h3s_accept conn_id=7 quic=5\n" + stream(7, 0, 0x300).fire()
    script += "h2o:h3s_stream_set_state conn_id=7 req_id=0 state=7\n" + stats(7, 0, 1)
    (record,) = printed(serve, trace, "quicly:accept conn=5\n" + script, 1)
    assert record["connection"] == 1 and record["conn"] == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_http3_connection_that_closes(serve: Serve, trace: Trace, version: str) -> None:
    _, close = H3[version]
    unanswered, other = stream(1, 0, 0x300), stream(2, 0, 0x300)
    script = unanswered.fire_request() + other.fire_request() + f"h2o:{close} conn_id=1\nsleep {300 * SLOWNESS}\n"
    script += other.fire_response() + f"h2o:{H3[version][0]} conn_id=2 req_id=0 state=7\n"
    script += stats(2, 0, 5) if version == "2026-06" else ""
    records = printed(serve, trace, script, 2, version)
    assert [(record["conn"], record["state"]) for record in records] == [(1, "unfinished"), (2, "complete")]
    unanswered.status = None
    unanswered.answered = []
    assert untimed(records[0]) == unanswered.record("unfinished")


def test_early_response(serve: Serve, trace: Trace) -> None:
    """Before the body is read; another request of the connection comes meanwhile."""
    early, other = stream(1, 1), stream(1, 3)
    script = early.fire() + f"sleep {200 * SLOWNESS}\n" + other.fire()
    checked(printed(serve, trace, script, 2), [early, other])


@pytest.mark.parametrize("missing", ["status", "protocol"])
def test_trace_that_begins_in_the_middle(serve: Serve, trace: Trace, missing: str) -> None:
    """Of a loop that fires headers: what is known is shown, and not as if it was all."""
    torn, whole = stream(1, 1), stream(1, 3)
    expected: Record = {"conn": 1, "req": 1, "state": "begun-before-trace"}
    answered = [list(field) for field in torn.answered]
    if missing == "status":
        events = torn.fire_response().split("\n", 1)[1]
        expected["response-headers"] = answered
    else:
        events = torn.fire().split("\n", 4)[4]  # without the protocol, :authority, :method and :path
        expected.update({"scheme": "https", "status": 200, "response-headers": answered})
        expected["request-headers"] = [list(field) for field in torn.headers]
    first, second = printed(serve, trace, events + whole.fire(), 2)
    assert untimed(first) == expected
    checked([second], [whole])


def test_values_that_are_cut(serve: Serve, trace: Trace) -> None:
    whole, cut, name = stream(1, 1), stream(1, 3), stream(1, 5)
    whole.headers.append(("x-long", "v" * 4096))
    cut.headers.append(("x-long", "v" * 5000))
    name.answered.append(("n" * 300, "v"))
    records = printed(serve, trace, whole.fire() + cut.fire() + name.fire(), 3)
    cut.headers[-1], name.answered[-1] = ("x-long", "v" * 4096), ("n" * 256, "v")
    assert [untimed(record) for record in records] == [
        whole.record(), {**cut.record(), "truncated": True}, {**name.record(), "truncated": True},
    ]  # fmt: skip


def test_hostile_bytes(serve: Serve, trace: Trace) -> None:
    """In every field; each request is one line, of nothing but printable characters."""
    hostile = 'a"b\\c\n99:99:99.999999  200\r\x1b[2J\0\x07\x7f\u009b31m\u2028'
    exchange = Exchange(1, 1, hostile, hostile, hostile, hostile, 0x200, [(hostile, hostile), ("referer", hostile)])
    exchange.answer(500, [(hostile, hostile), ("x", hostile)])
    server = serve(script=exchange.fire())
    formats = ([], ["-F", '%m %U%q %V "%r" "%{referer}i" %{x}o'], ["-F", "combined"])
    tracers = [trace(server, "requests", *words) for words in (["-j"], *formats)]
    server.play()
    for tracer in tracers:
        (line,) = tracer.wait_lines(1)
        assert tracer.stop() == 0
        assert line.isprintable() or tracer is tracers[0], ascii(line)
    (record,) = records_of(tracers[0])
    assert untimed(record) == exchange.record()


# --- losses ---


def numbered(count: int) -> str:
    """Requests of one thread, each with its number wherever there is room for it."""
    exchanges = (Exchange(1, n, f"/{n}", version=0x200, headers=[("x-number", str(n))]) for n in range(1, count + 1))
    return "".join(exchange.answer(200, exchange.headers).fire() for exchange in exchanges)


def check_losses(records: list[Record], count: int) -> None:
    """Whole is what has all, each of its own; what lacks something says so; nothing is there twice."""
    assert len({record["req"] for record in records}) == len(records)
    for record in records:
        number = str(record["req"])
        if record["state"] == "complete":
            assert record["path"] == f"/{number}" and record["status"] == 200
            assert record["request-headers"] == record["response-headers"] == [["x-number", number]]
        else:
            assert record["state"] == "incomplete" and 1 <= record["req"] <= count
            assert record.get("path", f"/{number}") == f"/{number}"
            fields = record.get("request-headers", []) + record.get("response-headers", [])
            assert fields in ([], [["x-number", number]], [["x-number", number]] * 2)


@pytest.mark.parametrize("program, words", [("h2olog", ["requests"]), ("h2olog-single", ["http", "-g"])])
def test_losses(serve: Serve, trace: Trace, program: str, words: list[str]) -> None:
    count = 3000
    server = serve(script=numbered(count))
    tracer = trace(server, "requests", "-j", "-b", "64K", program=program)
    text = trace(server, *words, "-b", "64K", program=program)
    stopped(tracer.process, lambda: stopped(text.process, server.play))
    wait_until(lambda: b'"lost":' in tracer.out.read_bytes() and "lost here" in text.messages(), "the losses")
    after = Connection(server, 1).ask("/after")
    wait_until(lambda: b"/after" in tracer.out.read_bytes() and b"/after" in text.out.read_bytes(), "a line")
    assert tracer.stop() == text.stop() == 0
    records = records_of(tracer)
    lost = sum(record["lost"] for record in records if "lost" in record)
    assert lost > 0 and f"h2olog: {lost} events were lost in all\n" in tracer.messages()
    kept = [record for record in records if "lost" not in record]
    checked([kept.pop()], [after])
    check_losses(kept, count)
    whole = [record for record in kept if record["state"] == "complete"]
    torn = [record for record in kept if record["state"] == "incomplete"]
    assert len(whole) > 50 and len(torn) >= 1
    assert len(whole) + len(torn) < count
    events_of_a_request = 8
    assert events_of_a_request * (count - len(whole)) >= lost > events_of_a_request * (count - len(kept)) - 8
    if words == ["requests"]:
        assert any(line.endswith("  incomplete") for line in text.lines())
    else:
        groups = [group.split("\n") for group in "\n".join(text.lines()).split("\n\n")]
        groups_of_whole = [group for group in groups if not group[-1].endswith(" State      incomplete")]
        assert len(groups) > len(groups_of_whole) > 50
        assert all(len(group) == events_of_a_request for group in groups_of_whole[:-1])


def test_losses_again_and_again(serve: Serve, trace: Trace) -> None:
    """The reader goes on and stops; each gap is met in the middle of something."""
    count = 4000
    server = serve(script=f"rate 60000\n{numbered(count)}")
    tracer = trace(server, "requests", "-j", "-b", "32K")
    server.start_playing()
    for _ in range(8):
        tracer.process.send_signal(signal.SIGSTOP)
        time.sleep(0.04 * SLOWNESS)
        tracer.process.send_signal(signal.SIGCONT)
        time.sleep(0.03 * SLOWNESS)
    server.wait_played()
    time.sleep(QUIET)
    assert tracer.stop() == 0
    records = records_of(tracer)
    check_losses([record for record in records if "lost" not in record], count)
    assert sum(1 for record in records if "lost" in record) >= 3


def test_request_that_is_open_while_others_are_lost(serve: Serve, trace: Trace) -> None:
    """What is lost may have been a part of it, so it is incomplete, although it has all."""
    early = Exchange(9, 1, "/early", version=0x200)
    script = early.fire_request() + numbered(3000) + early.answer(200).fire_response()
    server = serve(script=script)
    tracer = trace(server, "requests", "-j", "-b", "64K")
    stopped(tracer.process, server.play)
    wait_until(lambda: b'"lost":' in tracer.out.read_bytes(), "the loss")
    assert tracer.stop() == 0
    (record,) = (record for record in records_of(tracer) if record.get("conn") == 9)
    assert record["state"] == "incomplete"


# --- bounds ---


def test_no_more_requests_than_that(serve: Serve, trace: Trace) -> None:
    """The one that has been open longest is said to be unfinished, once, although its response comes later."""
    server = serve()
    tracer = trace(server, "requests", "-j", "--max-requests", "5")
    clients = [Connection(server, number) for number in range(1, 9)]
    exchanges = [client.send("/index.html", "POST", body_size=4) for client in clients]
    records = wait_records(tracer, 3)
    assert [untimed(record) for record in records] == [exchange.record("unfinished") for exchange in exchanges[:3]]
    for client, exchange in zip(clients, exchanges):
        client.socket.sendall(b"body")
        client.hear(exchange)
    checked(wait_records(tracer, 8)[3:], exchanges[3:])
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 8
    assert re.search(r"^h2olog: 3 .*--max-requests", tracer.messages(), re.M), tracer.messages()


def test_no_older_than_that(serve: Serve, trace: Trace) -> None:
    server = serve()
    tracer = trace(server, "requests", "-j", "--max-age", f"{200 * SLOWNESS}ms")
    client = Connection(server, 1)
    begun = time.monotonic()
    exchange = client.send("/index.html", "POST", body_size=4)
    record = exchange.record("unfinished")
    assert [untimed(got) for got in wait_records(tracer, 1)] == [record]
    assert time.monotonic() - begun >= 0.2 * SLOWNESS
    client.socket.sendall(b"body")
    client.hear(exchange)
    following = client.ask("/")
    checked(wait_records(tracer, 2)[1:], [following])
    assert tracer.stop() == 0
    assert len(tracer.lines()) == 2
    assert re.search(r"^h2olog: 1 .*--max-age", tracer.messages(), re.M), tracer.messages()


def test_no_more_memory_than_that(serve: Serve, trace: Trace) -> None:
    server = serve()
    tracer = trace(server, "requests", "-j", "--max-memory", "64K")
    clients = [Connection(server, number) for number in range(1, 41)]
    exchanges = [client.send("/index.html", "POST", [("x-long", "v" * 4000)], 4) for client in clients]
    records = wait_records(tracer, 20)
    assert tracer.stop() == 0
    records = records_of(tracer)
    assert [untimed(record) for record in records] == [exchange.record("unfinished") for exchange in exchanges]
    assert re.search(r"^h2olog: \d+ .*--max-memory", tracer.messages(), re.M), tracer.messages()


def test_memory_is_bounded_by_default(serve: Serve, trace: Trace) -> None:
    """
    HTTP/2 says nothing of connections that close, so requests without a response would be kept for ever. Each event is
    one of another request here.
    """
    count = 60_000
    header = header_line("receive_request_header", 1, "#", b"x-long", b"x" * 200)
    fire = f"h2o:receive_request conn_id=1 req_id=# http_version=512\n{header}"
    server = serve(script=f"rate 100000\nrepeat {count}\n{fire}end\n")
    tracer = trace(server, "requests", "-j")
    before = anonymous_kib(tracer.process.pid)
    assert server.play() == (2 * count, 0)
    wait_until(lambda: tracer.out.read_bytes().count(b"\n") >= 2 * count - 100_000, "requests that fall out")
    assert anonymous_kib(tracer.process.pid) - before < 1.2 * 64 * 1024
    assert tracer.stop() == 0
    assert tracer.out.read_bytes().count(b"\n") == 2 * count
    assert "--max-" in tracer.messages()


# --- load ---


def load(server: Server, number: int, count: int, conns: dict[int, str]) -> None:
    """Requests of one connection, many at a time; each has its number in its path and in a header."""
    client = Connection(server, 0)
    batch = 50
    for begin in range(0, count, batch):
        names = [f"{number}-{n}" for n in range(begin, begin + batch)]
        client.socket.sendall(
            "".join(f"GET /status/200?{n} HTTP/1.1\r\nhost: a.example\r\nx-number: {n}\r\n\r\n" for n in names).encode()
        )
        while client.rest.count(b"\r\n\r\nOK") < batch:
            client.receive()
        assert re.findall(rb"x-number: (\S+)\r\n", client.rest) == [name.encode() for name in names]
        client.rest = b""
    conns[number] = f"{number}-"
    client.close()


def test_load(serve: Serve, trace: Trace) -> None:
    """As many records as requests, none twice, each with its own headers."""
    connections, each = 8, 2500
    server = serve(threads=2)
    tracer = trace(server, "requests", "-j", "-b", "64M")
    done: dict[int, str] = {}
    threads = [threading.Thread(target=load, args=(server, n, each, done)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(done) == connections
    tracer.wait_lines(connections * each)
    assert tracer.stop() == 0
    assert tracer.messages().count("\n") == 1, tracer.messages()
    found, keys = set(), set()
    last: dict[int, int] = {}
    for record in map(json.loads, tracer.lines()):
        number = record["path"].partition("?")[2]
        assert record["state"] == "complete" and record["status"] == 200
        assert record["request-headers"] == [["x-number", number]]
        assert record["response-headers"][-1] == ["x-number", number] and len(record["response-headers"]) == 4
        assert record["req"] == last.get(record["conn"], 0) + 1, "out of order"
        last[record["conn"]] = record["req"]
        found.add(number)
        keys.add((record["conn"], record["req"]))
    assert len(keys) == connections * each
    assert found == {f"{n}-{i}" for n in range(connections) for i in range(each)}


# --- ends ---


def test_reader_that_has_seen_enough(serve: Serve) -> None:
    """`h2olog requests | head -1`"""
    server = serve()
    memory = Memory(server)
    command = f"{BUILD / 'h2olog'} requests -p {server.pid} | head -1"
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        try:
            wait_until(lambda: len(memory.switched_on()) >= 4, "attaching")
            client, begun = Connection(server, 1), time.monotonic()
            while not select.select([shell.stdout], [], [], 0.05 * SLOWNESS)[0]:
                client.ask("/")
                assert time.monotonic() - begun < PATIENCE
            assert re.fullmatch(r"\S+  200  .* 1/\d+\n", shell.stdout.read())
            assert shell.wait(PATIENCE) == 0
        finally:
            shell.kill()
    assert memory.switched_on() == set()


def test_written_to_a_file(serve: Serve, trace: Trace, tmp_path: Path) -> None:
    server, file = serve(), tmp_path / "requests"
    tracer = trace(server, "requests", "-j", "-w", str(file))
    exchange = Connection(server, 1).ask("/")
    wait_until(lambda: file.read_bytes().endswith(b"\n"), "the line")
    assert tracer.stop() == 0
    assert [untimed(json.loads(line)) for line in file.read_text().splitlines()] == [exchange.record()]
    assert tracer.out.read_bytes() == b""
