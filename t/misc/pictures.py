"""Shared by the tests of misc/quicplot and misc/h2olog2qlog, and by t/e2e/test_pictures.py: traces, running the
programs, and parsing their output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterable, NamedTuple

TOP = Path(__file__).parents[2]
DATA = TOP / "t" / "data"
QUICPLOT = TOP / "misc" / "quicplot"
QLOG = TOP / "misc" / "h2olog2qlog"
SVG = "{http://www.w3.org/2000/svg}"

Event = dict[str, Any]


# --- traces --------------------------------------------------------------------------------------------


def lines_of(events: Iterable[Event]) -> str:
    """Returns events as lines of h2olog, each with a number."""
    return "".join(
        json.dumps({"type": event["type"], "seq": seq, **event}, separators=(",", ":")) + "\n"
        for seq, event in enumerate(events, 1)
    )


def trace_2020() -> list[Event]:
    """Returns the trace of a real server of 2020-06."""
    return read_lines((DATA / "trace-2020-06-quic.jsonl").read_text(encoding="utf-8"))


def trace_2026() -> list[Event]:
    """Returns the trace of a real server of 2026-06."""
    return read_lines((DATA / "trace-2026-06-quic.jsonl").read_text(encoding="utf-8"))


def trace_truth() -> list[Event]:
    """Returns what the logger of a server of 2026-06 wrote, with the names of h2olog instead of its own."""
    events = []
    for line in (DATA / "trace-2026-06-truth.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if said["module"] == "quicly":
            said["conn"] = said.pop("conn_id")
            event = {key.replace("_", "-"): int(v) if isinstance(v, bool) else v for key, v in said.items()}
            events.append({**event, "type": said["type"].replace("_", "-")})
    return events


def numbered(events: Iterable[Event], connection: int = 1) -> list[Event]:
    """Adds the `connection` of h2olog 2. Events without a connection stay unchanged."""
    return [{**event, "connection": connection} if "conn" in event else event for event in events]


def of_two_clients(connections: list[list[Event]]) -> list[Event]:
    """Mixes events as two threads do: the first path of the second connection, that of the first one, and so on."""
    longest = max(map(len, connections))
    return [own[n] for n in range(longest) for own in reversed(connections) if n < len(own)]


def without_connection(events: Iterable[Event]) -> list[Event]:
    """Returns the events as h2olog 1 printed them."""
    return [{key: value for key, value in event.items() if key != "connection"} for event in events]


def read_lines(text: str) -> list[Event]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


# --- programs ------------------------------------------------------------------------------------------


@lru_cache(maxsize=None)
def list_fonts() -> None:
    """Makes matplotlib list the fonts now.
    The first time, it does that, and prints a message if it takes five seconds."""
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], stderr=subprocess.DEVNULL, timeout=120)


def run(
    program: Path, *arguments: str | Path, text: str | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program with this text as stdin, and waits for its end."""
    if program == QUICPLOT:
        list_fonts()
    return subprocess.run(
        [sys.executable, "-B", str(program), *map(str, arguments)],
        input=(text or "").encode("utf-8", "surrogateescape"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=120, **more,
    )  # fmt: skip


# --- pictures ------------------------------------------------------------------------------------------


class Picture:
    """An SVG of quicplot."""

    def __init__(self, svg: bytes) -> None:
        self.root = xml.etree.ElementTree.fromstring(svg)
        assert self.root.tag == SVG + "svg"
        self.groups = {g.get("id", ""): g for g in self.root.iter(SVG + "g")}
        self.texts = ["".join(text.itertext()).strip() for text in self.root.iter(SVG + "text")]

    def paths(self, name: str) -> list[list[tuple[float, float]]]:
        """Returns the vertices of each path of a group. A path begins where the line is interrupted."""
        found: list[list[tuple[float, float]]] = []
        for path in self.groups[name].findall(SVG + "path"):
            for command, x, y in re.findall(r"([ML]) (-?[\d.]+) (-?[\d.]+)", path.get("d", "")):
                if command == "M":
                    found.append([])
                found[-1].append((float(x), float(y)))
        return found

    def steps(self, name: str) -> list[tuple[float, float]]:
        """Returns the points of a curve that holds a value until the next point."""
        points: list[tuple[float, float]] = []
        for path in self.paths(name):
            if len(path) % 2 == 0:  # until the line is interrupted
                assert path.pop()[1] == path[-1][1]
            assert all(a[1] == b[1] for a, b in zip(path[::2], path[1::2])), "a value is held"
            assert all(a[0] == b[0] for a, b in zip(path[1::2], path[2::2])), "and then another one"
            points += path[::2]
        return points

    def marks(self, name: str) -> int:
        return len(list(self.groups[name].iter(SVG + "use")))

    def says(self, words: str) -> bool:
        return any(words in text for text in self.texts)


def check_curve(points: list[tuple[float, float]], wanted: list[tuple[float, float]]) -> None:
    """Checks that points of a picture are those of the data, with one scale that is not upside down."""
    assert len(points) == len(wanted), (len(points), len(wanted))
    for axis, sign in ((0, 1), (1, -1)):
        drawn, values = [sign * point[axis] for point in points], [point[axis] for point in wanted]
        low, high = min(values), max(values)
        if low == high:
            assert max(drawn) - min(drawn) < 0.01
            continue
        scale = (max(drawn) - min(drawn)) / (high - low)
        for at, value in zip(drawn, values):
            assert abs((at - min(drawn)) - (value - low) * scale) < 0.01, (axis, value)


def changes(pairs: Iterable[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Returns the expected points of a curve: each changed value, and the last value up to the end."""
    kept: list[tuple[float, float]] = []
    for time, value in pairs:
        if not kept or kept[-1][1] != value:
            kept.append((time, value))
    if kept and kept[-1][0] < end:
        kept.append((end, kept[-1][1]))
    return kept


def stated(events: list[Event], *keys: str) -> list[tuple[float, float]]:
    """Returns the values that the server itself logged, in order."""
    return [(event["time"], event[key]) for event in events for key in keys if key in event]


def span(events: list[Event]) -> tuple[int, int]:
    """Returns the times of the first and the last event of a connection, without events of h2o, which have another
    clock."""
    times = [event["time"] for event in events if event["time"] and "conn-id" not in event]
    return times[0], max(times)


# --- qlog ----------------------------------------------------------------------------------------------


class Qlog(NamedTuple):
    """A file of h2olog2qlog."""

    header: Event
    events: list[Event]

    def data(self, name: str) -> list[Event]:
        return [event["data"] for event in self.events if event["name"] == name]

    def frames(self, name: str, frame_type: str) -> list[Event]:
        return [f for data in self.data(name) for f in data.get("frames", []) if f["frame_type"] == frame_type]


# Members that draft-ietf-quic-qlog-quic-events-04 requires, and members that it allows. An enumeration has the allowed
# values of a member.
NUMBER, TEXT, HEX, FLAG, ANY = "number", "text", "hex", "flag", "any"
PACKET = ({"header": "header"}, {"raw": "raw", "frames": "frames"})
EVENTS: dict[str, tuple[Event, Event]] = {
    "connectivity:connection_closed": (
        {},
        {
            "owner": ("local", "remote"), "connection_code": NUMBER, "application_code": NUMBER, "reason": TEXT,
            "trigger": ("idle_timeout", "handshake_timeout", "stateless_reset"),
        },
    ),
    "connectivity:connection_state_updated": (
        {"new": ("attempted", "handshake_confirmed", "closing", "draining", "closed")}, {},
    ),
    "transport:version_information": ({}, {"chosen_version": HEX}),
    "transport:packet_sent": PACKET,
    "transport:packet_received": PACKET,
    "transport:packet_dropped": ({}, {"header": "partial header", "raw": "raw", "trigger": ("decryption_failure",)}),
    "transport:packets_acked": (
        {}, {"packet_number_space": ("initial", "handshake", "application_data"), "packet_numbers": "numbers"},
    ),
    "transport:frames_processed": ({"frames": "frames"}, {}),
    "transport:stream_state_updated": (
        {"stream_id": NUMBER, "new": ("open", "destroyed")}, {"stream_type": ("unidirectional", "bidirectional")},
    ),
    "recovery:metrics_updated": (
        {},
        dict.fromkeys(
            ("min_rtt", "smoothed_rtt", "latest_rtt", "rtt_variance", "pto_count", "congestion_window",
             "bytes_in_flight"), NUMBER,
        ),
    ),
    "recovery:loss_timer_updated": ({"event_type": ("expired",)}, {"timer_type": ("pto",)}),
    "recovery:packet_lost": ({}, {"header": "header"}),
    "generic:warning": ({}, {"message": TEXT}),
}  # fmt: skip

STREAM_TYPE = ("unidirectional", "bidirectional")
FRAMES: dict[str, tuple[Event, Event]] = {
    "ack": ({}, {"acked_ranges": "ranges"}),
    "ack_frequency": ({}, {}),
    "connection_close": (
        {}, {"error_space": ("transport", "application"), "error_code": NUMBER, "reason": TEXT,
             "trigger_frame_type": NUMBER},
    ),
    "crypto": ({"offset": NUMBER, "length": NUMBER}, {}),
    "data_blocked": ({"limit": NUMBER}, {}),
    "datagram": ({}, {"length": NUMBER}),
    "handshake_done": ({}, {}),
    "immediate_ack": ({}, {}),
    "max_data": ({"maximum": NUMBER}, {}),
    "max_stream_data": ({"stream_id": NUMBER, "maximum": NUMBER}, {}),
    "max_streams": ({"stream_type": STREAM_TYPE, "maximum": NUMBER}, {}),
    "new_connection_id": (
        {"sequence_number": NUMBER, "retire_prior_to": NUMBER, "connection_id": HEX}, {"stateless_reset_token": HEX},
    ),
    "new_token": ({"token": "token"}, {}),
    "path_challenge": ({}, {"data": HEX}),
    "path_response": ({}, {"data": HEX}),
    "ping": ({}, {}),
    "reset_stream": ({"stream_id": NUMBER, "error_code": NUMBER, "final_size": NUMBER}, {}),
    "retire_connection_id": ({"sequence_number": NUMBER}, {}),
    "stop_sending": ({"stream_id": NUMBER, "error_code": NUMBER}, {}),
    "stream": ({"stream_id": NUMBER, "offset": NUMBER, "length": NUMBER}, {"fin": FLAG}),
    "stream_data_blocked": ({"stream_id": NUMBER, "limit": NUMBER}, {}),
    "streams_blocked": ({"stream_type": STREAM_TYPE, "limit": NUMBER}, {}),
}  # fmt: skip

STRUCTS: dict[str, tuple[Event, Event]] = {
    "header": (
        {"packet_type": ("initial", "handshake", "0RTT", "1RTT", "retry", "unknown"), "packet_number": NUMBER},
        {"dcid": HEX},
    ),
    "partial header": ({"packet_type": ("initial", "handshake", "0RTT", "1RTT", "retry")}, {}),
    "raw": ({}, {"length": NUMBER, "payload_length": NUMBER}),
    "token": ({}, {"raw": "raw"}),
}


def check_members(value: Any, rules: tuple[Event, Event], where: str) -> None:
    assert type(value) is dict, where
    required, optional = rules
    assert required.keys() <= value.keys(), f"{where} lacks {required.keys() - value.keys()}"
    assert value.keys() <= required.keys() | optional.keys(), f"{where} has {value.keys()}"
    for key, member in value.items():
        check_value(member, {**required, **optional}[key], f"{where}.{key}")


def check_value(value: Any, rule: Any, where: str) -> None:
    if isinstance(rule, tuple):
        assert value in rule, f"{where} is {value}"
    elif rule in STRUCTS:
        check_members(value, STRUCTS[rule], where)
    elif rule == "frames":
        assert type(value) is list, where
        for frame in value:
            check_members({k: v for k, v in frame.items() if k != "frame_type"}, FRAMES[frame["frame_type"]], where)
    elif rule == "ranges":
        assert value and all(r == sorted(r) and len(set(r)) == len(r) in (1, 2) for r in value), where
    else:
        assert {
            NUMBER: lambda: type(value) is int and value >= 0,
            TEXT: lambda: type(value) is str,
            FLAG: lambda: value is True,  # false is left out
            HEX: lambda: type(value) is str and re.fullmatch("([0-9a-f]{2})*", value),
            "numbers": lambda: value and all(type(n) is int and n >= 0 for n in value),
        }[rule](), f"{where} is {value}"


def read_qlog(text: bytes) -> Qlog:
    """Reads a JSON text sequence (RFC 7464), and checks it against the drafts and the needs of qvis."""
    assert text.startswith(b"\x1e") and text.endswith(b"\n")
    records = text.decode("ascii").split("\x1e")[1:]
    assert all(record.endswith("\n") and record.count("\n") == 1 for record in records)
    header, *events = map(json.loads, records)
    assert (header["qlog_version"], header["qlog_format"]) == ("0.3", "JSON-SEQ")
    assert header.keys() == {"qlog_version", "qlog_format", "title", "description", "trace"}
    trace = header["trace"]
    assert trace.keys() == {"title", "vantage_point", "common_fields"}
    assert trace["vantage_point"] in ({"name": "h2olog", "type": side} for side in ("server", "client"))
    common = trace["common_fields"]
    assert common["protocol_type"] == ["QUIC"] and common["time_format"] == "relative"
    assert type(common["reference_time"]) is int
    assert events, "qvis needs one"
    check_events(events, grouped="group_id" not in common)
    return Qlog(header, events)


def check_events(events: list[Event], grouped: bool) -> None:
    last: dict[str, int] = {}
    for event in events:
        assert event.keys() == {"time", "name", "data"} | ({"group_id"} if grouped else set())
        group = event.get("group_id", "")
        assert type(group) is str
        assert type(event["time"]) is int and event["time"] >= last.get(group, 0), "in the order of time"
        last[group] = event["time"]
        check_members(event["data"], EVENTS[event["name"]], event["name"])
        if event["name"] in ("recovery:metrics_updated", "transport:frames_processed"):
            assert event["data"]
