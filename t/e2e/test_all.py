"""`h2olog all`: every layer, each line with its provider and its thread."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import BUILD, VERSIONS, Server, Tracer
from support import Serve, Trace


def finish(tracer: Tracer) -> list[dict[str, Any]]:
    """Ends the tracer. Returns its events, whose numbers begin with 1 and have no gaps."""
    assert tracer.stop() == 0
    assert "lost" not in tracer.messages() and "malformed" not in tracer.messages()
    events = [json.loads(line) for line in tracer.lines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return events


def threads_of(server: Server) -> set[int]:
    return {int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()}


# A request from TLS to response, reduced to one event per step. An argument of each event is the thread.
REQUEST = {
    "2020-06": """
picotls:new tls=tid is_server=1
quicly:accept conn=7 at=tid dcid="ab"
picotls:client_random tls=tid bytes="0f"
quicly:crypto_update_secret conn=7 at=tid is_enc=1 epoch=2 label="L" secret="S"
picotls:new_secret tls=tid label="L" secret_hex="S"
quicly:crypto_handshake conn=7 at=tid ret=0
picotls:receive_message tls=tid message=1 bytes=x"0102" len=2 result=-3
h2o:h3_accept conn_id=tid quic=7
h2o:receive_request conn_id=tid req_id=1 http_version=768
h2o:send_response conn_id=tid req_id=1 status=200
quicly:packet_commit conn=7 at=tid pn=1 len=2 ack_only=0
h2o:h3_close conn_id=tid
picotls:free tls=tid
""",
    "2026-06": """
picotls:new tls=tid is_server=1
quicly:accept conn=7 at=tid dcid="ab"
picotls:client_random tls=tid bytes="0f"
quicly:crypto_update_secret conn=7 at=tid is_enc=1 epoch=2 label="L" secret="S"
picotls:new_secret tls=tid label="L" secret_hex="S"
picotls:ech_selection tls=tid is_ech=1
picotls:receive_message tls=tid message=1 bytes=x"0102" len=2 result=-3
h2o:h3s_accept conn_id=tid quic=7
h2o:receive_request conn_id=tid req_id=1 http_version=768
h2o:send_response conn_id=tid req_id=1 status=200
quicly:packet_sent conn=7 at=1 pn=tid len=2 packet_type=3
h2o:socket_writev sock=tid ret=-1
h2o:h3s_destroy conn_id=tid
picotls:free tls=tid
""",
}

WHERE_THE_TID_IS = ("tls", "pn", "conn-id", "sock", "time")


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_in_order(serve: Serve, trace: Trace, version: str) -> None:
    """Events of all three providers are printed in the order in which they happened."""
    script = REQUEST[version]
    fired = [line.split()[0] for line in script.split("\n") if line]
    server = serve(version, script=script)
    tracer = trace(server, "all")
    assert server.play() == (len(fired), 0)
    threads = threads_of(server)
    events = finish(tracer)
    assert [f"{event['provider']}:{event['type'].replace('-', '_')}" for event in events] == fired
    tids = {event["tid"] for event in events}
    assert len(tids) == 1 and tids <= threads
    for event in events:
        assert list(event)[:4] == ["type", "seq", "provider", "tid"]
        assert event["tid"] in [event[key] for key in WHERE_THE_TID_IS if key in event], event
    assert {event["provider"] for event in events} == {"h2o", "quicly", "picotls"}


def test_picotls_events(serve: Serve, trace: Trace) -> None:
    """Every probe of TLS, byte for byte except for thread and time."""
    server = serve("2026-06", script=REQUEST["2026-06"])
    tracer = trace(server, "all", "-a", "-t", "picotls:*")
    server.play()
    tid = finish(tracer)[0]["tid"]
    times = [json.loads(line)["time"] for line in tracer.lines()]
    assert times == sorted(times)
    begin = f'"provider":"picotls","tid":{tid},"tls":{tid},'
    assert tracer.lines() == [
        f'{{"type":"new","seq":1,{begin}"is-server":1,"time":{times[0]}}}',
        f'{{"type":"client-random","seq":2,{begin}"bytes":"0f","time":{times[1]}}}',
        f'{{"type":"new-secret","seq":3,{begin}"label":"L","time":{times[2]}}}',
        f'{{"type":"ech-selection","seq":4,{begin}"is-ech":1,"time":{times[3]}}}',
        f'{{"type":"receive-message","seq":5,{begin}"message":1,"bytes":"0102","len":2,"result":-3,"time":{times[4]}}}',
        f'{{"type":"free","seq":6,{begin}"time":{times[5]}}}',
    ]


def test_tid_is_that_of_the_thread(serve: Serve, trace: Trace) -> None:
    """With four threads at the same time, each event has the tid of its thread, and the events of a thread are in
    order."""
    script = "threads 4\nrepeat 500\n  quicly:packet_sent conn=thread at=1 pn=tid len=#\nend"
    server = serve("2026-06", script=script)
    tracer = trace(server, "all", "-t", "packet_sent")
    assert server.play() == (2000, 0)
    events = finish(tracer)
    assert len(events) == 2000
    assert len({event["tid"] for event in events}) == 4
    for event in events:
        assert event["tid"] == event["pn"]
    for number in (1, 2, 3, 4):
        assert [event["len"] for event in events if event["conn"] == number] == list(range(500))
        assert len({event["tid"] for event in events if event["conn"] == number}) == 1


def test_requests_of_two_threads(serve: Serve, trace: Trace) -> None:
    """Real requests: events of HTTP/1 have no conn, and one thread of the server fires all events of a request."""
    server = serve("2026-06", threads=2)
    tracer = trace(server, "all", "-t", "h2o:*")
    for _ in range(4):
        assert server.curl("/") == "Hello, world\n"
    threads = threads_of(server)
    events = finish(tracer)
    assert {event["provider"] for event in events} == {"h2o"}
    assert {event["tid"] for event in events} <= threads
    for number in (1, 2, 3, 4):
        request = [event for event in events if event["conn-id"] == number]
        types = [event["type"] for event in request]
        assert (types[0], types[-1]) == ("h1-accept", "h1-close")
        assert types.count("receive-request") == types.count("send-response") == 1
        assert len({event["tid"] for event in request}) == 1
        assert all("conn" not in event for event in request)


def test_tid_is_of_the_namespace_of_the_server(trace: Trace, tmp_path: Path) -> None:
    """In a PID namespace, as in a container, a thread has two ids. The id in the server's namespace is printed."""
    script = tmp_path / "script"
    script.write_text("quicly:packet_sent conn=1 at=1 pn=tid len=2\n")
    command = ["unshare", "--pid", "--fork", "--kill-child", BUILD / "t/standin/standin-2026-06", "--script", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert " pid 1 threads " in process.stdout.readline()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            pid = int(children)
            tracer = trace(SimpleNamespace(pid=pid), "all", "-t", "packet_sent")
            os.kill(pid, signal.SIGUSR1)
            assert process.stdout.readline().startswith("played 1 events, 0 not enabled")
            (event,) = finish(tracer)
        finally:
            process.kill()
    assert event["tid"] == event["pn"] < 10 < pid
