"""misc/quicplot: the points of its pictures, and its messages if there is nothing to draw."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from array import array
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from pictures import (
    QUICPLOT, TOP, Event, Picture, changes, check_curve, lines_of, list_fonts, numbered, of_two_clients, run, span,
    stated, trace_2020, trace_2026, trace_truth, without_connection,
)  # fmt: skip
from surroundings import make_dice

BEGIN = 1795350191559
SERIES = ("congestion-window", "bytes-in-flight", "smoothed-rtt", "minimum-rtt", "packets-lost", "pto")


def draw(events: list[Event], *arguments: str) -> Picture:
    result = run(QUICPLOT, *arguments, text=lines_of(events))
    assert (result.returncode, result.stderr) == (0, b"")
    return Picture(result.stdout)


def ack(at: int, window: int, in_flight: int, **more: Any) -> Event:
    return {
        "type": "cc-ack-received", "conn": 7, "time": BEGIN + at, "largest-acked": 1, "bytes-acked": 1, "cwnd": window,
        "inflight": in_flight, **more,
    }  # fmt: skip


def sent(at: int, number: int, length: int = 1000, **more: Any) -> Event:
    return {
        "type": "packet-sent", "conn": 7, "time": BEGIN + at, "pn": number, "len": length, "packet-type": 3,
        "ack-only": 0, **more,
    }  # fmt: skip


def other(kind: str, at: int, **more: Any) -> Event:
    return {"type": kind, "conn": 7, "time": BEGIN + at, **more}


ACCEPT = other("accept", 0, dcid="00")


# --- real traces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", [None, 12])
@pytest.mark.parametrize("trace", [trace_2020, trace_2026, trace_truth])
def test_real_traces(trace: Callable[[], list[Event]], connection: int | None) -> None:
    """The picture shows exactly what the server logged about itself, with and without the `connection` of h2olog 2."""
    events = trace() if connection is None else numbered(trace(), connection)
    picture = draw(events)
    begin, end = span(events)
    for name, keys in (
        ("congestion-window", ["cwnd"]),
        ("smoothed-rtt", ["smoothed-rtt", "rtt.smoothed"]),
        ("minimum-rtt", ["min-rtt", "rtt.minimum"]),
    ):
        wanted = changes(stated(events, *keys), end)
        assert wanted
        check_curve(picture.steps(name), wanted)
    assert picture.says("no packet lost and no probe timeout in this trace")
    lengths = {event["pn"]: event["len"] for event in events if event["type"] in ("packet-sent", "packet-commit")}
    assert picture.says(f"sent in {len(lengths)} packets")
    in_flight = {value for _, value in stated(events, "inflight")}
    assert len(picture.steps("bytes-in-flight")) > len(in_flight)
    assert picture.says(f"QUIC connection {connection or events[0]['conn']}")
    assert "doubt" not in picture.groups
    assert picture.says("since the connection began (ms)")


# --- curves and marks ----------------------------------------------------------------------------------


def test_bytes_in_flight() -> None:
    """Sent bytes are added until the server reports the bytes in flight. Acknowledgements alone do not change them."""
    events = [
        ACCEPT, sent(1, 0), sent(1, 1, 500), sent(2, 2, 40, **{"ack-only": 1}), ack(5, 9000, 700), sent(6, 3),
        other("packet-acked", 7, pn=0), ack(7, 9500, 600), sent(8, 4), other("pto", 9, inflight=1600, cwnd=9500),
    ]  # fmt: skip
    picture = draw(events)
    check_curve(
        picture.steps("bytes-in-flight"),
        [(1, 1000), (1, 1500), (5, 700), (6, 1700), (7, 700), (7, 600), (8, 1600), (9, 1600)],
    )
    assert picture.says("bytes in flight") and not picture.says("derived")


@pytest.mark.parametrize("whole", [True, False])
def test_derived_bytes_in_flight(whole: bool) -> None:
    """If the server never reports bytes in flight, packets are counted, and the picture says so."""
    events = [
        sent(1, 0), sent(1, 1, 500), sent(1, 2), other("packet-acked", 3, pn=1), other("packet-lost", 4, pn=0),
        other("packet-acked", 5, pn=0), other("packet-acked", 6, pn=2), other("free", 9),
    ]  # fmt: skip
    picture = draw([ACCEPT, *events] if whole else events)
    check_curve(picture.steps("bytes-in-flight"), [
        (1, 1000), (1, 1500), (1, 2500), (3, 2000), (4, 1000), (6, 0), (9, 0),
    ])  # fmt: skip
    assert picture.says("derived from packets sent, acknowledged and lost")
    assert picture.says("since the trace began") != whole
    assert picture.says("no congestion window in this trace")
    assert picture.says("no RTT in this trace")


def test_connection_older_than_the_trace() -> None:
    """Bytes in flight are unknown, and not drawn, until the server reports them."""
    picture = draw([sent(1, 90), sent(2, 91), ack(5, 90000, 50000), sent(6, 92), other("free", 10)])
    check_curve(picture.steps("bytes-in-flight"), [(5, 50000), (6, 51000), (10, 51000)])
    assert picture.says("older than the trace") and picture.says("its first event in the trace")


def test_2020_names() -> None:
    """Two events report each sent or lost packet. The packet counts once."""
    events = [ACCEPT]
    for number in range(3):
        commit = {**sent(number, number), "type": "packet-commit"}
        del commit["packet-type"]
        events += [commit, {**sent(number, number), "type": "quictrace-sent"}]
    events += [other(kind, 5, pn=1) for kind in ("packet-lost", "quictrace-lost")]
    picture = draw(events)
    assert picture.says("3.00 kB sent in 3 packets") or picture.says("3 kB sent in 3 packets")
    assert picture.says("packets lost: 1")
    check_curve(picture.steps("bytes-in-flight"), [(0, 1000), (1, 2000), (2, 3000), (5, 2000)])
    # each event alone, as with -t
    alone = draw([event for event in events if event["type"] in ("quictrace-sent", "quictrace-lost")])
    assert alone.says("sent in 3 packets") and alone.says("packets lost: 1")


def test_losses_and_timeouts() -> None:
    lost_at = [5, 5, 5, 90, 400, 999]
    events = [ACCEPT, sent(0, 0)]
    for number, at in enumerate(lost_at):
        events.append(other("packet-lost", at, pn=number, **{"packet-type": 3}))
    events += [other("pto", at, inflight=10, cwnd=20, **{"pto-count": 1}) for at in (1100, 1300)]
    events.append(other("free", 1500))
    picture = draw(events)
    assert picture.says("packets lost: 6") and picture.says("probe timeouts (PTO): 2")
    assert picture.says("per 10 ms")  # at most 250 intervals in 1.5 s
    bars = picture.paths("packets-lost")
    assert len(bars) == 4 and all(len(bar) == 2 and bar[0][0] == bar[1][0] for bar in bars)
    heights = [bar[0][1] - bar[1][1] for bar in bars]
    assert heights[0] == pytest.approx(3 * heights[1]) and heights[1] == heights[2] == heights[3] > 0
    check_curve([(bar[0][0], 0) for bar in bars], [(5, 0), (95, 0), (405, 0), (995, 0)])
    assert picture.marks("pto") == 2


def test_no_rtt_before_a_sample() -> None:
    """quicly's minimum is all ones until the first sample."""
    events = [
        ACCEPT,
        *(
            {**ack(at, 100, 10), "type": "quictrace-cc-ack", "min-rtt": low, "smoothed-rtt": smooth}
            for at, low, smooth in ((0, 2**32 - 1, 100), (9, 30, 33))
        ),
        other("free", 20),
    ]
    picture = draw(events)
    check_curve(picture.steps("minimum-rtt"), [(9, 30), (20, 30)])
    check_curve(picture.steps("smoothed-rtt"), [(0, 100), (9, 33), (20, 33)])


def test_gaps() -> None:
    """Where h2olog lost events, curves are interrupted,
    and bytes in flight are unknown until the server reports them."""
    lost = {"type": "h2olog-event-lost", "time": BEGIN + 60, "lost": 1234}
    events = [ACCEPT, ack(10, 100, 10), ack(50, 200, 20), lost, sent(70, 5), ack(80, 150, 15), ack(90, 160, 16)]
    picture = draw(events)
    for name in ("congestion-window", "bytes-in-flight"):
        paths = picture.paths(name)
        assert len(paths) == 2, "before and after"
    check_curve(
        picture.steps("congestion-window"), [(10, 100), (50, 200), (80, 150), (90, 160)],
    )  # fmt: skip
    check_curve(picture.steps("bytes-in-flight"), [(10, 10), (50, 20), (80, 15), (90, 16)])
    (gap,) = picture.paths("gap-0")
    xs = [x for x, _ in picture.steps("congestion-window")]
    scale = (xs[3] - xs[0]) / 80
    assert min(x for x, _ in gap) == pytest.approx(xs[1], abs=0.01)
    assert max(x for x, _ in gap) == pytest.approx(xs[1] + 10 * scale, abs=0.01)
    assert picture.says("h2olog lost 1,234 events")
    # the gap does not affect a connection that began later
    assert picture.says("at least 1 kB sent")
    after = [{**ACCEPT, "conn": 8, "time": BEGIN + 100}, {**ack(120, 1, 1), "conn": 8}]
    later = draw([*events, *after], "-c", "8")
    assert "gap-0" not in later.groups


def test_few_events() -> None:
    """If there is nothing to draw, a message says so. A connection with a single moment gives a picture."""
    picture = draw([ACCEPT])
    assert not set(SERIES) & set(picture.groups)
    for words in ("no congestion window and no bytes in flight", "no RTT", "no packet lost and no probe timeout"):
        assert picture.says(words + " in this trace"), words
    assert picture.says("1 event")
    five = draw([ACCEPT, sent(0, 0), ack(0, 14720, 0), sent(0, 1), ack(0, 14800, 0)])
    assert len(five.steps("congestion-window")) == 2
    assert five.marks("congestion-window") == 2, "lone points can be seen"


def test_times() -> None:
    """The time 0 is not a time, events of h2o have another clock, and time never decreases."""
    events = [
        ACCEPT, {**ack(0, 100, 1), "time": 0}, ack(20, 200, 2), ack(10, 300, 3),
        {"type": "send-response-header", "conn-id": 1, "conn": 7, "time": BEGIN + 5000}, ack(40, 400, 4),
    ]  # fmt: skip
    check_curve(draw(events).steps("congestion-window"), [(0, 100), (20, 200), (20, 300), (40, 400)])
    back = run(QUICPLOT, text=lines_of([ack(9000, 1, 1), ack(0, 2, 2)]))
    assert back.returncode == 0 and b"the clock was set back" in back.stderr


def test_hostile_values() -> None:
    """The trace is not trusted: types, sizes and text can be anything."""
    odd: list[Any] = [None, "x", -5, 2**70, 1.5, [1], {"a": 1}, True]
    events = [ACCEPT, other("new-path", 0, **{"path-index": 1, "remote": "$\\frac</text><script>"})]
    for value in odd:
        events.append(ack(1, 100, 1, cwnd=value, inflight=value))
        events.append(sent(1, 1, pn=value, len=value))
        events.append(other("packet-lost", 2, pn=value))
        events.append({**ack(2, 1, 1), "type": "quictrace-cc-ack", "min-rtt": value, "smoothed-rtt": value})
        events.append({**ack(3, 1, 1), "conn": value})
        events.append({**ack(3, 1, 1), "time": value})
    result = run(QUICPLOT, "-c", "7", text=lines_of(events))
    assert result.returncode == 0, result.stderr
    assert b"script" not in result.stdout
    Picture(result.stdout)


# --- long traces ---------------------------------------------------------------------------------------


def load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("quicplot", str(QUICPLOT))
    spec = importlib.util.spec_from_loader("quicplot", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    sys.modules["quicplot"] = module
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(5))
def test_thinning(seed: int) -> None:
    """Each slice of time keeps its extremes, its first and its last value, in order, and interruptions."""
    quicplot, dice = load(), make_dice(seed)
    times = array("d", sorted(dice.uniform(BEGIN, BEGIN + 50000) for _ in range(50000)))
    values = array("d", (dice.expovariate(1 / 50000) for _ in times))
    for _ in range(20):
        values[dice.randrange(len(values))] = math.nan
    begin, end = times[0], times[-1]
    kept_times, kept = quicplot.thin(times, values, begin, end)
    assert len(kept) < 5 * quicplot.SLICES
    assert kept_times == sorted(kept_times)
    assert (kept_times[0], kept_times[-1]) == (begin, end)
    remaining = iter(zip(times, values))
    for point in zip(kept_times, kept):  # each point is from the data, in the same order
        assert any(point == other or (point[0] == other[0] and math.isnan(other[1])) for other in remaining)
    assert sum(map(math.isnan, kept)) == sum(map(math.isnan, values))
    width = (end - begin) / quicplot.SLICES
    slices: dict[int, list[float]] = {}
    for at, value in zip(times, values):
        if not math.isnan(value):
            slices.setdefault(int((at - begin) // width), []).append(value)
    drawn: dict[int, list[float]] = {}
    for at, value in zip(kept_times, kept):
        if not math.isnan(value):
            drawn.setdefault(int((at - begin) // width), []).append(value)
    for which, here in slices.items():
        assert (min(drawn[which]), max(drawn[which])) == (min(here), max(here))


def test_many_events(tmp_path: Path) -> None:
    """The picture of 200,000 events is small, and shows a single peak."""
    with (tmp_path / "trace").open("w") as file:
        for nth in range(100000):
            window = 9_000_000 if nth == 54321 else 100_000 + nth % 1000
            events = [ack(nth // 5, window, nth % 977), sent(nth // 5, nth)]
            file.writelines(json.dumps({"seq": nth, **event}) + "\n" for event in events)
    result = run(QUICPLOT, tmp_path / "trace")  # the peak has its time
    assert result.returncode == 0
    assert len(result.stdout) < 2_000_000
    picture = Picture(result.stdout)
    points = picture.steps("congestion-window")
    assert 2000 < len(points) < 6000
    ys = sorted(-y for _, y in points)
    assert ys[-1] - ys[0] > 50 * (ys[-2] - ys[0]) > 0


# --- files and formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix, magic", [("svg", b"<?xml"), ("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-"), ("PNG", b"\x89PNG")]
)
def test_formats(tmp_path: Path, suffix: str, magic: bytes) -> None:
    output = tmp_path / f"picture.{suffix}"
    result = run(QUICPLOT, "-o", output, TOP / "t" / "data" / "trace-2020-06-quic.jsonl")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    picture = output.read_bytes()
    assert picture.startswith(magic)
    if suffix == "png":
        assert picture[12:16] == b"IHDR" and struct.unpack(">II", picture[16:24]) == (1210, 825)
        assert picture.endswith(b"IEND\xaeB`\x82")


def test_same_trace_same_picture() -> None:
    assert run(QUICPLOT, text=lines_of(trace_2026())).stdout == run(QUICPLOT, text=lines_of(trace_2026())).stdout


def test_without_matplotlib(tmp_path: Path) -> None:
    """A message is printed before the trace is read. Without a picture, matplotlib is not needed."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = run(QUICPLOT, "/nonexistent", env=environment)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"quicplot: drawing needs matplotlib: install python3-matplotlib")
    assert result.stderr.count(b"\n") == 1
    assert run(QUICPLOT, "-l", text=lines_of([ACCEPT]), env=environment).returncode == 0
    assert run(QUICPLOT, "-h", env=environment).returncode == 0


# --- connections ---------------------------------------------------------------------------------------


def test_choosing() -> None:
    """The default is the connection with the most events. A number that is used again is another connection."""
    events = [
        ACCEPT, sent(1, 0), other("free", 2), other("conn-stats", 2), other("delete-path", 2),
        {**ACCEPT, "conn": 8}, *({**sent(3, n), "conn": 8} for n in range(9)),
        {**ACCEPT, "time": BEGIN + 10}, *(sent(11, n) for n in range(4)), other("packet-lost", 12, pn=1),
        other("pto", 2012), {"type": "free", "conn": 7, "time": BEGIN + 2013},
    ]  # fmt: skip
    listed = run(QUICPLOT, "-l", text=lines_of(events))
    assert listed.stderr == b""
    rows = [line.split() for line in listed.stdout.decode().splitlines()]
    assert rows == [
        ["CONNECTION", "EVENTS", "SECONDS", "PACKETS", "BYTES", "LOST", "PTO"],
        ["7", "5", "0.002", "1", "1000", "0", "0"],
        ["8", "10", "0.003", "9", "9000", "0", "0"],
        ["7.2", "8", "2.003", "4", "4000", "1", "1"],
    ]
    busiest = run(QUICPLOT, text=lines_of(events))
    assert b"connection 8 has the most events, 10; -c chooses another of the 3" in busiest.stderr
    assert Picture(busiest.stdout).says("QUIC connection 8")
    again = draw(events, "-c", "7.2")
    assert again.says("QUIC connection 7.2") and again.says("sent in 4 packets")
    missing = run(QUICPLOT, "-c", "9", text=lines_of(events))
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert missing.stderr == b"quicplot: there is no connection 9 in this trace; -l lists the connections\n"


def test_threads() -> None:
    """Each thread of a server counts connections. They are distinguished if lines have the thread; otherwise a message
    says so."""
    events = []
    for n in range(3):
        for tid in (100, 200):
            events.append({**(ACCEPT if n == 0 else sent(n, n)), "tid": tid, "provider": "quicly"})
    rows = run(QUICPLOT, "-l", text=lines_of(events)).stdout.decode().splitlines()[1:]
    assert [row.split()[:2] for row in rows] == [["7", "3"], ["7.2", "3"]]
    for event in events:
        del event["tid"]
    result = run(QUICPLOT, "-l", text=lines_of(events))
    assert result.returncode == 0
    assert result.stderr.startswith(b"quicplot: connections 7, 7.2 may have events of others: ")


def client(connection: int, conn: int = 7) -> list[Event]:
    """Returns a connection as h2olog 2 prints it."""
    remote = f"192.0.2.{connection}:443"
    path = other("new-path", 0, **{"path-index": 0, "remote": remote, "conn": 0})
    own = [ACCEPT]
    for n in range(20):
        own += [sent(n + 1, n, 1000 + connection), ack(n + 1, 1000 * n + connection, 10)]
    return numbered([path, *({**event, "conn": conn} for event in own)], connection)


def title(picture: Picture) -> str:
    return next(text for text in picture.texts if text.startswith("QUIC connection"))


def test_two_clients() -> None:
    """Two connections with the same number of quicly: each picture shows one of them, with its own address."""
    events = of_two_clients([client(1), client(2)])
    for connection in (1, 2):
        picture = draw(events, "-c", str(connection))
        assert title(picture) == f"QUIC connection {connection} with 192.0.2.{connection}:443"
        assert picture.says("sent in 20 packets") and "doubt" not in picture.groups
        check_curve(picture.steps("congestion-window"), [(n + 1, 1000 * n + connection) for n in range(20)])


def old_picture(events: list[Event], name: str, doubt: str | None, stderr: bytes) -> Picture:
    """Returns what is drawn of a trace of h2olog 1."""
    result = run(QUICPLOT, "-c", name, text=lines_of(events))
    assert result.returncode == 0
    assert result.stderr == b"" if stderr == b"" else stderr in result.stderr, result.stderr
    picture = Picture(result.stdout)
    assert ("doubt" in picture.groups) == (doubt is not None)
    assert doubt is None or picture.says(doubt)
    assert doubt is None or len(next(text for text in picture.texts if doubt in text)) < 115  # the first path fits
    return picture


MIXED = "Possibly several connections in one"


def test_two_clients_by_h2olog_1() -> None:
    """Two accepts of one number: the picture says that it may show several connections, and has no address."""
    events = without_connection(of_two_clients([client(1), client(2)]))
    for name in ("7", "7.2"):
        picture = old_picture(events, name, MIXED, b"connections 7, 7.2 may have events of others")
        assert title(picture) == f"QUIC connection {name}"


def test_first_paths_by_h2olog_1() -> None:
    """If one connection is being accepted, the first path is its own. If there are two, it is unknown."""
    first, second = without_connection(client(1, 3)), without_connection(client(2, 4))
    third = without_connection(client(5, 5))
    third = [{**event, "time": event["time"] + 2000} for event in third]
    between = [*first[:1], sent(0, 0), *first[1:], *third]
    assert title(old_picture(between, "3", None, b"")) == "QUIC connection 3 with 192.0.2.1:443"
    both = [first[0], second[0], first[1], second[1], *first[2:], *second[2:], *third]
    for name in ("3", "4"):
        picture = old_picture(both, name, "address is not known", b"2 first paths left out")
        assert title(picture) == f"QUIC connection {name}"
        assert picture.says("sent in 20 packets")
    assert title(old_picture(both, "5", None, b"2 first paths")) == "QUIC connection 5 with 192.0.2.5:443"
    never = [first[0], *second, *third]  # the first one fails
    assert title(old_picture(never, "4", "address is not known", b"2 first paths")) == "QUIC connection 4"
    assert title(old_picture(never, "5", None, b"2 first paths")) == "QUIC connection 5 with 192.0.2.5:443"
    gap = [first[0], {"type": "h2olog-event-lost", "time": BEGIN, "lost": 5}, *second[1:]]
    assert title(old_picture(gap, "4", "address is not known", b"1 first path left out")) == "QUIC connection 4"


@pytest.mark.parametrize(
    "events",
    [
        # both are older than the trace: packet numbers decrease
        [sent(1, 100), sent(1, 5), sent(2, 101), sent(2, 6)],
        # one ends, and another one continues
        [ACCEPT, sent(1, 0), other("free", 2), sent(3, 70)],
        # one is older than the trace, the other one is accepted
        [sent(1, 100), ACCEPT, sent(2, 0)],
        [{**sent(1, 100), "tid": 9}, {**ACCEPT, "tid": 9}, {**sent(2, 0), "tid": 9}],
    ],
)
def test_one_number_by_h2olog_1(events: list[Event]) -> None:
    """Signs of two connections other than two accepts. With h2olog 2, there are two connections."""
    picture = old_picture(events, "7", MIXED, b"may have events of others")
    assert title(picture) == "QUIC connection 7"


def test_certain_by_h2olog_1() -> None:
    """Connections that are certain have no mark: packet numbers of different types, and a number that is used again."""
    events = [
        ACCEPT, sent(0, 0), {**sent(0, 3), "packet-type": 0}, {**sent(0, 1), "packet-type": 2}, sent(1, 1),
        other("free", 2), other("conn-stats", 2), {**ACCEPT, "time": BEGIN + 3}, sent(4, 0),
    ]  # fmt: skip
    for name in ("7", "7.2"):
        old_picture(events, name, None, b"")


# --- errors --------------------------------------------------------------------------------------------


def test_bad_lines() -> None:
    """Bad lines are counted and ignored."""
    good = lines_of([sent(1, 0)])
    bad = ["{", "x\n", "[1]\n", '"text"\n', "null\n", '{"type":5,"seq":1}\n', '{"type":"a"}\n', "\udcff\n"]
    bad.append("[" * 5000 + "\n")
    text = "{\n" + "\n" + good + "".join(bad[1:]) + lines_of([sent(1, 1)]) + "{"
    result = run(QUICPLOT, "-l", text=text)
    assert result.returncode == 0
    assert result.stderr == b"quicplot: 10 lines are not from h2olog and ignored; the first is line 1 of stdin\n"
    assert run(QUICPLOT, "-l", text="x\n" + good).stderr.startswith(b"quicplot: 1 line is not from h2olog")


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the input is empty"),
        ("GET / HTTP/1.1\n\n", "this is not what `h2olog quic` prints"),
        ('{"module":"quicly","type":"free","conn_id":4}\n', "this is not what `h2olog quic` prints"),
        ('{"type":"h1-accept","seq":1,"conn-id":4,"time":5}\n', "there is no QUIC connection in this trace"),
    ],
)  # fmt: skip
def test_no_trace(text: str, words: str) -> None:
    result = run(QUICPLOT, text=text)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().startswith(f"quicplot: {words}") and result.stderr.count(b"\n") == 1


def test_files(tmp_path: Path) -> None:
    """Several files are one trace. Messages name a file that cannot be read or written."""
    for nth in range(2):
        (tmp_path / str(nth)).write_text(lines_of([ack(nth, 5 + nth, 1)]))
    result = run(QUICPLOT, "-l", tmp_path / "0", "-", tmp_path / "1", text=lines_of([ack(7, 7, 7)]))
    assert result.stdout.splitlines()[1].split()[:2] == [b"7", b"3"]
    for file, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        result = run(QUICPLOT, file)
        assert (result.returncode, result.stderr.decode()) == (1, f"quicplot: cannot read {file}: {why}\n")
    output = tmp_path / "none" / "x.png"
    result = run(QUICPLOT, "-o", output, tmp_path / "0")
    assert (result.returncode, result.stderr.decode()) == (
        1,
        f"quicplot: cannot write {output}: No such file or directory\n",
    )


@pytest.mark.parametrize("arguments", [["-x"], ["-o", "picture.gif"], ["-o", "picture"], ["-c"]])
def test_wrong_usage(arguments: list[str]) -> None:
    result = run(QUICPLOT, *arguments, text=lines_of([ACCEPT]))
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"usage: quicplot")


def test_terminal() -> None:
    """quicplot neither writes a picture to a terminal nor reads lines from one."""
    terminal, other_side = os.openpty()
    command = [sys.executable, "-B", str(QUICPLOT)]
    typed = subprocess.run(command, stdin=other_side, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert typed.returncode == 2 and b"give it a file, or a pipe: sudo h2olog quic -p PID | quicplot" in typed.stderr
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=other_side, stderr=subprocess.PIPE, timeout=60)
    assert shown.returncode == 2 and b"standard output is a terminal; write the picture to a file with -o FILE" in shown.stderr
    os.close(other_side)
    os.close(terminal)


def test_broken_pipe() -> None:
    """`quicplot | head` is not an error."""
    list_fonts()
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-B", str(QUICPLOT)], input=lines_of(trace_2020()).encode(), stdout=writing,
        stderr=subprocess.PIPE, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")


def test_ctrl_c_behind_a_pipe() -> None:
    """Ctrl-C reaches the whole pipeline: h2olog ends, then the picture is drawn."""
    process = subprocess.Popen(
        [sys.executable, "-B", str(QUICPLOT), "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"\n" * 1_000_000)  # more than a pipe holds, so quicplot has begun to read
    process.stdin.write(lines_of([ACCEPT]).encode())
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    out, err = process.communicate(lines_of([sent(1, 0)]).encode(), timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1].split()[3] == b"1"
