"""The recipes of README, as they stand there: each runs, and shows something."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SLOWNESS, Server
from exchanges import Connection, Exchange
from support import Serve, recipes, run_recipe

# What happens on the server meanwhile, so that each recipe finds something: three QUIC connections, and HTTP/3 requests
# of the third one.
PATHS = [("/", 200), ("/app/z?q=1", 200), ("/api/orders?id=7", 503), ("/old", 404)]
HEADERS = [("user-agent", "curl/8.0"), ("cookie", "a=b"), ("x-request-id", "7"), ("x-tenant", "acme")]
ANSWERED = [("content-length", "13"), ("content-type", "text/html"), ("set-cookie", "a=b"), ("x-cache", "hit")]


def request(req: int, path: str, status: int) -> str:
    exchange = Exchange(1003, req, path, authority="www.example.com", scheme="https", version=0x300, headers=HEADERS)
    ends = f"h2o:h3s_stream_set_state conn_id=1003 req_id={req} state=7\n"
    ends += f"h2o:h3s_stream_stats conn_id=1003 stream_id={req} response_body_bytes=13\n"
    return exchange.answer(status, ANSWERED).fire() + ends


SCRIPT = "".join(
    f"quicly:accept conn={conn} at=now\nh2o:h3s_accept conn_id={1000 + conn} quic={conn}\n"
    f"quicly:packet_sent conn={conn} at=now pn=1 len=1200 packet_type=3\n"
    f"quicly:cc_ack_received conn={conn} at=now largest_acked=1 bytes_acked=1200 cwnd=14720 inflight=413\n"
    f"quicly:packet_lost conn={conn} at=now pn=1 packet_type=3\n"
    f"quicly:pto conn={conn} at=now inflight=1 cwnd=14720\n"
    for conn in (1, 2, 3)
)
SCRIPT += "".join(request(4 * nth, path, status) for nth, (path, status) in enumerate(PATHS))
SCRIPT += "".join(f"quicly:conn_stats conn={conn} at=now\nquicly:free conn={conn} at=now\n" for conn in (1, 2, 3))


def make_traffic(server: Server) -> None:
    client = Connection(server, 1)
    headers = [("User-Agent", "curl/8.0"), ("Cookie", "a=b"), ("X-Tenant", "acme"), ("X-Request-Id", "7")]
    for path in ("/", "/status/503", "/api/orders?id=7", f"/delay/{350 * SLOWNESS}", "/header/x-cache/4"):
        client.ask(path, headers=headers)
    client.ask("/index.html", "POST", headers, b"a body")
    client.close()
    server.play()


BLOCKS = recipes("Recipes")


def test_there_are_recipes() -> None:
    assert len(BLOCKS) >= 4 and sum("h2olog" in command for block in BLOCKS for command in block) >= 6


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_recipe(serve: Serve, tmp_path: Path, block: list[str]) -> None:
    """Those of a block one after another, in a folder. What writes a file with -w or -o shows nothing itself."""
    server = serve(script=SCRIPT)
    for command in block:
        files = {path: path.stat().st_size for path in tmp_path.iterdir() if path.is_file()}
        done = run_recipe(command, server, tmp_path, lambda: make_traffic(server))
        assert done.returncode == 0, done
        made = [path for path in tmp_path.iterdir() if path.is_file() and path.name != "h2olog.pid"]
        written = [path for path in made if path.stat().st_size > files.get(path, 0)]
        assert done.stdout != "" or written != [], done
