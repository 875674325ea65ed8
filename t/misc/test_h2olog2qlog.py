"""misc/h2olog2qlog: every event of its output conforms to the drafts of qlog 0.3, and matches the trace."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from pictures import (
    QLOG, Event, Qlog, lines_of, numbered, of_two_clients, read_qlog, run, span, trace_2020, trace_2026, trace_truth,
    without_connection,
)  # fmt: skip
from surroundings import make_dice

BEGIN = 1795350191559
TYPES = ("initial", "0RTT", "handshake", "1RTT")


def convert(events: list[Event], *arguments: str) -> Qlog:
    result = run(QLOG, *arguments, text=lines_of(events))
    assert (result.returncode, result.stderr) == (0, b"")
    return read_qlog(result.stdout)


def plain(qlog: Qlog) -> list[tuple[int, str, Event]]:
    return [(event["time"], event["name"], event["data"]) for event in qlog.events]


def event(kind: str, at: int = 0, conn: int = 7, **more: Any) -> Event:
    return {"type": kind, "conn": conn, "time": BEGIN + at, **{key.replace("_", "-"): v for key, v in more.items()}}


ACCEPT = event("accept", dcid="00")


def sent_2026(at: int, number: int, *frames: Event) -> list[Event]:
    prepare = event("packet-prepare", at, first_octet=64, dcid="0a0b")
    return [prepare, *frames, event("packet-sent", at, pn=number, len=1280, packet_type=3, ack_only=0)]


def stream_send(at: int, offset: int) -> Event:
    return event("stream-send", at, stream_id=0, off=offset, data_len=100, is_fin=0, wrote_all=0)


# --- real traces ---------------------------------------------------------------------------------------


def count(events: list[Event], *kinds: str) -> int:
    return sum(e["type"] in kinds for e in events)


@pytest.mark.parametrize("connection", [None, 12])
@pytest.mark.parametrize("trace", [trace_2020, trace_2026, trace_truth])
def test_real_traces(trace: Callable[[], list[Event]], connection: int | None) -> None:
    """No event is lost or doubled, with and without the `connection` of h2olog 2."""
    events = trace() if connection is None else numbered(trace(), connection)
    qlog = convert(events)
    begin, end = span(events)
    assert qlog.header["trace"]["common_fields"]["reference_time"] == begin
    assert (qlog.events[0]["time"], qlog.events[-1]["time"]) == (0, end - begin)
    assert {e["group_id"] for e in qlog.events} == {str(connection or events[0]["conn"])}

    packets = [e for e in events if e["type"] in ("packet-sent", "packet-commit")]
    sent = qlog.data("transport:packet_sent")
    assert [d["header"]["packet_number"] for d in sent] == [e["pn"] for e in packets]
    assert [d["raw"]["length"] for d in sent] == [e["len"] for e in packets]
    types = [TYPES[e["packet-type"]] for e in events if e["type"] in ("packet-sent", "quictrace-sent")]
    assert [d["header"]["packet_type"] for d in sent] == types

    received = qlog.data("transport:packet_received")
    decrypted = [e for e in events if e["type"] in ("packet-received", "crypto-decrypt")]
    assert [d["header"]["packet_number"] for d in received] == [e["pn"] for e in decrypted]
    types = [TYPES[e["packet-type"]] for e in decrypted if "packet-type" in e]
    assert [d["header"]["packet_type"] for d in received] == (types or ["initial", "handshake", "1RTT", "1RTT"])

    for name, kind in (("transport:packet_sent", "stream-send"), ("transport:packet_received", "stream-receive")):
        data = [e for e in events if e["type"] == kind]
        frames = [f for d in qlog.data(name) for f in d["frames"] if f["frame_type"] in ("crypto", "stream")]
        lengths = [e.get("data-len", e.get("len")) for e in data]
        assert [(f["offset"], f["length"]) for f in frames] == [(e["off"], n) for e, n in zip(data, lengths)]
        assert [f.get("stream_id") for f in frames] == [s if (s := e["stream-id"]) >= 0 else None for e in data]
    assert [f["stream_id"] for f in qlog.frames("transport:packet_received", "stream") if f.get("fin")] == [0]
    assert [f["stream_id"] for f in qlog.frames("transport:packet_sent", "stream") if f.get("fin")] == [0]

    acked = [r for f in qlog.frames("transport:packet_received", "ack") for r in f["acked_ranges"]]
    blocks = [e for e in events if e["type"] in ("ack-block-received", "quictrace-recv-ack")]
    assert [(r[0], r[-1]) for r in acked] == [(e["ack-block-begin"], e["ack-block-end"]) for e in blocks]
    numbers = [n for d in qlog.data("transport:packets_acked") for n in d["packet_numbers"]]
    assert numbers == [e["pn"] for e in events if e["type"] == "packet-acked"]
    assert len(qlog.frames("transport:packet_sent", "ack")) == count(events, "ack-send")
    assert len(qlog.frames("transport:packet_sent", "new_token")) == 1
    assert len(qlog.frames("transport:packet_sent", "handshake_done")) == 1
    assert len(qlog.frames("transport:packet_sent", "new_connection_id")) == count(events, "new-connection-id-send")
    assert len(qlog.frames("transport:packet_received", "connection_close")) == 1

    states = [d["new"] for d in qlog.data("connectivity:connection_state_updated")]
    assert states == ["attempted", "handshake_confirmed", "draining", "closed"]
    known: Event = {}
    for update in qlog.data("recovery:metrics_updated"):
        assert all(known.get(key) != value for key, value in update.items()), "only what changes is told"
        known.update(update)
    assert known["congestion_window"] == [e["cwnd"] for e in events if "cwnd" in e][-1]
    assert known["bytes_in_flight"] == [e["inflight"] for e in events if "inflight" in e][-1]
    assert known["min_rtt"] == [e[k] for e in events for k in ("min-rtt", "rtt.minimum") if k in e][-1]


# --- packets and frames --------------------------------------------------------------------------------


def test_whole_connection() -> None:
    """A packet precedes the events that it causes, has its own time, and has its frames."""
    events = [
        event("new-path", path_index=0, remote="127.0.0.1:1"), ACCEPT,
        event("packet-received", pn=0, decrypted_len=1200, packet_type=0),
        event("stream-receive", stream_id=-1, off=0, data_len=300, is_fin=0),
        event("packet-prepare", 1, first_octet=0xC0, dcid="0a0b"), event("ack-send", 1, largest_acked=0, ack_delay=9),
        event("packet-sent", 1, pn=0, len=1280, packet_type=0, ack_only=1),
        *sent_2026(2, 1, stream_send(2, 0), event("quictrace-send-stream", 2, stream_id=0, off=0, len=100, fin=1)),
        event("receive", 20, dcid="ff", first_octet=64, bytes_len=50, receive_delay=-1),
        event("packet-received", 20, pn=4, decrypted_len=30, packet_type=3),
        event("ack-block-received", 20, ack_block_begin=1, ack_block_end=1),
        event("packet-acked", 20, pn=1, is_late_ack=0),
        event("ack-delay-received", 20, ack_delay=3), event("packet-lost", 20, pn=0, packet_type=0),
        event("cc-ack-received", 20, largest_acked=1, bytes_acked=1, cwnd=20000, inflight=0),
        event("max-data-receive", 20, maximum=99),
        event("idle-timeout", 5000), event("free", 5000), event("conn-stats", 5000),
    ]  # fmt: skip
    assert plain(convert(events, "-c", "7")) == [
        (0, "connectivity:connection_state_updated", {"new": "attempted"}),
        (0, "transport:packet_received", {
            "header": {"packet_type": "initial", "packet_number": 0}, "raw": {"payload_length": 1200},
            "frames": [{"frame_type": "crypto", "offset": 0, "length": 300}],
        }),
        (1, "transport:packet_sent", {
            "header": {"packet_type": "initial", "packet_number": 0, "dcid": "0a0b"}, "raw": {"length": 1280},
            "frames": [{"frame_type": "ack"}],
        }),
        (2, "transport:packet_sent", {
            "header": {"packet_type": "1RTT", "packet_number": 1}, "raw": {"length": 1280},
            "frames": [{"frame_type": "stream", "stream_id": 0, "offset": 0, "length": 100, "fin": True}],
        }),
        (20, "transport:packet_received", {
            "header": {"packet_type": "1RTT", "packet_number": 4}, "raw": {"length": 50, "payload_length": 30},
            "frames": [{"frame_type": "ack", "acked_ranges": [[1]]}, {"frame_type": "max_data", "maximum": 99}],
        }),
        (20, "transport:packets_acked", {"packet_number_space": "application_data", "packet_numbers": [1]}),
        (20, "recovery:packet_lost", {"header": {"packet_type": "initial", "packet_number": 0}}),
        (20, "recovery:metrics_updated", {"congestion_window": 20000, "bytes_in_flight": 0}),
        (5000, "connectivity:connection_closed", {"trigger": "idle_timeout"}),
        (5000, "connectivity:connection_state_updated", {"new": "closed"}),
    ]  # fmt: skip


def test_2020() -> None:
    """packet_commit does not have the type of the packet. Its first octet or a later quictrace_sent has it."""

    def commit(at: int, number: int) -> list[Event]:
        return [
            event("packet-commit", at, pn=number, len=50, ack_only=0),
            event("quictrace-sent", at, pn=number, len=50, packet_type=2 if number < 2 else 3),
        ]  # fmt: skip

    events = [
        ACCEPT, event("packet-prepare", first_octet=0xE0, dcid="aa"), *commit(0, 0), *commit(1, 1), *commit(2, 2),
        commit(3, 3)[1], commit(4, 4)[0], event("packet-lost", 5, pn=1), event("quictrace-lost", 5, pn=1),
        event("quictrace-lost", 6, pn=3), event("packet-acked", 7, pn=0, newly_acked=1),
        event("packet-acked", 7, pn=2, newly_acked=1),
    ]  # fmt: skip
    assert plain(convert(events))[1:] == [
        (0, "transport:packet_sent",
         {"header": {"packet_type": "handshake", "packet_number": 0, "dcid": "aa"}, "raw": {"length": 50}}),
        (1, "transport:packet_sent",
         {"header": {"packet_type": "handshake", "packet_number": 1}, "raw": {"length": 50}}),
        (2, "transport:packet_sent", {"header": {"packet_type": "1RTT", "packet_number": 2}, "raw": {"length": 50}}),
        (3, "transport:packet_sent", {"header": {"packet_type": "1RTT", "packet_number": 3}, "raw": {"length": 50}}),
        (4, "transport:packet_sent", {"header": {"packet_type": "unknown", "packet_number": 4}, "raw": {"length": 50}}),
        (5, "recovery:packet_lost", {"header": {"packet_type": "handshake", "packet_number": 1}}),
        (6, "recovery:packet_lost", {"header": {"packet_type": "1RTT", "packet_number": 3}}),
        (7, "transport:packets_acked", {"packet_number_space": "handshake", "packet_numbers": [0]}),
        (7, "transport:packets_acked", {"packet_number_space": "application_data", "packet_numbers": [2]}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "octet, packet_type", [(0xC3, "initial"), (0xD0, "0RTT"), (0xEF, "handshake"), (0x41, "1RTT"), (0xF0, "retry")]
)
def test_received_in_2020(octet: int, packet_type: str) -> None:
    """The first octet of a packet determines its type."""
    events = [
        event("receive", dcid="ff", first_octet=octet, bytes_len=99),
        event("crypto-decrypt", pn=5, decrypted_len=60), event("quictrace-recv", pn=5),
        event("quictrace-recv-stream", stream_id=4, off=7, len=8, fin=1),
        event("stream-receive", stream_id=4, off=7, len=8),
        event("stream-receive", stream_id=4, off=15, len=8),
    ]  # fmt: skip
    stream = {"frame_type": "stream", "stream_id": 4, "length": 8}
    assert plain(convert(events)) == [(0, "transport:packet_received", {
        "header": {"packet_type": packet_type, "packet_number": 5}, "raw": {"length": 99, "payload_length": 60},
        "frames": [{**stream, "offset": 7, "fin": True}, {**stream, "offset": 15}],
    })]  # fmt: skip


FRAMES: list[tuple[str, Event, Event]] = [
    ("ack-frequency", {"sequence": 1, "packet-tolerance": 2}, {"frame_type": "ack_frequency"}),
    ("data-blocked", {"off": 5}, {"frame_type": "data_blocked", "limit": 5}),
    ("datagram", {"payload-len": 5}, {"frame_type": "datagram", "length": 5}),
    ("handshake-done", {}, {"frame_type": "handshake_done"}),
    ("immediate-ack", {}, {"frame_type": "immediate_ack"}),
    ("max-data", {"limit": 5}, {"frame_type": "max_data", "maximum": 5}),
    ("max-data", {"maximum": 5}, {"frame_type": "max_data", "maximum": 5}),
    ("max-stream-data", {"stream-id": 4, "limit": 5}, {"frame_type": "max_stream_data", "stream_id": 4, "maximum": 5}),
    ("max-streams", {"maximum": 5, "is-unidirectional": 0},
     {"frame_type": "max_streams", "maximum": 5, "stream_type": "bidirectional"}),
    ("max-streams", {"limit": 5, "is-unidirectional": 1},
     {"frame_type": "max_streams", "maximum": 5, "stream_type": "unidirectional"}),
    ("new-connection-id", {"sequence": 1, "retire-prior-to": 0, "cid": "00ff"},
     {"frame_type": "new_connection_id", "sequence_number": 1, "retire_prior_to": 0, "connection_id": "00ff"}),
    ("new-connection-id", {"sequence": 1, "retire-prior-to": 0, "cid": "00ff", "stateless-reset-token": "aa" * 16},
     {"frame_type": "new_connection_id", "sequence_number": 1, "retire_prior_to": 0, "connection_id": "00ff",
      "stateless_reset_token": "aa" * 16}),
    ("new-token", {"token": "aabb", "len": 2}, {"frame_type": "new_token", "token": {"raw": {"length": 2}}}),
    ("new-token", {"token": "aabb", "token-len": 2}, {"frame_type": "new_token", "token": {"raw": {"length": 2}}}),
    ("path-challenge", {"bytes": "aa" * 8, "bytes-len": 8}, {"frame_type": "path_challenge", "data": "aa" * 8}),
    ("path-response", {"bytes": "aa" * 8, "bytes-len": 8}, {"frame_type": "path_response", "data": "aa" * 8}),
    ("ping", {}, {"frame_type": "ping"}),
    ("reset-stream", {"stream-id": 4, "error-code": 256, "final-size": 9},
     {"frame_type": "reset_stream", "stream_id": 4, "error_code": 256, "final_size": 9}),
    ("retire-connection-id", {"sequence": 1}, {"frame_type": "retire_connection_id", "sequence_number": 1}),
    ("stop-sending", {"stream-id": 4, "error-code": 256},
     {"frame_type": "stop_sending", "stream_id": 4, "error_code": 256}),
    ("stream-data-blocked", {"stream-id": 4, "maximum": 5},
     {"frame_type": "stream_data_blocked", "stream_id": 4, "limit": 5}),
    ("streams-blocked", {"limit": 5, "is-unidirectional": 1},
     {"frame_type": "streams_blocked", "limit": 5, "stream_type": "unidirectional"}),
    ("transport-close", {"error-code": 7, "frame-type": 6, "reason-phrase": "so\n"},
     {"frame_type": "connection_close", "error_space": "transport", "error_code": 7, "trigger_frame_type": 6,
      "reason": "so\n"}),
    ("application-close", {"error-code": 256, "reason-phrase": None},
     {"frame_type": "connection_close", "error_space": "application", "error_code": 256}),
]  # fmt: skip


@pytest.mark.parametrize("name, members, frame", FRAMES)
def test_frames(name: str, members: Event, frame: Event) -> None:
    """In both directions, a frame is in the packet that carries it."""
    sent = convert(sent_2026(0, 9, {**event(name + "-send"), **members}))
    assert [d["frames"] for d in sent.data("transport:packet_sent")] == [[frame]]
    packet = event("packet-received", pn=1, packet_type=3, decrypted_len=5)
    received = convert([packet, {**event(name + "-receive"), **members}])
    assert [d["frames"] for d in received.data("transport:packet_received")] == [[frame]]
    unreadable = [
        e for n, key in enumerate(members) for e in sent_2026(0, n, {**event(name + "-send"), **members, key: None})
    ]
    if unreadable:  # unreadable values are left out; read_qlog checks the members
        assert len(convert(unreadable).data("transport:packet_sent")) == len(members)
    if name.endswith("-close"):
        for qlog, owner, state in ((sent, "local", "closing"), (received, "remote", "draining")):
            (closed,) = qlog.data("connectivity:connection_closed")
            code = "connection_code" if name == "transport-close" else "application_code"
            assert (closed["owner"], closed[code]) == (owner, frame["error_code"])
            assert {"new": state} in qlog.data("connectivity:connection_state_updated")


def test_two_ack_frames() -> None:
    """The event of the delay ends an ACK frame."""

    def block(first: int, last: int) -> Event:
        return event("ack-block-received", ack_block_begin=first, ack_block_end=last)

    delay = event("ack-delay-received", ack_delay=1)
    events = [
        event("packet-received", pn=1, packet_type=3, decrypted_len=5), block(1, 2), block(5, 5), delay,
        event("ping-receive"), block(9, 10), delay,
    ]  # fmt: skip
    (data,) = convert(events).data("transport:packet_received")
    assert data["frames"] == [
        {"frame_type": "ack", "acked_ranges": [[1, 2], [5]]}, {"frame_type": "ping"},
        {"frame_type": "ack", "acked_ranges": [[9, 10]]},
    ]  # fmt: skip


def test_others() -> None:
    events = [
        event("connect", version=1), event("version-switch", new_version=0xFF00001D),
        event("receive", 1, dcid="", first_octet=0xE1, bytes_len=77), event("packet-decryption-failed", 1, pn=3),
        event("pto", 2, inflight=9, cwnd=8, pto_count=1), event("stream-on-open", 3, stream_id=6),
        event("stream-on-destroy", 4, stream_id=6, err=0), event("stream-on-open", 3, stream_id=-4),
        event("debug-message", 5, function="f", line=1, message="m"), event("handshake-timeout", 6, elapsed=1),
        event("stateless-reset-receive", 6),
    ]  # fmt: skip
    alone = convert(events, "-c", "7")
    assert alone.header["trace"]["vantage_point"]["type"] == "client", "h2o as a proxy"
    assert plain(alone)[1:] == [
        (0, "transport:version_information", {"chosen_version": "00000001"}),
        (0, "transport:version_information", {"chosen_version": "ff00001d"}),
        (1, "transport:packet_dropped",
         {"trigger": "decryption_failure", "header": {"packet_type": "handshake"}, "raw": {"length": 77}}),
        (2, "recovery:loss_timer_updated", {"timer_type": "pto", "event_type": "expired"}),
        (2, "recovery:metrics_updated", {"pto_count": 1, "congestion_window": 8, "bytes_in_flight": 9}),
        (3, "transport:stream_state_updated", {"stream_id": 6, "stream_type": "unidirectional", "new": "open"}),
        (4, "transport:stream_state_updated", {"stream_id": 6, "stream_type": "unidirectional", "new": "destroyed"}),
        (6, "connectivity:connection_closed", {"trigger": "handshake_timeout"}),
        (6, "connectivity:connection_closed", {"trigger": "stateless_reset"}),
    ]  # fmt: skip


# --- incomplete traces ---------------------------------------------------------------------------------


def test_lost_events() -> None:
    """Events before and after a gap are not combined, and each connection gets a warning."""
    lost = {"type": "h2olog-event-lost", "time": BEGIN + 3, "lost": 12}
    events = [
        ACCEPT, {**ACCEPT, "conn": 8}, event("free", 0, 8),
        event("packet-prepare", 1, first_octet=64, dcid="aa"), stream_send(1, 0),
        event("receive", 1, first_octet=64, bytes_len=5, dcid="aa"), lost,
        event("packet-sent", 4, pn=3, len=9, packet_type=3, ack_only=0),
        event("packet-received", 5, pn=1, packet_type=3, decrypted_len=1), lost,
        event("stream-receive", 6, stream_id=0, off=0, data_len=4, is_fin=0), event("send", 7, state=1, dcid="aa"),
    ]  # fmt: skip
    result = run(QLOG, "-c", "7", text=lines_of(events))
    assert result.stderr == b"h2olog2qlog: 1 frame left out: the trace does not say in which packets they were sent\n"
    warning = {"message": "h2olog lost 12 events here, of this connection or others"}
    assert plain(read_qlog(result.stdout))[1:] == [
        (1, "generic:warning", warning),
        (4, "transport:packet_sent", {"header": {"packet_type": "1RTT", "packet_number": 3}, "raw": {"length": 9}}),
        (5, "transport:packet_received",
         {"header": {"packet_type": "1RTT", "packet_number": 1}, "raw": {"payload_length": 1}}),
        (5, "generic:warning", warning),
        (6, "transport:frames_processed",
         {"frames": [{"frame_type": "stream", "stream_id": 0, "offset": 0, "length": 4}]}),
    ]  # fmt: skip
    both = read_qlog(run(QLOG, text=lines_of(events)).stdout)
    assert [e["group_id"] for e in both.events if e["name"] == "generic:warning"] == ["7", "7"], "8 was gone"


@pytest.mark.parametrize(
    "kinds",
    [
        ("stream-send", "max-data-send"), ("stream-receive", "max-data-receive"), ("packet-acked",),
        ("ack-block-received",), ("packet-received", "packet-acked", "packet-lost", "cc-ack-received"),
        ("packet-sent", "stream-send"), ("packet-lost",),
    ],
)  # fmt: skip
def test_filtered_traces(kinds: tuple[str, ...]) -> None:
    """With -t, events are missing. Then nothing accumulates in memory, the order is right, and a message reports what
    was left out."""
    dice = make_dice(1)
    events = [ACCEPT]
    for n in range(20000):
        members = {"stream_id": 0, "off": n, "data_len": 1, "is_fin": 0, "maximum": n, "pn": n, "len": 9}
        members |= {"packet_type": 3, "ack_block_begin": n, "ack_block_end": n + 1, "cwnd": n, "inflight": n}
        events.append(event(dice.choice(kinds) if n < 19999 else kinds[0], n // 100, **members))
    process = subprocess.Popen(
        [sys.executable, "-B", str(QLOG)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(lines_of(events).encode(), timeout=120)
    qlog = read_qlog(out)
    told = sum(len(e["data"].get("frames", ())) for e in qlog.events)
    if "stream-send" in kinds and "packet-sent" not in kinds:
        assert told == 0 and b" frames left out: the trace does not say in which packets" in err
    else:
        assert err == b""
    if "stream-receive" in kinds:
        assert told == 20000
    if kinds == ("packet-lost",):
        assert [d["header"]["packet_type"] for d in qlog.data("recovery:packet_lost")] == ["1RTT"] * 20000


# --- connections ---------------------------------------------------------------------------------------


def two_connections() -> list[Event]:
    """Two mixed connections; the number 7 is used again."""
    events = [ACCEPT, {**ACCEPT, "conn": 8}]
    for n in range(50):
        for conn in (7, 8):
            events += [{**e, "conn": conn} for e in sent_2026(n, n, stream_send(n, 100 * n + conn))]
    events += [event("free", 60), event("conn-stats", 60), {**ACCEPT, "time": BEGIN + 70}]
    return events + sent_2026(80, 0, stream_send(80, 5))


def test_together() -> None:
    """One file has all connections. Each event has the group_id of its connection."""
    qlog = convert(two_connections())
    for group, base in (("7", 7), ("8", 8)):
        offsets = [f["offset"] for e in qlog.events if e["group_id"] == group for f in e["data"].get("frames", [])]
        assert offsets == [100 * n + base for n in range(50)]
    assert [e["time"] for e in qlog.events if e["group_id"] == "7.2"] == [70, 80]


@pytest.mark.parametrize("there", [True, False])
def test_apart(tmp_path: Path, there: bool) -> None:
    """One file per connection. Existing files are replaced."""
    folder = tmp_path / "qlog"
    if there:
        folder.mkdir()
        (folder / "7.sqlog").write_text("old")
    result = run(QLOG, "-o", folder if there else f"{folder}/", text=lines_of(two_connections()))
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    files = {file.name: read_qlog(file.read_bytes()) for file in folder.iterdir()}
    assert files.keys() == {"7.sqlog", "8.sqlog", "7.2.sqlog"}
    together = convert(two_connections())
    for name, qlog in files.items():
        group = name[: -len(".sqlog")]
        fields = qlog.header["trace"]["common_fields"]
        assert fields["group_id"] == group
        assert [e["data"] for e in qlog.events] == [e["data"] for e in together.events if e["group_id"] == group]
        assert (qlog.events[0]["time"], fields["reference_time"]) == (0, BEGIN + (70 if group == "7.2" else 0))
    alone = convert(two_connections(), "-c", "7.2")
    assert alone.events == files["7.2.sqlog"].events
    output = tmp_path / "x.sqlog"
    assert run(QLOG, "-c", "8", "-o", output, text=lines_of(two_connections())).stdout == b""
    assert read_qlog(output.read_bytes()).events == files["8.sqlog"].events


def twins() -> list[list[Event]]:
    """Two connections of two threads: quicly gives both the number 7, and both first paths the number 0."""
    connections = []
    for connection in (1, 2):
        own = [event("new-path", conn=0, path_index=0, remote=f"192.0.2.{connection}:443"), ACCEPT]
        for n in range(200):
            own += sent_2026(n, n, stream_send(n, 1000 * n + connection))
        own += [event("free", 300), event("conn-stats", 300)]
        connections.append(numbered(own, connection))
    return connections


def numbers_of(events: list[Event]) -> list[int]:
    return [e["data"]["header"]["packet_number"] for e in events if e["name"] == "transport:packet_sent"]


def test_two_clients(tmp_path: Path) -> None:
    """Two connections with the same number of quicly: each event is in the right file, and packets are in order."""
    events = of_two_clients(twins())
    qlog = convert(events)
    assert {e["group_id"] for e in qlog.events} == {"1", "2"}
    folder = tmp_path / "qlog"
    assert run(QLOG, "-o", f"{folder}/", text=lines_of(events)).stderr == b""
    assert {file.name for file in folder.iterdir()} == {"1.sqlog", "2.sqlog"}
    for connection in (1, 2):
        own = [e for e in qlog.events if e["group_id"] == str(connection)]
        assert numbers_of(own) == list(range(200))
        assert [f["offset"] for e in own for f in e["data"].get("frames", [])] == [
            1000 * n + connection for n in range(200)
        ]
        apart = read_qlog((folder / f"{connection}.sqlog").read_bytes())
        assert [e["data"] for e in apart.events] == [e["data"] for e in own]
        assert "Not certain" not in apart.header["description"] + qlog.header["description"]


def test_two_clients_by_h2olog_1(tmp_path: Path) -> None:
    """Traces of h2olog 1 do not distinguish the connections. The qlog and stderr say so. Nothing is left out."""
    events = without_connection(of_two_clients(twins()))
    result = run(QLOG, text=lines_of(events))
    assert result.returncode == 0
    assert b"h2olog2qlog: connections 7, 7.2 may have events of others" in result.stderr
    qlog = read_qlog(result.stdout)
    assert "Not certain: connections 7, 7.2 may have events of others" in qlog.header["description"]
    assert len(numbers_of(qlog.events)) == 400
    folder = tmp_path / "qlog"
    assert run(QLOG, "-o", f"{folder}/", text=lines_of(events)).stderr == result.stderr
    assert {file.name for file in folder.iterdir()} == {"7.sqlog", "7.2.sqlog"}
    for name in ("7", "7.2"):
        apart = read_qlog((folder / f"{name}.sqlog").read_bytes())
        assert f"Not certain: connection {name} may have events of others" in apart.header["description"]
        own = [e["data"] for e in qlog.events if e["group_id"] == name]
        assert [e["data"] for e in apart.events] == own and len(own) > 0
    output = tmp_path / "x.sqlog"
    assert run(QLOG, "-c", "7.2", "-o", output, text=lines_of(events)).stderr == result.stderr
    alone = read_qlog(output.read_bytes())
    assert "Not certain: connection 7.2 may" in alone.header["description"]
    assert [e["data"] for e in alone.events] == own
    # another connection is certain
    certain = [{**e, "conn": 8} for e in without_connection(twins()[0])]
    assert run(QLOG, "-c", "8", "-o", output, text=lines_of(events + certain)).returncode == 0
    assert "Not certain" not in read_qlog(output.read_bytes()).header["description"]


@pytest.mark.parametrize("apart", [True, False])
def test_two_traces(tmp_path: Path, apart: bool) -> None:
    """Two traces in a row: connection 1 of the second trace is another one, with and without an accept event."""
    second = numbered(sent_2026(80, 0, stream_send(80, 5)))
    first = numbered([ACCEPT, *sent_2026(1, 9, stream_send(1, 2)), *sent_2026(2, 10, stream_send(2, 3))])
    if apart:
        (tmp_path / "1").write_text(lines_of(first))
        (tmp_path / "2").write_text(lines_of([{**e, "seq": seq} for seq, e in enumerate(second, 2)]))
    else:
        (tmp_path / "1").write_text(lines_of(first) + lines_of(second))
        (tmp_path / "2").write_text("")
    result = run(QLOG, tmp_path / "1", tmp_path / "2")
    assert result.stderr == b""
    qlog = read_qlog(result.stdout)
    assert [numbers_of([e for e in qlog.events if e["group_id"] == name]) for name in ("1", "1.2")] == [[9, 10], [0]]


def test_memory_is_bounded_for_long_traces(tmp_path: Path) -> None:
    """Neither many short connections nor a long one fill the memory: 30 MB of events need at most 25 MB more than
    Python."""

    def measure(file: Path) -> int:
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen([sys.executable, "-B", str(QLOG), "-o", "/dev/null", str(file)], stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        return usage.ru_maxrss

    for name, rounds in (("little", 1), ("much", 15000)):
        with (tmp_path / name).open("w") as file:
            for n in range(rounds):
                events = [{**ACCEPT, "conn": n + 10}, event("free", 0, n + 10)]
                events += [*sent_2026(n, n, stream_send(n, n)), event("packet-acked", n, pn=n)] * 4
                file.writelines(json.dumps({"seq": 1, **e}) + "\n" for e in events)
    assert (tmp_path / "much").stat().st_size > 25_000_000
    assert measure(tmp_path / "much") - measure(tmp_path / "little") < 25_000


# --- errors --------------------------------------------------------------------------------------------


def test_hostile_members() -> None:
    """A member of an event can have any value. Only valid events are written."""
    dice = make_dice(7)
    odd: list[Any] = [None, "x", "", -1, 2**63, 0.5, [1], {"a": 1}, True, False]
    for _ in range(8):
        events = [dict(e) for trace in (trace_2020, trace_2026) for e in trace()]
        for e in events:
            for key in dice.sample(sorted(e), dice.randrange(3)):
                if key not in ("seq", "type", "time", "conn") or dice.random() < 0.02:
                    e[key] = dice.choice(odd)
        dice_order = sorted(range(len(events)), key=lambda n: n + dice.uniform(0, 8))
        result = run(QLOG, text=lines_of(events[n] for n in dice_order if dice.random() < 0.95))
        assert result.returncode == 0, result.stderr
        read_qlog(result.stdout)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the input is empty"),
        ("3 0 RxProtocol HTTP/3.0\n", "this is not what `h2olog quic` prints"),
        ('{"type":"h1-accept","seq":1,"conn-id":4,"time":5}\n', "there is no QUIC connection in this trace"),
    ],
)
def test_no_trace(tmp_path: Path, text: str, words: str) -> None:
    """There is a message, and no file."""
    output = tmp_path / "x.sqlog"
    result = run(QLOG, "-o", output, text=text)
    assert (result.returncode, result.stdout) == (1, b"") and not output.exists()
    assert result.stderr.decode().startswith(f"h2olog2qlog: {words}") and result.stderr.count(b"\n") == 1


def test_errors(tmp_path: Path) -> None:
    good = lines_of([ACCEPT])
    bad = run(QLOG, text=good + "nonsense\n" + good[:20])
    assert bad.returncode == 0
    assert bad.stderr == b"h2olog2qlog: 2 lines are not from h2olog and ignored; the first is line 2 of stdin\n"
    missing = run(QLOG, "-c", "9", text=good)
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert missing.stderr == b"h2olog2qlog: there is no connection 9 in this trace; quicplot -l lists them\n"
    for arguments in (["-x"], ["-c"]):
        usage = run(QLOG, *arguments, text=good)
        assert usage.returncode == 2 and usage.stderr.startswith(b"usage: h2olog2qlog")
    for output in (tmp_path / "none" / "x.sqlog", Path("/dev/full")):
        full = run(QLOG, "-o", output, text=good)
        assert full.returncode == 1 and full.stderr.startswith(b"h2olog2qlog: cannot write "), full.stderr
    with open("/dev/full", "wb") as file:
        full = subprocess.run(
            [sys.executable, "-B", str(QLOG)], input=good.encode(), stdout=file, stderr=subprocess.PIPE, timeout=60
        )
    assert full.returncode == 1 and full.stderr == b"h2olog2qlog: cannot write to stdout: No space left on device\n"


def test_broken_pipe() -> None:
    """`h2olog2qlog | head` is not an error, and ends soon."""
    process = subprocess.Popen(
        [sys.executable, "-B", str(QLOG)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        for n in range(10000):
            events = numbered([ACCEPT, event("stream-on-open", stream_id=n)] * 100)
            process.stdin.write(lines_of(events).encode())
            if n == 0:  # before the pipe is full
                process.stdout.close()
        pytest.fail("it went on reading")
    except BrokenPipeError:
        pass
    assert process.wait(60) == 0
    assert b"Error" not in process.stderr.read()
