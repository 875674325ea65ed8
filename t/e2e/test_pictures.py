"""A whole download: the stand-in fires its events, h2olog traces them,
and misc/quicplot and misc/h2olog2qlog show it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from conftest import Server, Tracer

sys.path.insert(0, str(Path(__file__).parents[1] / "misc"))
from pictures import QLOG, QUICPLOT, Picture, changes, check_curve, read_qlog, run  # noqa: E402

BEGIN = 1795350191559
LENGTH = 1280
RTT = 20
PERIODS = 200  # per round trip
CONN = 3


class Round(NamedTuple):
    """The expected points of a round trip."""

    at: int
    window: int
    left: int  # in flight after the acknowledgement
    smoothed: int
    sent: int
    lost: int


class Download:
    """A sender in slow start, then in congestion avoidance. A packet is lost sometimes, and once all are lost."""

    def __init__(self, version: str, conn: str = str(CONN), packets: int = 10) -> None:
        self.conn = conn
        self.old = version == "2020-06"
        self.script: list[str] = []
        self.rounds: list[Round] = []
        self.number = 0
        self.in_flight: list[int] = []  # packet numbers
        self.timeouts: list[int] = []
        self.window = packets * LENGTH
        self.fire("accept", BEGIN, dcid='"00ff"')
        at = BEGIN
        for nth in range(PERIODS):
            at += RTT
            if nth == 100:
                at = self.time_out(at)
            lost = self.acknowledge(at, nth)
            sent = self.send(at)
            self.rounds.append(Round(at, self.window, self.left, RTT + nth % 7, sent, lost))
        self.end = at + 1000
        self.fire("free", self.end)

    def fire(self, probe: str, at: int, **members: object) -> None:
        words = [f"conn={self.conn}", f"at={at}", *(f"{key}={value}" for key, value in members.items())]
        self.script.append(f"quicly:{probe} {' '.join(words)}")

    def send_packet(self, at: int) -> None:
        self.fire("packet_prepare", at, first_octet=64, dcid='"aa"')
        length = "len" if self.old else "data_len"
        self.fire("stream_send", at, stream=0, off=self.number * 1200, **{length: 1200})
        if self.old:
            self.fire("packet_commit", at, pn=self.number, len=LENGTH)
            self.fire("quictrace_sent", at, pn=self.number, len=LENGTH, packet_type=3)
        else:
            self.fire("packet_sent", at, pn=self.number, len=LENGTH, packet_type=3)
        self.in_flight.append(self.number)
        self.number += 1

    def send(self, at: int) -> int:
        count = self.window // LENGTH - len(self.in_flight)
        for _ in range(count):
            self.send_packet(at)
        return max(count, 0)

    def time_out(self, at: int) -> int:
        """Three probe timeouts, each twice as late as the one before."""
        for nth in range(3):
            at += 100 << nth
            self.timeouts.append(at)
            size = len(self.in_flight) * LENGTH
            self.fire("pto", at, inflight=size, cwnd=self.window, pto_count=nth + 1)
            self.send_packet(at)
        return at + RTT

    def acknowledge(self, at: int, nth: int) -> int:
        """Acknowledges all packets in flight, except for the first packet of every tenth round."""
        acked, lost = self.in_flight, []
        if nth % 10 == 9:
            acked, lost = acked[1:], acked[:1]
        if acked:
            self.fire("receive", at, dcid='"aa"', bytes='x"41ff"', **{"num_bytes" if self.old else "bytes_len": 2})
            if self.old:
                self.fire("crypto_decrypt", at, pn=nth, decrypted_len=1)
                self.fire("quictrace_recv", at, pn=nth)
            else:
                self.fire("packet_received", at, pn=nth, decrypted_len=1, packet_type=3)
            block = "quictrace_recv_ack" if self.old else "ack_block_received"
            self.fire(block, at, ack_block_begin=acked[0], ack_block_end=acked[-1])
        for number in acked:
            self.fire("packet_acked", at, pn=number)
        for number in lost:
            self.fire("packet_lost", at, pn=number, **({} if self.old else {"packet_type": 3}))
            if self.old:
                self.fire("quictrace_lost", at, pn=number)
        self.window = self.window // 2 if lost else self.window + (self.window if nth < 5 else LENGTH)
        self.in_flight = []
        self.left = 0
        smoothed = RTT + nth % 7
        self.fire("quictrace_cc_ack", at, rtt=f"{RTT},{smoothed},1,{smoothed}", cwnd=self.window, inflight=0)
        self.fire("cc_ack_received", at, largest_acked=nth, bytes_acked=1, cwnd=self.window, inflight=0)
        return len(lost)


def traced(script: list[str], version: str, serve: Callable[..., Server], trace: Callable[..., Tracer]) -> str:
    """Returns the output of h2olog."""
    server = serve(version, script="\n".join(script))
    tracer = trace(server, "quic")
    assert server.play() == (len(script), 0)
    lines = tracer.wait_lines(len(script))
    assert tracer.stop() == 0
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("version", ["2020-06", "2026-06"])
def test_download(version: str, serve: Callable[..., Server], trace: Callable[..., Tracer]) -> None:
    download = Download(version)
    lines = traced(download.script, version, serve, trace)
    check_picture(download, lines, 1)
    check_qlog(download, lines, 1)


@pytest.mark.parametrize("version", ["2020-06", "2026-06"])
def test_two_downloads(version: str, serve: Callable[..., Server], trace: Callable[..., Tracer]) -> None:
    """Two clients at the same time with the same number in the server: a picture and a qlog of each."""
    downloads = [Download(version, f"{CONN}@a"), Download(version, f"{CONN}@b", 14)]
    if version == "2026-06":
        for which, download in zip("ab", downloads):
            remote = f'"192.0.2.{ord(which)}:443"'
            download.script.insert(0, f"quicly:new_path conn=0@{which} at={BEGIN} path_index=0 remote={remote}")
    longest = max(len(download.script) for download in downloads)
    script = [d.script[n] for n in range(longest) for d in reversed(downloads) if n < len(d.script)]
    lines = traced(script, version, serve, trace)
    for connection, download in zip((2, 1), downloads):
        picture = check_picture(download, lines, connection)
        address = f" with 192.0.2.{ord(download.conn[-1])}:443" if version == "2026-06" else ""
        assert f"QUIC connection {connection}{address}" in picture.texts
        check_qlog(download, lines, connection)
    result = run(QLOG, text=lines)
    assert (result.returncode, result.stderr) == (0, b"")
    assert {event["group_id"] for event in read_qlog(result.stdout).events} == {"1", "2"}


def check_picture(download: Download, lines: str, connection: int) -> Picture:
    result = run(QUICPLOT, "-c", str(connection), text=lines)
    assert (result.returncode, result.stderr) == (0, b"")
    picture = Picture(result.stdout)
    assert picture.says(f"QUIC connection {connection}")
    assert picture.says(f"sent in {download.number:,} packets")
    rounds = download.rounds
    check_curve(picture.steps("congestion-window"), changes([(r.at, r.window) for r in rounds], download.end))
    check_curve(picture.steps("smoothed-rtt"), changes([(r.at, r.smoothed) for r in rounds], download.end))
    check_curve(picture.steps("minimum-rtt"), changes([(rounds[0].at, RTT)], download.end))
    lost = sum(r.lost for r in rounds)
    assert lost == PERIODS // 10 and picture.says(f"packets lost: {lost}")
    assert len(picture.paths("packets-lost")) == lost  # never two within the width of a bar
    assert picture.says("probe timeouts (PTO): 3") and picture.marks("pto") == len(download.timeouts) == 3
    flight = picture.steps("bytes-in-flight")
    ys = [y for _, y in flight]
    assert min(ys) < min(y for _, y in picture.steps("congestion-window")) + LENGTH, "the window is filled"
    times = len({x for x, _ in flight})
    assert times == PERIODS + len(download.timeouts) + 1, "each round, each probe, and the end"
    assert sum(y == max(ys) for y in ys) == PERIODS, "all is acknowledged or lost once a round"
    return picture


def check_qlog(download: Download, lines: str, connection: int) -> None:
    result = run(QLOG, "-c", str(connection), text=lines)
    assert (result.returncode, result.stderr) == (0, b"")
    qlog = read_qlog(result.stdout)
    assert qlog.header["trace"]["common_fields"]["reference_time"] == BEGIN
    packets = qlog.data("transport:packet_sent")
    assert [p["header"] for p in packets] == [
        {"packet_type": "1RTT", "packet_number": number} for number in range(download.number)
    ]
    assert [p["frames"] for p in packets] == [
        [{"frame_type": "stream", "stream_id": 0, "offset": 1200 * number, "length": 1200}]
        for number in range(download.number)
    ]
    acked = [n for data in qlog.data("transport:packets_acked") for n in data["packet_numbers"]]
    lost = [data["header"]["packet_number"] for data in qlog.data("recovery:packet_lost")]
    assert len(lost) == PERIODS // 10
    assert sorted(acked + lost) == list(range(len(acked) + len(lost)))
    ranges = [r for frame in qlog.frames("transport:packet_received", "ack") for r in frame["acked_ranges"]]
    assert [n for r in ranges for n in range(r[0], r[-1] + 1)] == acked
    windows = [m["congestion_window"] for m in qlog.data("recovery:metrics_updated") if "congestion_window" in m]
    assert windows == [window for _, window in changes([(r.at, r.window) for r in download.rounds], 0)]
    expired = [e["time"] for e in qlog.events if e["name"] == "recovery:loss_timer_updated"]
    assert expired == [at - BEGIN for at in download.timeouts]
