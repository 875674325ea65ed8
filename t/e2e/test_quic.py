"""QUIC events as JSON: every field of every probe of two versions of h2o, the traces of real servers, ties.

The expected output is computed here, from the declarations in t/data/probes.json and the rules of the JSON printer.
This model is independent of misc/gen_quic_bpf.py.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple

import pytest
from conftest import DATA, SLOWNESS, VERSIONS, Probe, Server, Tracer, probes_of, wait_until
from support import Serve, Trace

# A value in a script: a number, text or bytes, an address, NULL, the content of a quicly_rtt_t.
Value = Any
# A JSON object, in the order of its keys.
Pairs = list[tuple[str, Any]]

INTEGERS = {
    "int8_t": (1, True), "uint8_t": (1, False), "uint16_t": (2, False), "uint32_t": (4, False), "int64_t": (8, True),
    "uint64_t": (8, False), "int": (4, True), "unsigned": (4, False), "size_t": (8, False), "ssize_t": (8, True),
}  # fmt: skip
TEXT = "const char *"
BYTES = ("const void *", "uint8_t *")
CONN, STREAM, RTT = "struct st_quicly_conn_t *", "struct st_quicly_stream_t *", "struct quicly_rtt_t *"
ADDRESS, STATS = "struct sockaddr *", "struct st_quicly_stats_t *"
# Printed as integers, because they identify objects.
OPAQUE = ("struct st_h2o_socket_t *", "struct st_ptls_t *", "struct st_h2o_io_uring_cmd_t *")
# Private to the server, not printed.
PRIVATE = (
    "struct st_h2o_conn_t *", "struct st_quicly_address_token_plaintext_t *", "struct st_h2o_iovec_t *", "void *",
)  # fmt: skip

FACTS = json.loads((DATA / "probes.json").read_text(encoding="utf-8"))
SECRETS = {
    (f"{p['provider']}:{p['probe']}", name)
    for p in FACTS["probes"]
    for _, name in p["args"]
    if name.startswith("secret")
}
HEADERS = ("h2o:receive_request_header", "h2o:send_response_header")
APPLICATION_DATA = {
    (probe, name) for probe, names in FACTS["appdata"].items() for name in names if probe not in HEADERS
} - SECRETS | {
    ("h2o:h3_frame_receive", "base"),
    ("h2o:h3_packet_receive", "base"),
    ("h2o:h3_packet_receive", "bytes"),
    ("picotls:receive_message", "bytes"),
    ("quicly:crypto_decrypt", "decrypted"),
    ("quicly:new_connection_id_receive", "stateless_reset_token"),
    ("quicly:new_connection_id_send", "stateless_reset_token"),
    ("quicly:stream_receive", "data"),
    ("quicly:stream_send", "data"),
}  # fmt: skip
# Declared as bytes, but text: picotls passes hex.
HEX_TEXT = {("picotls:client_random", "bytes")}
# h2o passes these as int, although it declares size_t (PASSED_AS in t/gen_standin.py).
PASSED_AS_INT = {
    (f"quicly:path_{what}_{way}", "bytes_len") for what in ("challenge", "response") for way in ("receive", "send")
}

ACCEPTS = ("h2o:h3_accept", "h2o:h3s_accept")
CLOSES = ("h2o:h3_close", "h2o:h3s_destroy")
# Probes that tell that a connection of quicly begins or ends. They are traced even if they are not printed.
BEGINS = ("quicly:accept", "quicly:connect")
LIVES = (*BEGINS, "quicly:free")
# The probes of h2o that `quic` traces.
QUIC_OF_H2O = (*ACCEPTS, *CLOSES, "h2o:send_response_header")

# How much of a value is captured: the name of a header, text or bytes with a length, NUL-terminated text.
NAME_MAX, TEXT_MAX, STRING_MAX = 256, 4096, 1023

NOW = object()  # the wall-clock time at which the event happened


class StatsField(NamedTuple):
    """A field of struct st_quicly_stats_t."""

    key: str
    offset: int
    width: int
    is_signed: bool

    def value(self, data: bytes) -> int:
        return int.from_bytes(data[self.offset : self.offset + self.width], "little", signed=self.is_signed)

    def put(self, data: bytearray, value: int) -> None:
        data[self.offset : self.offset + self.width] = value.to_bytes(self.width, "little", signed=self.is_signed)


# A layout: the size of the struct, and the date since when h2o had it.
Layout = tuple[int, str]
NEWEST: Layout = (1032, "2026-06-04")


@functools.cache
def stats_layouts() -> dict[Layout, list[StatsField]]:
    layouts: dict[Layout, list[StatsField]] = {}
    for line in (DATA / "conn-stats-layouts.tsv").read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("#"):
            size, since, _, key, offset, width, is_signed = line.split("\t")
            field = StatsField(key, int(offset), int(width), is_signed == "1")
            layouts.setdefault((int(size), since), []).append(field)
    assert len(layouts) == 17 and len(layouts[NEWEST]) == 125
    return layouts


# --- the model: the expected output of an event --------------------------------------------------------


@dataclass
class Firing:
    """A line of a script: a probe, and the values of its arguments. Missing ones are 0 or NULL."""

    probe: Probe
    values: dict[str, Value]

    def script(self) -> str:
        types = {name: type_ for type_, name in self.probe.arguments}
        return " ".join([self.probe.full_name, *(f"{n}={spell(types[n], v)}" for n, v in self.values.items())])


def spell(type_: str, value: Value) -> str:
    """Returns a value as scripts of the stand-in have it."""
    if value is None:
        return "NULL"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bytes) and type_ != TEXT:
        return f'x"{value.hex()}"'
    if isinstance(value, (str, bytes)):
        if isinstance(value, str) and value.startswith("ptr:"):
            return value
        data = value.encode() if isinstance(value, str) else value
        return '"' + "".join(chr(b) if 0x20 <= b < 0x7F and b not in b'"\\' else f"\\x{b:02x}" for b in data) + '"'
    return str(value)


def key_of(name: str) -> str:
    return {"at": "time", "num_bytes": "bytes-len"}.get(name, name.replace("_", "-"))


def counter_of(probe: Probe, type_: str, name: str) -> str | None:
    """Returns the argument with the length of another one."""
    names = [argument for _, argument in probe.arguments]
    wanted = (f"{name}_len",) if type_ == TEXT else (f"{name}_len", f"num_{name}", "len")
    return next((w for w in wanted if w in names), None)


def is_text(probe: Probe, type_: str, name: str) -> bool:
    return type_ == TEXT or (probe.full_name, name) in HEX_TEXT


def captured(firing: Firing, type_: str, name: str) -> tuple[bytes, bool]:
    """Returns the captured part of text or bytes, and whether it is truncated."""
    value = firing.values.get(name) or b""
    counter = None if (firing.probe.full_name, name) in HEX_TEXT else counter_of(firing.probe, type_, name)
    if counter is None:
        return value.split(b"\0")[0][:STRING_MAX], False
    length, limit = firing.values.get(counter, 0), NAME_MAX if name == "name" else TEXT_MAX
    assert len(value) >= min(length, limit), "the script has nothing there"
    return value[: min(length, limit)], length > limit


def text_of(data: bytes, is_cut: bool) -> str:
    """Returns bytes as JSON has them. A truncated character is left out."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data, not is_cut)


def word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def can_be(data: bytes, layout: Layout) -> bool:
    """Whether the values of a struct allow a layout. The struct has no pointer."""
    if layout[0] == 544:  # rtt.minimum, or the upper half of num-ptos
        return (word(data, 444) != 0) == (layout[1] == "2020-09-08")
    return layout != (936, "2024-07-28") or word(data, 780) != 0  # cc.ssthresh


def stats_of(data: bytes | None, size: int) -> Pairs:
    """Returns the fields that all possible layouts of the struct have in common."""
    if data is None:
        return []
    layouts = [fields for layout, fields in stats_layouts().items() if layout[0] == size and can_be(data, layout)]
    return [(f.key, f.value(data)) for f in layouts[0] if all(f in other for other in layouts)] if layouts else []


def field_of(firing: Firing, type_: str, name: str) -> Pairs:
    """Returns the printed values of an argument."""
    probe, value = firing.probe, firing.values.get(name)
    if type_ in INTEGERS or type_ in OPAQUE:
        return [(key_of(name), value or 0)]
    if type_ == CONN:
        return [] if probe.provider == "h2o" else [("conn", value or 0)]
    if type_ == STREAM:
        return [("stream-id", value or 0)]
    if type_ == RTT:
        return list(zip(("min-rtt", "smoothed-rtt", "variance-rtt", "latest-rtt"), value or (0, 0, 0, 0)))
    if type_ == ADDRESS:
        return [(key_of(name), value or "")]
    if type_ == STATS:
        return stats_of(value, firing.values.get("size", 0))
    if probe.full_name == "quicly:receive" and name == "bytes":
        return [("first-octet", value[0] if value else 0)]
    assert type_ in (TEXT, *BYTES), type_
    data, is_cut = captured(firing, type_, name)
    return [(key_of(name), text_of(data, is_cut) if is_text(probe, type_, name) else data.hex())]


def fields_of(firing: Firing, application_data: bool) -> Pairs:
    fields: Pairs = []
    for type_, name in firing.probe.arguments:
        argument = (firing.probe.full_name, name)
        if type_ not in PRIVATE and argument not in SECRETS and (application_data or argument not in APPLICATION_DATA):
            fields += field_of(firing, type_, name)
    return fields


@dataclass
class Connection:
    """h2olog's data of a connection of quicly."""

    number: int | None = None  # from its first line on
    has_begun: bool = False
    has_ended: bool = False


class Model:
    """Computes the lines of h2olog for events in order."""

    def __init__(self, mode: str, application_data: bool = False, chosen: tuple[str, ...] = ()) -> None:
        self.mode, self.application_data = mode, application_data
        self.chosen = chosen  # by -t
        self.ties: dict[int, int] = {}
        self.connections: dict[int, Connection] = {}  # by object: the stand-in has one for each number
        self.numbered = 0
        self.seq = 0

    def is_wanted(self, probe: Probe) -> bool:
        if self.chosen or self.mode == "all":
            return not self.chosen or probe.full_name in self.chosen
        return (
            probe.full_name in QUIC_OF_H2O if probe.provider == "h2o"
            else probe.provider == "quicly" and probe.name != "debug_message"
        )  # fmt: skip

    def connection_of(self, firing: Firing) -> Connection | None:
        """Returns the connection of an event. Events can follow its end. A second begin or end belongs to another
        connection."""
        probe, values = firing.probe, firing.values
        if probe.provider != "quicly":
            object_ = self.ties.get(values.get("conn_id", 0)) if probe.provider == "h2o" else None
        else:
            object_ = values["conn"]
        if object_ is None:
            return None
        connection = self.connections.setdefault(object_, Connection())
        is_first_path = probe.full_name == "quicly:new_path" and values["path_index"] == 0
        if (
            is_first_path
            or (probe.full_name in BEGINS and (connection.has_begun or connection.has_ended))
            or (probe.full_name == "quicly:free" and connection.has_ended)
        ):
            connection = self.connections[object_] = Connection()
        connection.has_begun |= probe.full_name in BEGINS
        connection.has_ended |= probe.full_name == "quicly:free"
        return connection

    def end_of(self, firing: Firing) -> Pairs:
        """Returns the members that follow the arguments."""
        probe, end = firing.probe, []
        names = [name for _, name in probe.arguments]
        if probe.provider == "h2o" and "conn_id" in names:
            conn_id = firing.values.get("conn_id", 0)
            if probe.full_name in ACCEPTS:
                self.ties[conn_id] = firing.values["quic"]
            if conn_id in self.ties:
                end.append(("conn", self.ties[conn_id]))
        if "at" not in names:
            end.append(("time", NOW))
        return end

    def print(self, firing: Firing) -> Pairs | None:
        probe = firing.probe
        end = self.end_of(firing)
        is_of_http3 = probe.provider != "h2o" or probe.full_name in CLOSES or end[0][0] == "conn"
        is_printed = self.is_wanted(probe) and (self.mode != "quic" or is_of_http3)
        connection = self.connection_of(firing) if is_printed or probe.full_name in LIVES else None
        if probe.full_name in CLOSES:
            self.ties.pop(firing.values.get("conn_id", 0), None)
        if not is_printed:
            return None
        if connection is not None:
            if connection.number is None:
                self.numbered += 1
                connection.number = self.numbered
            end.append(("connection", connection.number))
        self.seq += 1
        begin: Pairs = [("type", firing.probe.name.replace("_", "-")), ("seq", self.seq)]
        if self.mode == "all":
            begin += [("provider", firing.probe.provider), ("tid", None)]
        return begin + fields_of(firing, self.application_data) + end


# --- values that show mistakes -------------------------------------------------------------------------

ALL_BYTES = bytes(range(256))
HOSTILE = (
    b"\"\\/\b\f\n\r\t\x1b[2J\x7f \xc2\x80\xc2\x85\xc2\x9b\xc2\xa0 \xe2\x80\xa8\xe2\x80\xa9 \xef\xbf\xbe "
    b"\xf0\x9f\x98\x80 "
    b"\xc0\x80 \xc1\xbf \xe0\x80\x80 \xe0\x9f\xbf \xed\xa0\x80 \xed\xbf\xbf \xf0\x80\x80\x80 \xf4\x90\x80\x80 \xf5\x80 "
    b"\xfe \xff \x80 \xbf \xe2\x82 \xf0\x9f \xf0\x9f\x98 \xe2\x28\xa1 \xf0\x28\x8c\x28 </script> \\u0000 "
    b"\\n %s " + ALL_BYTES[1:]
)
CUT_SHORT = (b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0", b"\xe2", b"ok \xed\xa0")

# Variants of numbers, and of text and bytes.
NUMBERS = ("small", "wide", "max", "min", "minus", "zero")
TEXTS = ("hostile", "cut short", "one less", "limit", "one more", "many more", "split")


def pattern(length: int, tag: str) -> bytes:
    """Returns text whose parts show their position."""
    return "".join(f"{tag}{k:x}." for k in range(length))[:length].encode()


def integer(type_: str, variant: str, place: int, salt: int) -> int:
    """Returns a different value for each argument."""
    width, is_signed = INTEGERS[type_]
    bits = 8 * width
    if variant == "wide":
        octets = bytes((salt * 31 + place * 17 + k * 29 + 3) % 256 for k in range(width))
        return int.from_bytes(octets, "little", signed=is_signed)
    if variant == "max":
        return (1 << (bits - is_signed)) - 1
    if variant == "min":
        return -(1 << (bits - 1)) if is_signed else 1 << (bits - 1)
    if variant == "minus":
        return -1 - place if is_signed else (1 << bits) - 1 - place
    return 0 if variant == "zero" else (salt * 13 + place * 7) % 100 + 1


def address(variant: str, place: int, salt: int) -> str:
    port = (salt * 257 + place * 4099 + 1) % 65536
    hosts = {
        "small": f"192.0.2.{place + 1}", "wide": f"2001:db8:{salt:x}::{place + 1:x}", "max": "255.255.255.255",
        "min": "::1", "minus": ":".join(["ffff"] * 8), "zero": "0.0.0.0", "hostile": "::ffff:10.9.8.7", "limit": "::",
    }  # fmt: skip
    host = hosts.get(variant, f"10.{salt % 256}.{place}.1")
    if ":" not in host:
        return f"{host}:{0 if variant == 'zero' else port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))}]:{port}"


def stats(layout: Layout, variant: str, salt: int) -> bytes:
    """Returns a struct with a different value in each field, and nothing between them."""
    data = bytearray(b"\xee" * max(layout[0], 64))
    for place, field in enumerate(stats_layouts().get(layout, [])):
        type_ = f"{'' if field.is_signed else 'u'}int{8 * field.width}_t"
        field.put(data, integer(type_, variant, place, salt))
    return bytes(data)


def text(variant: str, limit: int, is_counted: bool, tag: str) -> tuple[bytes | None, int | None]:
    """Returns text and its length; None if the variant of the number determines it."""
    lengths = {"one less": limit - 1, "limit": limit, "one more": limit + 1, "many more": 3 * limit}
    if variant in lengths:
        data = pattern(lengths[variant], tag)
    elif variant == "hostile":
        data = (HOSTILE + (b"\0" + ALL_BYTES[::-1] if is_counted else b""))[:limit]
    elif variant == "cut short":
        data = tag.encode() + CUT_SHORT[len(tag) % len(CUT_SHORT)]
    elif variant == "split":  # a character that the limit cuts, if the length shows that it is truncated
        data = pattern(limit - 1 - len(tag) % 2, tag) + "\u20ac".encode() if is_counted else tag.encode() * 3
    elif variant == "wide":
        data = f"{tag} \u00e4\u00f6\u00fc \u20ac \u65e5\u672c \U0001f600".encode()
    elif variant in ("max", "minus"):
        return pattern(limit + 77, tag), None
    elif variant == "zero":
        return None, 0
    else:
        data = b"x" if variant == "min" and is_counted else b"" if variant == "min" else tag.encode()
    return data, len(data)


def octets(variant: str, tag: str) -> tuple[bytes | None, int | None]:
    """The same of bytes."""
    if variant in ("one less", "limit", "one more", "many more", "max", "minus", "zero", "small"):
        return text(variant, TEXT_MAX, True, tag)
    data = b"\0" if variant == "min" else ALL_BYTES + tag.encode() + ALL_BYTES[::-1]
    return data, len(data)


def make_firing(probe: Probe, variant: str, salt: int) -> Firing:
    """Returns a different value for each argument."""
    values: dict[str, Value] = {}
    number = variant if variant in NUMBERS else "small"
    for place, (type_, name) in enumerate(probe.arguments):
        tag = f"{probe.name}/{name}/{salt}/"
        counter = counter_of(probe, type_, name)
        if type_ in INTEGERS:
            values.setdefault(name, integer(type_, number, place, salt))
        elif type_ == CONN:
            values[name] = integer("uint32_t", number, place, salt)
        elif type_ == STREAM:
            values[name] = integer("int64_t", number, place, salt)
        elif type_ == RTT:
            values[name] = tuple(integer("uint32_t", number, place + 3 * nth, salt) for nth in range(4))
        elif type_ == ADDRESS:
            values[name] = address(variant, place, salt)
        elif type_ in OPAQUE or type_ in PRIVATE:
            values[name] = integer("uint64_t", number, place, salt)
        elif type_ == STATS:
            layout = {"small": (936, "2024-07-28"), "wide": NEWEST}.get(variant, (0, ""))
            values[name] = stats(layout, variant, salt) if variant != "zero" else None
            if layout[0] != 0:
                values["size"] = layout[0]
        elif (probe.full_name, name) in SECRETS:
            values[name] = b"TOP SECRET " + tag.encode()
        elif probe.full_name == "quicly:receive" and name == "bytes":
            values[name] = bytes([integer("uint8_t", number, place, salt)]) + tag.encode()
        elif is_text(probe, type_, name):
            is_counted = counter is not None and type_ == TEXT
            limit = NAME_MAX if name == "name" else TEXT_MAX if is_counted else STRING_MAX
            values[name], length = text(variant, limit, is_counted, tag)
            if is_counted and length is not None:
                values[counter] = length
        else:
            assert counter is not None, (probe, name)
            values[name], length = octets(variant, tag)
            if length is not None:
                values[counter] = length
    for name in values:
        if (probe.full_name, name) in PASSED_AS_INT and 1 << 31 <= values[name] < (1 << 64) - (1 << 31):
            values[name] &= (1 << 31) - 1
            values[name] = values[name] or 1 << 30
    return Firing(probe, {name: values[name] for _, name in probe.arguments})


def variants_of(probe: Probe) -> Iterable[str]:
    return NUMBERS + (TEXTS if any(type_ in (TEXT, ADDRESS, *BYTES) for type_, _ in probe.arguments) else ())


def make_firings(version: str) -> list[Firing]:
    """Returns every probe with every kind of values, and those of h2o also for a tied connection."""
    probes, firings = probes_of(version), []
    accept = next(probe for probe in probes if probe.full_name in ACCEPTS)
    for salt, probe in enumerate(probes):
        for nth, variant in enumerate(variants_of(probe)):
            firing = make_firing(probe, variant, salt + 7 * nth)
            if probe.provider == "h2o" and "conn_id" in firing.values and variant in ("small", "min", "max"):
                tie = {"conn_id": firing.values["conn_id"], "quic": integer("uint32_t", "wide", nth, salt)}
                firings.append(Firing(accept, tie))
            firings.append(firing)
        if any(type_ == STATS for type_, _ in probe.arguments):
            for layout in (*stats_layouts(), *((size, "") for size in (0, 1, 143, 145, 935, 937, 1031, 1033, 4096))):
                for variant in ("small", "max", "min", "minus", "zero")[: 5 if layout[1] else 1]:
                    values = {"conn": 3, "at": 4, "stats": stats(layout, variant, salt), "size": layout[0]}
                    firings.append(Firing(probe, values))
            for layout in ((936, "2024-07-28"), NEWEST):  # the same in its lower half
                values = {"conn": 3, "at": 4, "stats": stats(layout, "small", salt), "size": layout[0] | 1 << 32}
                firings.append(Firing(probe, values))
    return firings


# --- the output ----------------------------------------------------------------------------------------


def no_key_twice(pairs: Pairs) -> Pairs:
    assert len({key for key, _ in pairs}) == len(pairs), f"a key appears twice: {pairs}"
    return pairs


def check_bytes(data: bytes) -> list[str]:
    """Checks for complete lines of UTF-8 without control characters, whatever the server has."""
    assert data == b"" or data.endswith(b"\n")
    printed = data.decode("utf-8")
    control = re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
    assert control is None, repr(printed[max(0, control.start() - 200) : control.end()])
    return printed.split("\n")[:-1]


def finish(tracer: Tracer) -> list[str]:
    """Ends the tracer. Returns its lines. Checks that nothing was lost and no problem was reported."""
    assert tracer.stop() == 0
    for line in tracer.messages().splitlines():
        assert re.match(r"\S+ Attaching: |this server lacks|\S+ [\d.]+ events/s, 0 lost$", line), line
    return check_bytes(tracer.out.read_bytes())


def parse(lines: list[str]) -> list[Pairs]:
    return [json.loads(line, object_pairs_hook=no_key_twice) for line in lines]


def play(server: Server, count: int, not_enabled: int = 0) -> tuple[float, float]:
    """Plays the script. Returns the time before and after, in milliseconds since the epoch."""
    begin = time.time() * 1000
    assert server.play() == (count, not_enabled)
    return begin, time.time() * 1000


def compare(lines: list[str], expected: list[Pairs], span: tuple[float, float], server: Server) -> None:
    """Compares line by line, with the order of keys. `tid` and times must be those of the firing."""
    threads = {int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()}
    for line, found, wanted in zip(lines, parse(lines), expected):
        values = dict(found)
        for key, value in wanted:
            if key == "tid":
                assert values.get(key) in threads, line
            elif value is NOW:
                assert isinstance(values.get(key), int) and span[0] - 1000 <= values[key] <= span[1] + 1000, line
        wanted = [(k, values.get(k) if k == "tid" or v is NOW else v) for k, v in wanted]
        assert found == wanted, f"\nprinted: {line}\nwanted:  {json.dumps(dict(wanted), ensure_ascii=False)}"
    assert len(lines) == len(expected)


def check_jq(lines: list[str]) -> None:
    """jq reads every line, and gets the same values. (Its numbers have 53 bits.)"""
    text_ = "".join(line + "\n" for line in lines)
    done = subprocess.run(["jq", "-c", "."], input=text_.encode(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")

    def rounded(pairs: Pairs) -> Pairs:
        return [(key, float(value) if isinstance(value, int) else value) for key, value in pairs]

    # Not str.splitlines(): it would split at characters of JSON strings.
    read = done.stdout.decode("utf-8").split("\n")[:-1]
    assert [rounded(pairs) for pairs in parse(read)] == [rounded(pairs) for pairs in parse(lines)]


# --- (1) every field of every probe --------------------------------------------------------------------

MODES = {"all": ("all",), "all -a": ("all", "-a"), "quic": ("quic",), "quic -a": ("quic", "-a")}


def expect(firings: list[Firing], mode: str) -> list[Pairs]:
    model = Model(MODES[mode][0], "-a" in mode)
    return [pairs for pairs in map(model.print, firings) if pairs is not None]


def keys_of(probe: Probe) -> Iterator[tuple[str, str]]:
    """Returns the keys that must be compared for a probe, and their kinds."""
    for type_, name in probe.arguments:
        if type_ in PRIVATE or (probe.full_name, name) in SECRETS or (type_ == CONN and probe.provider == "h2o"):
            continue
        if type_ == RTT:
            yield from ((key, "number") for key in ("min-rtt", "smoothed-rtt", "variance-rtt", "latest-rtt"))
        elif type_ == STATS:
            yield from ((key, "number") for fields in stats_layouts().values() for key, *_ in fields)
        elif type_ == CONN:
            yield "conn", "number"
        elif type_ == STREAM:
            yield "stream-id", "number"
        elif probe.full_name == "quicly:receive" and name == "bytes":
            yield "first-octet", "number"
        else:
            yield key_of(name), "number" if type_ in INTEGERS or type_ in OPAQUE else "text"
    if probe.provider == "quicly":
        yield "connection", "tie"
    if probe.provider == "h2o" and any(name == "conn_id" for _, name in probe.arguments):
        yield "conn", "tie"
        yield "connection", "tie"
    if not any(name == "at" for _, name in probe.arguments):
        yield "time", "stamp"


def check_all_compared(version: str, expected: list[Pairs]) -> None:
    """Checks that every field was compared."""
    seen: dict[tuple[str, str], set[Any]] = {}
    for pairs in expected:
        named = dict(pairs)
        for key, value in pairs:
            seen.setdefault((f"{named['provider']}:{named['type'].replace('-', '_')}", key), set()).add(value)
    probes, wanted = probes_of(version), 0
    assert len(probes) == {"2020-06": 74, "2026-06": 135}[version]
    for probe in probes:
        for key, kind in dict(keys_of(probe)).items():
            values = seen.pop((probe.full_name, key), set())
            wanted += 1
            if kind == "stamp":
                assert values == {NOW}, (probe, key)
            elif kind == "tie":
                assert len(values) >= 3, (probe, key, values)
            else:
                assert len(values) >= (4 if kind == "number" else 3), (probe, key, values)
        for key in ("type", "seq", "provider", "tid"):
            seen.pop((probe.full_name, key))
    assert not seen, "compared, but declared nowhere"
    assert wanted == {"2020-06": 375, "2026-06": 816}[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field(serve: Serve, trace: Trace, version: str) -> None:
    """Four tracers on one server, each with other options."""
    firings = make_firings(version)
    server = serve(version, script="\n".join(firing.script() for firing in firings))
    tracers = {mode: trace(server, *arguments, attached=False) for mode, arguments in MODES.items()}
    for tracer in tracers.values():
        tracer.wait_attached()
    span = play(server, len(firings))
    for mode, tracer in tracers.items():
        lines = finish(tracer)
        compare(lines, expect(firings, mode), span, server)
        # except in names such as QUIC_SERVER_HANDSHAKE_TRAFFIC_SECRET, which do not occur here
        assert "SECRET" not in "\n".join(lines)
        check_jq(lines)
    check_all_compared(version, expect(firings, "all -a"))


# One of each kind of field and of location. More would take 0.1 s each to detach.
ONE_OF_EACH = (
    "h2o:h3_accept", "h2o:h3s_accept", "h2o:h3_close", "h2o:h3s_destroy", "h2o:send_response_header",
    "h2o:h3_packet_receive", "quicly:receive", "quicly:send", "quicly:packet_commit", "quicly:packet_sent",
    "quicly:conn_stats", "quicly:stream_send", "quicly:quictrace_cc_ack", "picotls:client_random",
    "picotls:receive_message",
)  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_without_links(serve: Serve, trace: Trace, version: str) -> None:
    """The same for kernels without uprobe_multi links."""
    firings = [firing for firing in make_firings(version) if firing.probe.full_name in ONE_OF_EACH]
    assert len({firing.probe.full_name for firing in firings}) == {"2020-06": 11, "2026-06": 12}[version]
    script = "\n".join(firing.script() for firing in firings)
    server = serve(version, script=script)
    tracer = trace(server, "all", "-a", *only(script), program="h2olog-single")
    span = play(server, len(firings))
    compare(finish(tracer), expect(firings, "all -a"), span, server)


def one_of(version: str, *names: str) -> Probe:
    return next(probe for probe in probes_of(version) if probe.full_name in names)


def only(script: str) -> list[str]:
    """Returns -t for the probes of a script, so that fewer probes are attached."""
    return [word for name in dict.fromkeys(re.findall(r"^ *(\w+:\w+)", script, re.M)) for word in ("-t", name)]


def run_script(serve: Serve, trace: Trace, version: str, script: str, *arguments: str) -> list[dict[str, Any]]:
    """Returns the printed objects of a script."""
    server = serve(version, script=script)
    tracer = trace(server, *arguments, *only(script))
    server.play()
    return [dict(pairs) for pairs in parse(finish(tracer))]


def test_unreadable_text_and_bytes(serve: Serve, trace: Trace) -> None:
    """Unreadable memory is null, which differs from empty. The events are still printed."""
    script = """
quicly:send conn=5 at=1 state=-1 dcid=ptr:0x10
quicly:conn_stats conn=5 at=4 stats=ptr:0x17 size=1032
quicly:new_token_send conn=5 at=5 token=ptr:0x55 token_len=5 generation=6
quicly:new_token_send conn=5 at=6 token=ptr:0x55 token_len=0 generation=7
quicly:new_token_send conn=5 at=7 token=NULL token_len=9 generation=8
quicly:stream_send conn=5 at=8 stream=9 off=10 data=ptr:0xdead data_len=11 is_fin=1 wrote_all=0
quicly:transport_close_send conn=5 at=9 error_code=1 frame_type=2 reason_phrase=ptr:0xffff800000000000
h2o:connect_error conn_id=1 req_id=2 error_type="a" details=ptr:0x30 rcode="c"
h2o:send_response_header conn_id=1 req_id=2 name=ptr:0x20 name_len=4 value="right" value_len=5
h2o:send_response_header conn_id=1 req_id=2 name="right" name_len=5 value=ptr:0x20 value_len=4
picotls:client_random tls=1 bytes=ptr:0x16
picotls:receive_message tls=1 message=2 bytes=ptr:0x17 len=3 result=4
"""
    found = run_script(serve, trace, "2026-06", script, "all", "-a")
    for event in found:
        if event["provider"] == "quicly":
            assert event.pop("connection") == 1
        for key in ("seq", "provider", "tid", *(["time"] if event["provider"] != "quicly" else [])):
            del event[key]
    assert found == [
        {"type": "send", "conn": 5, "time": 1, "state": -1, "dcid": None},
        {"type": "conn-stats", "conn": 5, "time": 4, "size": 1032},
        {"type": "new-token-send", "conn": 5, "time": 5, "token": None, "token-len": 5, "generation": 6},
        {"type": "new-token-send", "conn": 5, "time": 6, "token": "", "token-len": 0, "generation": 7},
        {"type": "new-token-send", "conn": 5, "time": 7, "token": None, "token-len": 9, "generation": 8},
        {"type": "stream-send", "conn": 5, "time": 8, "stream-id": 9, "off": 10, "data": None, "data-len": 11,
         "is-fin": 1, "wrote-all": 0},
        {"type": "transport-close-send", "conn": 5, "time": 9, "error-code": 1, "frame-type": 2, "reason-phrase": None},
        {"type": "connect-error", "conn-id": 1, "req-id": 2, "error-type": "a", "details": None, "rcode": "c"},
        {"type": "send-response-header", "conn-id": 1, "req-id": 2, "name": None, "name-len": 4, "value": "right",
         "value-len": 5},
        {"type": "send-response-header", "conn-id": 1, "req-id": 2, "name": "right", "name-len": 5, "value": None,
         "value-len": 4},
        {"type": "client-random", "tls": 1, "bytes": None},
        {"type": "receive-message", "tls": 1, "message": 2, "bytes": None, "len": 3, "result": 4},
    ]  # fmt: skip


@pytest.mark.parametrize("pointer", ["NULL", "ptr:0x10"])
def test_unreadable_structs(serve: Serve, trace: Trace, pointer: str) -> None:
    """Unreadable fields of structs are null, too: 0 would be a stream, or a round trip without time."""
    script = f"""
quicly:stream_on_open conn=5 at=2 stream={pointer}
quicly:quictrace_cc_ack conn=5 at=3 rtt={pointer} cwnd=4 inflight=6
quicly:ping_send conn={pointer} at=7
h2o:connect_tcp_start conn_id=1 req_id=2 dest={pointer}
"""
    found = run_script(serve, trace, "2026-06", script, "all")
    types = [event["type"] for event in found]
    assert types == ["stream-on-open", "quictrace-cc-ack", "ping-send", "connect-tcp-start"]
    assert (found[1]["cwnd"], found[1]["inflight"]) == (4, 6)
    values = [found[0]["stream-id"], *(found[1][f"{what}-rtt"] for what in ("min", "smoothed", "variance", "latest"))]
    assert values + [found[2]["conn"], found[3]["dest"]] == [None] * 7


# Offsets of the pointer cc.type in the layouts of 936 bytes.
TYPE_AT = {(936, "2024-07-28"): 768, (936, "2025-09-20"): 776}


def test_stats_of_two_layouts(serve: Serve, trace: Trace) -> None:
    """The pointer to an object in a file of the server shows the layout.
    Fields that are not certain are not printed."""

    def script(pid: int) -> str:
        """Makes the script when the server has started and its files are mapped."""
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").split("\n")
        mapped = next(line.split("-")[0] for line in lines if line.endswith(f"/{server_name}"))
        for layout, at in TYPE_AT.items():
            structs[layout] = bytearray(stats(layout, "minus", 5))
            structs[layout][at : at + 8] = (int(mapped, 16) + 64).to_bytes(8, "little")
        structs[(936, "")] = bytearray(stats((936, "2024-07-28"), "minus", 5))
        return "\n".join(f'quicly:conn_stats conn=5 at=4 stats=x"{data.hex()}" size=936' for data in structs.values())

    server_name, structs = "standin-2026-06", {}
    server = serve("2026-06", script=script)
    tracer = trace(server, "quic", "-t", "conn_stats")
    server.play()
    printed = [dict(pairs) for pairs in parse(finish(tracer))]
    first, second = (stats_layouts()[layout] for layout in TYPE_AT)
    common = [field for field in first if field in second]
    assert len(printed) == 3 and len(first) == len(second) == 115 and len(common) == 31
    for found, fields, data in zip(printed, (first, second, common), structs.values()):
        end = {"type": "conn-stats", "seq": found["seq"], "conn": 5, "time": 4, "size": 936, "connection": 1}
        assert found == {**{field.key: field.value(data) for field in fields}, **end}


def test_addresses_of_no_known_family(serve: Serve, trace: Trace) -> None:
    """Like a UNIX socket, AF_UNSPEC, or a struct at the end of its memory: the event is still printed."""
    script = """
h2o:connect_tcp_start conn_id=1 req_id=2 dest=x"0100746d70"
h2o:connect_tcp_start conn_id=1 req_id=3 dest=x"00000000000000000000000000000000"
h2o:connect_tcp_start conn_id=1 req_id=4 dest=x"ffff5011c0000201"
h2o:connect_tcp_start conn_id=1 req_id=5 dest=x"02005011c0000201"
h2o:connect_tcp_start conn_id=1 req_id=6 dest=x"0a00115c0000000020010db800000000000000000000000100000000"
"""
    found = run_script(serve, trace, "2026-06", script, "all")
    assert [event["req-id"] for event in found] == [2, 3, 4, 5, 6]
    assert [event["dest"] for event in found] == ["", "", "", "192.0.2.1:20497", "[2001:db8::1]:4444"]


# --- (2) the traces of real servers --------------------------------------------------------------------


def test_replay_of_2020(serve: Serve, trace: Trace) -> None:
    """Line by line, the same bytes as the C++ h2olog of 2020, except for `epoch`, which was always 0 there."""
    probes = {probe.name.replace("_", "-"): probe for probe in probes_of("2020-06") if probe.provider != "picotls"}
    lines = (DATA / "trace-2020-06-quic.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == 92
    epochs, firings, expected = iter((2, 2, 3, 3)), [], []
    for line in lines:
        event = json.loads(line)
        if "epoch" in event:
            event["epoch"] = next(epochs)
            line = line.replace('"epoch":0,', f'"epoch":{event["epoch"]},')
        firings.append(firing_of(probes[event["type"]], event))
        expected.append(line)
    assert next(epochs, None) is None
    server = serve("2020-06", script="\n".join(firing.script() for firing in firings))
    tracer = trace(server, "quic")
    begin, end = play(server, len(firings))
    printed = finish(tracer)
    assert len(printed) == len(expected)
    for firing, line, wanted in zip(firings, printed, expected):
        if firing.probe.provider == "h2o":  # its time is that of the firing
            line, _, at = line.rpartition(',"time":')
            wanted = wanted.rpartition(',"time":')[0]
            at, _, connection = at.partition(",")
            assert begin - 1000 <= int(at) <= end + 1000 and connection == '"connection":1}'
        else:
            wanted = wanted.removesuffix("}") + ',"connection":1}'  # unknown in 2020
        assert line == wanted


def firing_of(probe: Probe, event: dict[str, Any]) -> Firing:
    """Returns the firing of a server that gives this line, with values for arguments that are not printed."""
    values: dict[str, Value] = {}
    for type_, name in probe.arguments:
        key = key_of(name)
        if (probe.full_name, name) in SECRETS:
            values[name] = b"0f1e2d3c"
        elif type_ in PRIVATE:
            values[name] = 0x7F0012345678
        elif type_ == CONN:
            values[name] = event["conn"]
        elif type_ == STREAM:
            values[name] = event["stream-id"]
        elif type_ == RTT:
            values[name] = tuple(event[f"{what}-rtt"] for what in ("min", "smoothed", "variance", "latest"))
        elif probe.full_name == "quicly:receive" and name == "bytes":
            values[name] = bytes([event["first-octet"]]) + b"the rest"
        elif type_ == TEXT:
            values[name] = event[key].encode()
        elif type_ in BYTES:
            values[name] = bytes.fromhex(event[key]) if key in event else b"\xaa" * 5000
        else:
            values[name] = event[key]
    return Firing(probe, values)


# The server's own logger, which wrote trace-2026-06-truth.jsonl, has other names for some arguments. By probe and
# argument: the name in the log.
SAME_AS = {
    ("h2o:h1_accept", "conn_uuid"): "uuid",
    ("h2o:h3_frame_receive", "bytes"): "payload",
    ("h2o:h3_frame_receive", "bytes_len"): "payload_len",
    ("quicly:ecn_validation", "ecn_state"): "state",
}
# Its `write` and `writev` are logged where the probes socket_write and socket_writev fire.
SAME_PROBE_AS = {("h2o", "write"): "h2o:socket_write", ("h2o", "writev"): "h2o:socket_writev"}

# Members of the log that are not arguments of the probes, so h2olog cannot know them.
LEFT_OUT = {
    # the number of bytes behind bufs
    "h2o:socket_write": {"num_bytes"},
    # the QPACK and control streams, which only the logger counts
    "h2o:h3s_destroy": {
        "control_stream_bytes_received", "qpack_encoder_bytes_received", "qpack_decoder_bytes_received",
        "control_stream_bytes_sent", "qpack_encoder_bytes_sent", "qpack_decoder_bytes_sent",
    },
    # secrets; the probe has no secret_len
    "quicly:crypto_update_secret": {"secret", "secret_len"},
}  # fmt: skip
# `cb` of socket_write, a pointer to a function, is private to the server. Of the packet of `receive`, h2olog prints the
# first octet.
NOT_PRINTED = {("h2o:socket_write", "cb"), ("quicly:receive", "bytes")}

# Members that the logger leaves out of some or all events of a probe, and that h2olog prints.
ADDED = {
    "quicly:receive": {"first-octet", "bytes-len"},
    "quicly:new_token_send": {"token-len"},
    "quicly:packet_received": {"decrypted"},
    "quicly:stream_on_open": {"stream-id"},
    "quicly:conn_stats": {"size"},
    "picotls:receive_message": {"bytes"},
}  # fmt: skip
MASTER_ID = 7  # the logger does not have quicly's number of the connection


@dataclass
class Truth:
    """An event of the server's own logger as a firing, and the expected values of h2olog in that order."""

    firing: Firing
    fields: Pairs


def truth_of(event: dict[str, Any], probes: dict[str, Probe]) -> Truth:
    logged = f"{event['module']}:{event['type']}"
    probe = probes[SAME_PROBE_AS.get((event["module"], event["type"]), logged)]
    named = {SAME_AS.get((probe.full_name, name), name): (type_, name) for type_, name in probe.arguments}
    values: dict[str, Value] = {}
    for logged_as, (type_, name) in named.items():
        value = event.get(logged_as)
        if type_ == CONN:
            values[name] = MASTER_ID
        elif type_ == STREAM:
            values[name] = event.get("stream_id", 4711)
        elif type_ == STATS:
            values[name], values["size"] = stats_from(event), 1032
        elif name == "at":
            values[name] = event["time"]
        elif type_ in PRIVATE:
            values[name] = 0x7F0012345678
        elif type_ in BYTES and (probe.full_name, name) not in HEX_TEXT:
            values[name] = bytes.fromhex(value) if value is not None else pattern(event[counter_name(probe, name)], "x")
        elif type_ == TEXT or type_ in BYTES:
            values[name] = value.encode() if value is not None else b"2b5915ae0ad94a50"
        elif value is not None:
            values[name] = int(value)
    for type_, name in probe.arguments:  # lengths that it does not log
        counter = counter_of(probe, type_, name) if type_ in BYTES and (probe.full_name, name) not in HEX_TEXT else None
        if counter is not None:
            values.setdefault(counter, len(values[name]))
    fields: Pairs = []
    for key, value in event.items():
        is_context = key in ("module", "type", "tid", "conn") or (key == "conn_id" and probe.provider != "h2o")
        if is_context or key in LEFT_OUT.get(probe.full_name, ()) or (key == "time" and probe.provider != "quicly"):
            continue
        if probe.full_name == "quicly:conn_stats" and key != "time":
            fields.append((key, value))
            continue
        name = named[key][1] if key in named else key
        type_ = named[key][0] if key in named else ""
        if (probe.full_name, name) not in NOT_PRINTED and type_ not in PRIVATE and type_ != CONN:
            fields.append((key_of(name), int(value) if isinstance(value, bool) else value))
    return Truth(Firing(probe, {name: values[name] for _, name in probe.arguments if name in values}), fields)


def counter_name(probe: Probe, name: str) -> str:
    counter = counter_of(probe, BYTES[0], name)
    assert counter is not None
    return counter


def stats_from(event: dict[str, Any]) -> bytes:
    data = bytearray(NEWEST[0])
    for field in stats_layouts()[NEWEST]:
        field.put(data, event[field.key])
    return bytes(data)


def test_replay_of_2026(serve: Serve, trace: Trace) -> None:
    """Every event of the server's own logger, value by value, in the same order."""
    probes = {probe.full_name: probe for probe in probes_of("2026-06")}
    lines = (DATA / "trace-2026-06-truth.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    truths = [truth_of(json.loads(line), probes) for line in lines]
    assert len(truths) == 166
    assert {truth.firing.probe.provider for truth in truths} == {"h2o", "quicly", "picotls"}
    server = serve("2026-06", script="\n".join(truth.firing.script() for truth in truths))
    everything, quic = trace(server, "all", "-a", attached=False), trace(server, "quic", "-a", attached=False)
    everything.wait_attached()
    quic.wait_attached()
    begin, end = play(server, len(truths))
    printed = finish(everything)
    assert len(printed) == len(truths)
    num_fields = 0
    for nth, (truth, line, pairs) in enumerate(zip(truths, printed, parse(printed)), 1):
        probe = truth.firing.probe
        keys = {key for key, _ in truth.fields}
        assert [pair for pair in pairs if pair[0] in keys] == truth.fields, line
        num_fields += len(keys)
        extra = {key: value for key, value in pairs if key not in keys}
        assert (extra.pop("type"), extra.pop("seq")) == (probe.name.replace("_", "-"), nth)
        assert extra.pop("provider") == probe.provider
        extra.pop("tid")
        if probe.provider == "quicly":
            assert extra.pop("conn") == MASTER_ID
        else:
            assert begin - 1000 <= extra.pop("time") <= end + 1000
        if probe.provider == "h2o":  # the only HTTP/3 connection is tied
            is_tied = truth.firing.values.get("conn_id") == 4
            assert extra.pop("conn", None) == (MASTER_ID if is_tied else None), line
        if probe.provider == "quicly" or (probe.provider == "h2o" and is_tied):
            assert pairs[-1] == ("connection", 1) and extra.pop("connection") == 1
        if probe.full_name == "quicly:receive":
            packet = truth.firing.values["bytes"]
            assert (extra["first-octet"], extra["bytes-len"]) == (packet[0], len(packet))
        if probe.full_name == "quicly:new_token_send":
            assert extra["token-len"] == len(truth.firing.values["token"])
        assert set(extra) <= ADDED.get(probe.full_name, set()), line
    assert num_fields == 788

    # `quic` prints the same without events that are not QUIC, with its own numbers.
    model, wanted = Model("quic", True), []
    for truth, pairs in zip(truths, parse(printed)):
        if model.print(truth.firing) is not None:
            own = {"seq": model.seq, **({"time": NOW} if truth.firing.probe.provider == "h2o" else {})}
            wanted.append([(key, own.get(key, value)) for key, value in pairs if key not in ("provider", "tid")])
    assert len(wanted) == 120 + 8  # of quicly; of h2o: accept, destroy and six response headers
    compare(finish(quic), wanted, (begin, end), server)


# --- (3) ties ------------------------------------------------------------------------------------------

# The probes that accept and close an HTTP/3 connection, in each version.
NAMES = {"2020-06": ("h3_accept", "h3_close"), "2026-06": ("h3s_accept", "h3s_destroy")}

# A firing; the output of `quic`, as type, conn-id, conn; that of `all`. Without conn: not tied.
TIES: list[tuple[str, tuple[Any, ...] | None, tuple[Any, ...]]] = [
    # accepted before h2olog was attached
    ("{header} conn_id=9", None, ("{header}", 9)),
    ("{accept} conn_id=9 quic=100", ("{accept}", 9, 100), ("{accept}", 9, 100)),
    ("{header} conn_id=9", ("{header}", 9, 100), ("{header}", 9, 100)),
    ("{accept} conn_id=10 quic=101", ("{accept}", 10, 101), ("{accept}", 10, 101)),
    ("{header} conn_id=10", ("{header}", 10, 101), ("{header}", 10, 101)),
    ("{header} conn_id=9", ("{header}", 9, 100), ("{header}", 9, 100)),
    # a number of a connection has 64 bits
    ("{header} conn_id=0x100000009", None, ("{header}", 0x100000009)),
    # HTTP/1
    ("h2o:h1_accept conn_id=11 sock=1", None, ("h2o:h1_accept", 11)),
    ("h2o:receive_request conn_id=11 req_id=1 http_version=257", None, ("h2o:receive_request", 11)),
    ("{header} conn_id=11", None, ("{header}", 11)),
    ("h2o:h1_close conn_id=11", None, ("h2o:h1_close", 11)),
    # other events of HTTP/3 are printed by `all`
    ("h2o:receive_request conn_id=10 req_id=4 http_version=768", None, ("h2o:receive_request", 10, 101)),
    # the event that closes is the last one with conn
    ("{close} conn_id=9", ("{close}", 9, 100), ("{close}", 9, 100)),
    ("{header} conn_id=9", None, ("{header}", 9)),
    ("{header} conn_id=10", ("{header}", 10, 101), ("{header}", 10, 101)),
    # of a connection that was accepted before: HTTP/3 by its name
    ("{close} conn_id=9", ("{close}", 9), ("{close}", 9)),
    # the number is used again, by HTTP/3 and by HTTP/1
    ("{accept} conn_id=9 quic=102", ("{accept}", 9, 102), ("{accept}", 9, 102)),
    ("{header} conn_id=9", ("{header}", 9, 102), ("{header}", 9, 102)),
    ("{accept} conn_id=9 quic=103", ("{accept}", 9, 103), ("{accept}", 9, 103)),
    ("{header} conn_id=9", ("{header}", 9, 103), ("{header}", 9, 103)),
    ("{close} conn_id=9", ("{close}", 9, 103), ("{close}", 9, 103)),
    ("{header} conn_id=9", None, ("{header}", 9)),
    # the smallest and the largest numbers
    ("{accept} conn_id=0 quic=0", ("{accept}", 0, 0), ("{accept}", 0, 0)),
    ("{accept} conn_id=-1 quic=-1", ("{accept}", 2**64 - 1, 2**32 - 1), ("{accept}", 2**64 - 1, 2**32 - 1)),
    ("{header} conn_id=0", ("{header}", 0, 0), ("{header}", 0, 0)),
    ("{header} conn_id=-1", ("{header}", 2**64 - 1, 2**32 - 1), ("{header}", 2**64 - 1, 2**32 - 1)),
]


def expand(version: str, word: str) -> str:
    accept, close = NAMES[version]
    return word.format(accept=f"h2o:{accept}", close=f"h2o:{close}", header="h2o:send_response_header")


def ties_of(event: dict[str, Any]) -> tuple[Any, ...]:
    name = f"h2o:{event['type'].replace('-', '_')}"
    return (name, event["conn-id"], *([event["conn"]] if "conn" in event else []))


@pytest.mark.parametrize("version", VERSIONS)
def test_ties(serve: Serve, trace: Trace, version: str) -> None:
    server = serve(version, script="\n".join(expand(version, line) for line, _, _ in TIES))
    modes = (("quic",), ("all",), ("quic", "-t", "send_response_header"))
    quic, everything, header = (trace(server, *arguments, attached=False) for arguments in modes)
    for tracer in (quic, everything, header):
        tracer.wait_attached()
    # A real request first. `quic` prints no line of it.
    assert server.curl("/") == "Hello, world\n"
    server.play()
    found = [dict(pairs) for pairs in parse(finish(quic))]
    wanted = [tuple(expand(version, w) if isinstance(w, str) else w for w in row[1]) for row in TIES if row[1]]
    assert [ties_of(event) for event in found] == wanted
    assert [event["seq"] for event in found] == list(range(1, len(wanted) + 1))

    # Selected events are tied, too, by events that are not printed.
    found = [dict(pairs) for pairs in parse(finish(header))]
    assert [ties_of(event) for event in found] == [row for row in wanted if row[0] == "h2o:send_response_header"]
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))

    found = [dict(pairs) for pairs in parse(finish(everything))]
    request = [event for event in found if event["conn-id"] == 1]  # the server can end while it plays the script
    assert len(request) > 8 and all("conn" not in event for event in request)
    wanted = [tuple(expand(version, w) if isinstance(w, str) else w for w in row[2]) for row in TIES]
    assert [ties_of(event) for event in found if event["conn-id"] != 1] == wanted


def test_ties_of_many_connections(serve: Serve, trace: Trace) -> None:
    """Connections of several threads at the same time. Another thread can use a tie. `#` is the number of the thread's
    firing."""
    script = """
repeat 2000
  h2o:h3s_accept conn_id=# quic=#
end
"""
    closing = "h2o:h3s_destroy conn_id={0}\n{2} conn_id={0}\n{2} conn_id={1}\n"
    script += "threads 1\n" + "".join(
        closing.format(k, k + 1, "h2o:send_response_header") for k in range(0, 2000, 2)
    )
    server = serve("2026-06", script=script)
    tracer = trace(server, "quic", *only(script))
    assert server.play() == (5000, 0)
    found = [ties_of(dict(pairs)) for pairs in parse(finish(tracer))]
    assert found[:2000] == [("h2o:h3s_accept", k, k) for k in range(2000)]
    assert found[2000:] == [
        event
        for k in range(0, 2000, 2)
        for event in (("h2o:h3s_destroy", k, k), ("h2o:send_response_header", k + 1, k + 1))
    ]


def test_accept_of_a_connection_that_cannot_be_read(serve: Serve, trace: Trace) -> None:
    """It does not tie: an unreadable connection of quicly is not connection 0."""
    script = "h2o:h3s_accept conn_id=5 quic=NULL\nh2o:send_response_header conn_id=5"
    assert [ties_of(event) for event in run_script(serve, trace, "2026-06", script, "all")] == [
        ("h2o:h3s_accept", 5), ("h2o:send_response_header", 5)
    ]  # fmt: skip
    assert [ties_of(event) for event in run_script(serve, trace, "2026-06", script, "quic")] == [("h2o:h3s_accept", 5)]


def test_connections_of_an_earlier_tracer(serve: Serve, trace: Trace) -> None:
    """Ties belong to a run: a second tracer has none of the first one."""
    server = serve("2026-06", script="h2o:send_response_header conn_id=5\nh2o:h3s_accept conn_id=5 quic=6")
    first = trace(server, "quic", "-t", "h2o:*")
    server.play()
    second = trace(server, "quic", "-t", "h2o:*")
    server.play()
    assert [ties_of(dict(pairs))[1:] for pairs in parse(finish(first))] == [(5, 6), (5, 6), (5, 6)]
    assert [ties_of(dict(pairs)) for pairs in parse(finish(second))] == [("h2o:h3s_accept", 5, 6)]


# --- (4) connections -----------------------------------------------------------------------------------

# Two connections of two threads at the same time, with the same number of quicly: a firing, and its connection.
PATHS = [
    ("quicly:new_path conn=0@a at=1 path_index=0 remote=\"192.0.2.1:1\"", 1),
    ("quicly:new_path conn=0@b at=1 path_index=0 remote=\"192.0.2.2:2\"", 2),
]
TWINS = [
    ("quicly:accept conn=7@a at=1 dcid=\"aa\"", 1),
    ("quicly:accept conn=7@b at=1 dcid=\"bb\"", 2),
    ("{packet} conn=7@a at=1 pn=1", 1),
    ("{packet} conn=7@b at=1 pn=1", 2),
    ("{accept} conn_id=9 quic=7@b", 2),
    ("{accept} conn_id=8 quic=7@a", 1),
    ("{header} conn_id=9", 2),
    ("{header} conn_id=8", 1),
    ("h2o:h1_accept conn_id=10", None),
    ("picotls:free tls=1", None),
    ("{packet} at=1 pn=1", None),  # a NULL pointer
    ("{close} conn_id=8", 1),
    ("quicly:free conn=7@a at=2", 1),
    ("{packet} conn=7@b at=1 pn=2", 2),
    ("quicly:stream_lost conn=7@a at=2", 1),  # later events of the connection follow its end
    ("quicly:accept conn=7@a at=3", 3),  # the memory and the number are used again
    ("{packet} conn=7@a at=3 pn=1", 3),
    ("{accept} conn_id=11 quic=7@a", 3),
    ("{header} conn_id=11", 3),
    ("{header} conn_id=9", 2),
    ("quicly:connect conn=7@c at=3 version=1", 4),
    ("{packet} conn=8@b at=4 pn=1", 5),  # another number: an end and a begin were missed
    ("{packet} conn=8@b at=4 pn=2", 5),
    ("quicly:accept conn=8@b at=4", 5),
    ("quicly:accept conn=8@b at=5", 6),  # only the end was missed
    ("quicly:free conn=8@b at=5", 6),
]


def twins(version: str) -> list[tuple[str, int | None]]:
    packet = {"2020-06": "quicly:packet_commit", "2026-06": "quicly:packet_sent"}[version]
    firings = TWINS if version == "2020-06" else PATHS + TWINS
    return [(expand(version, line.replace("{packet}", packet)), number) for line, number in firings]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("glob", ["", "packet_*", "quicly:stream_lost", "send_response_header", "h2o:*"])
def test_connections(serve: Serve, trace: Trace, version: str, glob: str) -> None:
    """Each connection has its own number, in `all` and `quic`, with any selection, in the order of first lines. It is
    the last member of the line. `conn` is the server's number."""
    firings = twins(version)
    server = serve(version, script="\n".join(line for line, _ in firings))
    words = ["-t", glob] if glob else only("\n".join(line for line, _ in firings))
    tracers = {mode: trace(server, mode, *words, attached=False) for mode in ("all", "quic")}
    for tracer in tracers.values():
        tracer.wait_attached()
    server.play()
    names = {mode: {line.split()[0] for line, _ in firings} for mode in tracers}
    for mode, tracer in tracers.items():
        if glob:
            chosen = re.compile(glob.replace("*", ".*"))
            names[mode] = {n for n in names[mode] if chosen.fullmatch(n) or chosen.fullmatch(n.split(":")[1])}
        if mode == "quic":
            names[mode] -= {"h2o:h1_accept"}
        wanted: list[tuple[str, int | None]] = []
        numbers: dict[int, int] = {}
        for line, number in firings:
            if line.split()[0] in names[mode]:
                said = None if number is None else numbers.setdefault(number, len(numbers) + 1)
                wanted.append((line.split()[0].split(":")[1], said))
        found = parse(finish(tracer))
        assert [(e["type"].replace("-", "_"), e.get("connection")) for e in map(dict, found)] == wanted
        assert len(wanted) > 0 and all(pairs[-1][0] == "connection" for pairs in found if "connection" in dict(pairs))
        for pairs in found:
            conn = dict(pairs).get("conn")
            assert conn in ((0,) if dict(pairs)["type"] == "new-path" else (None, 7, 8))


@pytest.mark.parametrize("version", VERSIONS)
def test_connections_of_threads(serve: Serve, trace: Trace, version: str) -> None:
    """Four threads with three connections each; quicly gives them the same numbers.
    The packets of each are in order."""
    threads, each, count = 4, 3, 300
    packet = {"2020-06": "packet_commit", "2026-06": "packet_sent"}[version]
    script = f"threads {threads}\n"
    script += "".join(f"quicly:accept conn={k}@thread at=1\n" for k in range(each))
    script += f"repeat {count}\n" + "".join(f"quicly:{packet} conn={k}@thread at=1 pn=#\n" for k in range(each))
    script += "end\n" + "".join(f"quicly:free conn={k}@thread at=2\n" for k in range(each))
    server = serve(version, script=script)
    tracer = trace(server, "all", *only(script))
    assert server.play() == (threads * each * (count + 2), 0)
    events = [dict(pairs) for pairs in parse(finish(tracer))]
    connections: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        connections.setdefault(event["connection"], []).append(event)
    assert list(connections) == list(range(1, threads * each + 1))
    for own in connections.values():
        assert [event["type"] for event in own] == ["accept"] + [packet.replace("_", "-")] * count + ["free"]
        assert len({(event["tid"], event["conn"]) for event in own}) == 1
        numbers = [event["pn"] for event in own[1:-1]]
        assert all(before < after for before, after in zip(numbers, numbers[1:]))
    assert len({(own[0]["tid"], own[0]["conn"]) for own in connections.values()}) == threads * each


def test_many_connections(serve: Serve, trace: Trace) -> None:
    """More connections than the first table holds, without root: each keeps its number."""
    count = 6000
    server = serve("2026-06", script="\n".join(f"quicly:ping_send conn={k % 7}@{k} at=1" for k in range(count)))
    tracer = trace(server, "quic", "-t", "ping_send")
    for _ in range(2):
        assert server.play() == (count, 0)
    events = [dict(pairs) for pairs in parse(finish(tracer))]
    assert [event["connection"] for event in events] == [*range(1, count + 1), *range(1, count + 1)]


# --- (5) lines -----------------------------------------------------------------------------------------


def test_time_is_that_of_the_event(serve: Serve, trace: Trace) -> None:
    """Not the time of printing: the tracer is stopped for two seconds. For probes with `at`, the time is that value."""
    script = "quicly:ping_send conn=1 at=now\nh2o:h3s_accept conn_id=1 quic=2\nquicly:free at=-5"
    server = serve("2026-06", script=script)
    tracer = trace(server, "quic", *only(script))
    tracer.process.send_signal(signal.SIGSTOP)
    try:
        begin = time.time() * 1000
        assert server.play() == (3, 0)
        end = time.time() * 1000
        time.sleep(2 * SLOWNESS)
    finally:
        tracer.process.send_signal(signal.SIGCONT)
    ping, accept, free = (dict(pairs) for pairs in parse(finish(tracer)))
    assert begin - 1 <= ping["time"] <= end
    assert begin - 100 * SLOWNESS <= accept["time"] <= end + 100 * SLOWNESS
    assert free["time"] == -5


def test_losses_are_events(serve: Serve, trace: Trace) -> None:
    """Events that did not fit into the ring are reported between the others, without a gap."""
    count, rounds = 20000, 3
    server = serve("2026-06", script=f"repeat {count}\n  quicly:packet_sent conn=1 at=2 pn=# len=3\nend")
    tracer = trace(server, "quic", "-b", "64K", "-t", "packet_sent")
    begin = time.time() * 1000
    for nth in range(1, rounds + 1):
        tracer.process.send_signal(signal.SIGSTOP)
        try:
            assert server.play() == (count, 0)
        finally:
            tracer.process.send_signal(signal.SIGCONT)
        wait_until(lambda n=nth: tracer.out.read_bytes().count(b'"h2olog-event-lost"') == n, "the loss")
    end = time.time() * 1000
    assert tracer.stop() == 0
    events = parse(check_bytes(tracer.out.read_bytes()))
    assert [dict(pairs)["seq"] for pairs in events] == list(range(1, len(events) + 1))
    happened = total = 0
    for pairs in events:
        event = dict(pairs)
        if event["type"] == "h2olog-event-lost":
            assert [key for key, _ in pairs] == ["type", "seq", "time", "lost"]
            assert begin - 1000 <= event["time"] <= end + 1000 and event["lost"] > 0
            happened += event["lost"]
            total += event["lost"]
        else:
            assert (event["type"], event["pn"]) == ("packet-sent", happened % count)
            happened += 1
    assert happened == rounds * count and total < happened
    assert f"{total} events were lost in all" in tracer.messages()


def test_response_headers(serve: Serve, trace: Trace) -> None:
    """-s: of the response headers, only these are printed, with any case and length. Other events do not change."""
    wanted = ["a", "Server", "Content-Type", "x-a_b", "eight-08", "sixteen-bytes-16", ":status", "n" * 256]
    fired = {
        "a": True, "A": True, "b": False, "aa": False, "\x01": False, "server": True, "SERVER": True, "serve": False,
        "server2": False, "content-type": True, "Content-type": True, "content-typ": False, "content-types": False,
        "content_type": False, "x-a_b": True, "X-A_B": True, "x-a\x7fb": False, "eight-08": True, "EIGHT-08": True,
        "eight-09": False, "eight\r08": False, "sixteen-bytes-16": True, "sixteen-bytes-17": False,
        "seventeen-bytes-1": False,
        ":status": True, ":STATUS": True, "\x1astatus": False, "n" * 256: True, "N" * 256: True, "n" * 255: False,
        "n" * 255 + "m": False, "n" * 257: False, "": False,
    }  # fmt: skip
    probes = {probe.full_name: probe for probe in probes_of("2026-06")}
    firings = [Firing(probes["h2o:h3s_accept"], {"conn_id": 2, "quic": 3})]
    for nth, name in enumerate(fired):
        values = {"conn_id": 2, "req_id": nth, "name": name.encode(), "name_len": len(name)}
        values |= {"value": b"v", "value_len": 1}
        firings += [
            Firing(probes["h2o:send_response_header"], values),
            Firing(probes["quicly:free"], {"conn": nth, "at": nth}),
            Firing(probes["h2o:receive_request_header"], values),
        ]
    server = serve("2026-06", script="\n".join(firing.script() for firing in firings))
    chosen = ("h2o:send_response_header", "h2o:receive_request_header", "quicly:free", "h2o:h3s_accept")
    words = [word for name in chosen for word in ("-t", name)] + [word for name in wanted for word in ("-s", name)]
    tracer = trace(server, "quic", *words)
    span = play(server, len(firings))
    model = Model("quic", chosen=chosen)
    kept = [f for f in firings if f.probe.name != "send_response_header" or fired[f.values["name"].decode()]]
    assert len(firings) - len(kept) == list(fired.values()).count(False)
    compare(finish(tracer), [pairs for pairs in map(model.print, kept) if pairs is not None], span, server)


@pytest.mark.parametrize("mode", ["all", "quic"])
def test_all_bytes_one_by_one(serve: Serve, trace: Trace, mode: str) -> None:
    """Each byte alone and between others, in text with a length, as JSON without control characters."""
    probe = one_of("2026-06", "h2o:send_response_header")
    accept = one_of("2026-06", *ACCEPTS)
    firings = [Firing(accept, {"conn_id": 1, "quic": 1})]
    for byte in range(256):
        for before, behind in ((b"", b""), (b"a", b"b"), (b"\xc3", b"\xa9"), (b"\xe2\x80", b"")):
            value = before + bytes([byte]) + behind
            values = {"conn_id": 1, "name": b"x-" + value, "name_len": len(value) + 2}
            firings.append(Firing(probe, {**values, "value": value, "value_len": len(value)}))
    server = serve("2026-06", script="\n".join(firing.script() for firing in firings))
    tracer = trace(server, mode, "-t", "send_response_header", "-t", accept.name)
    span = play(server, len(firings))
    model = Model(mode)
    lines = finish(tracer)
    compare(lines, [pairs for pairs in map(model.print, firings) if pairs is not None], span, server)
    check_jq(lines)
    for nth, line in enumerate(lines[1:]):
        if nth % 4 == 1 and nth // 4 < 0x20:  # between a and b
            assert f'"value":"a\\u00{nth // 4:02x}b"' in line


def test_line_for_a_quiet_server(serve: Serve, trace: Trace) -> None:
    """One event is printed as a whole line at once, without waiting for more."""
    server = serve("2020-06", script="quicly:free conn=1 at=2")
    tracer = trace(server, "quic", "-t", "quicly:free")
    assert server.play() == (1, 0)
    assert tracer.wait_lines(1) == ['{"type":"free","seq":1,"conn":1,"time":2,"connection":1}']
    assert server.play() == (1, 0)
    assert tracer.wait_lines(2)[1] == '{"type":"free","seq":2,"conn":1,"time":2,"connection":2}'
    assert len(finish(tracer)) == 2
