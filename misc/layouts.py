"""Lays out events: which members the event of a signature has, and which of them an argument fills.

lay_out() makes a Layout of each signature. misc/gen_quic_bpf.py writes the BPF C and the tables from it.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field as dataclass_field
from pathlib import Path
from typing import NoReturn

from probe_lists import INTEGERS, MAX_ARGUMENTS, SOURCE_DATE, Argument, ListError, Marks, Signature, is_bytes, is_text

# Pointers that identify objects are printed as integers. Pointers to private objects are not printed.
IDENTITIES = {
    "struct st_h2o_socket_t *", "struct st_ptls_t *", "struct st_h2o_tunnel_t *",
    "struct st_h2o_io_uring_cmd_t *",
}  # fmt: skip
PRIVATE = {
    "struct st_h2o_conn_t *", "struct st_quicly_address_token_plaintext_t *",
    "struct st_h2o_ebpf_map_key_t *", "struct st_h2o_iovec_t *", "void *",
}  # fmt: skip

# Keys that every line has. `tid` is not one of them, because an argument with that name replaces it.
LINE_KEYS = ("type", "seq", "provider", "connection")

# `connection` is h2olog's own member.
RENAMED = {"at": "time", "num_bytes": "bytes-len", "connection": "server-connection"}
RTT = ("min-rtt", "smoothed-rtt", "variance-rtt", "latest-rtt")  # in the order of struct quicly_rtt_t

# Names with another meaning in captures or in C. If an argument has such a name, '_' is appended to its member.
RESERVED = {
    "head", "event", "on_stack", "candidate", "stamp", "scratch", "end", "id", "ctx", "silent", "flags",
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static",
    "struct", "switch", "typedef", "typeof", "union", "unsigned", "void", "volatile", "while", "asm",
}  # fmt: skip

# Values of bpf/event.h. If they differ, static assertions in the generated C stop the build.
HEAD_SIZE = 24
HEAD_CONN = 4
NAME_MAX = "EVENT_NAME_MAX"
TEXT_MAX = "EVENT_TEXT_MAX"
STRING_MAX = "EVENT_STRING_MAX"
EVENT_LIMITS = {NAME_MAX: 256, TEXT_MAX: 4096, STRING_MAX: 1024, "EVENT_MAX": 8192}  # in bytes
ADDRESS_SIZE = 28  # struct sockaddr_in6
MAX_UNREAD = 15  # a bit in event_head.flags for each value that may be unreadable


@dataclass
class Value:
    """A printed field of an event: a member of the fixed part, or a value that is appended to it."""

    key: str
    kind: str  # of enum field_kind, without FIELD_
    width: int
    place: int = 0
    maximum: str = "0"
    counted_by: str | None = None  # member with the size of a value of variable size
    member: str = ""
    type: str = ""
    application_data: bool = False
    skip_fixed: bool = False  # not a member of the fixed part
    unread: int = 0  # of event_head.flags: it could not be read


@dataclass
class Layout:
    """How to capture a signature, and what to print of its events."""

    signature: Signature
    fields: list[Value] = dataclass_field(default_factory=list)
    members: list[tuple[str, str, int, int]] = dataclass_field(default_factory=list)  # name, C type, width, count
    places: dict[str, int] = dataclass_field(default_factory=dict)
    size: int = HEAD_SIZE
    early: list[str] = dataclass_field(default_factory=list)  # statements before the event exists
    fixed: list[str] = dataclass_field(default_factory=list)  # fill the fixed part
    variable: list[str] = dataclass_field(default_factory=list)  # append to it
    candidate: dict[str, str] = dataclass_field(default_factory=dict)  # of struct candidate: member, value
    head_flags: str = "0"
    head_conn: str = "0"
    head_connection: str = "0"
    reads: set[int] = dataclass_field(default_factory=set)
    reads_application_data: set[int] = dataclass_field(default_factory=set)
    num_variable: int = 0
    num_behind: int = 0
    stamped: bool = False  # the signature has no time of its own
    loose: set[str] = dataclass_field(default_factory=set)  # names of arguments


def key_of(name: str) -> str:
    return RENAMED.get(name, name.replace("_", "-"))


def length_of(signature: Signature, index: int) -> int | None:
    """Returns the argument with the length of another one: NAME_len, num_NAME or len."""
    name = signature.arguments[index].name
    for wanted in (f"{name}_len", f"num_{name}", "len"):
        for i, argument in enumerate(signature.arguments):
            if argument.name == wanted:
                return i
    return None


def member_of(argument: Argument) -> str:
    """Returns the name of the member for an argument: the argument's own name,
    or that with '_' if the name is taken."""
    is_taken = argument.name in RESERVED or re.fullmatch(r"arg[0-9]+|[A-Z_0-9]+|[us](8|16|32|64)", argument.name)
    return f"{argument.name}_" if is_taken else argument.name


def looks_secret(argument: Argument) -> bool:
    return re.search(r"(^|_)(secret|secret_hex|key|password|private)(_|$)", argument.name) is not None and not (
        argument.type in INTEGERS
    )


class Builder:
    """Lays out one signature. An error in a signature of our own lists is an error of the build. A user cannot change
    the lists of a source tree, so there the argument is left out, with a warning."""

    def __init__(self, signature: Signature, marks: Marks, stats_sizes: list[int]) -> None:
        self.signature = signature
        self.is_of_source = signature.since == SOURCE_DATE
        self.warnings: list[ListError] = []
        self.marks = marks
        self.stats_sizes = stats_sizes
        self.layout = Layout(signature, loose={name for probe, name in marks.loose if probe == signature.probe})
        self.connection = ""  # of an h2o probe: the address of quicly's object

    def fail(self, sentence: str) -> NoReturn:
        raise ListError(self.signature.file, self.signature.line, f"{self.signature.full_name}: {sentence}")

    def read(self, index: int, application_data: bool = False) -> str:
        (self.layout.reads_application_data if application_data else self.layout.reads).add(index)
        return f"arg{index}"

    def member(self, name: str, c_type: str, width: int, count: int = 1) -> str:
        if any(name == member[0] for member in self.layout.members):
            self.fail(f"two values have the name {name}; rename an argument")
        self.layout.members.append((name, c_type, width, count))
        return name

    def integer(self, index: int, key: str, c_type: str, expression: str) -> None:
        width, signed = INTEGERS[c_type]
        name = self.member(member_of(self.signature.arguments[index]), f"{'s' if signed else 'u'}{width * 8}", width)
        self.layout.fixed.append(f"event->{name} = ({'s' if signed else 'u'}{width * 8}){expression};")
        self.layout.fields.append(Value(key, "SIGNED" if signed else "UNSIGNED", width, member=name))

    def append(self, value: Value, statement: str) -> None:
        self.layout.num_variable += 1
        self.check_unread()
        self.layout.fields.append(value)
        self.layout.variable.append(f"if (APPLICATION_DATA)\n    {statement}" if value.application_data else statement)

    def check_unread(self) -> None:
        if self.layout.num_variable + self.layout.num_behind > MAX_UNREAD:
            self.fail(f"has more than {MAX_UNREAD} values behind pointers")

    def behind(self, reads: str, values: list[Value]) -> None:
        """Values of fixed size behind a pointer. If unreadable, a bit of the flags is set, from bit 14 down."""
        unread = 1 << (MAX_UNREAD - 1 - self.layout.num_behind)
        self.layout.num_behind += 1
        self.check_unread()
        for value in values:
            value.unread = unread
            self.layout.fields.append(value)
        self.layout.fixed.append(f"event->head.flags |= {reads}, 0x{unread:x});")

    def counted(self, index: int, kind: str, length: int, application_data: bool) -> None:
        """Captures text or bytes whose length another argument has."""
        argument = self.signature.arguments[index]
        counter = self.signature.arguments[length]
        if INTEGERS.get(counter.type, (0, True))[1]:
            self.fail(f"{argument.name} is counted by {counter.name}, which is not an unsigned integer")
        maximum = NAME_MAX if argument.name == "name" else TEXT_MAX
        nth = self.layout.num_variable
        self.read(length)
        size = f"event->{member_of(counter)}"
        pointer = self.read(index, application_data)
        self.append(
            Value(key_of(argument.name), kind, 0, maximum=maximum, counted_by=member_of(counter),
                  application_data=application_data),
            f"end = append(scratch, end, {pointer}, {size}, {maximum}, {nth});",
        )  # fmt: skip

    def string(self, index: int, application_data: bool) -> None:
        """Captures NUL-terminated text."""
        argument = self.signature.arguments[index]
        size = self.member(f"{argument.name}_size", "u16", 2)
        nth = self.layout.num_variable
        if application_data:
            self.layout.fixed.append(f"event->{size} = 0;")
        pointer = self.read(index, application_data)
        self.append(
            Value(key_of(argument.name), "TEXT", 0, maximum=STRING_MAX, counted_by=size,
                  application_data=application_data),
            f"end = append_string(scratch, end, {pointer}, &event->{size}, {nth});",
        )  # fmt: skip

    def stats(self, index: int) -> None:
        """Captures the struct that quicly:conn_stats points to, if its size has a known layout."""
        length = next((i for i, a in enumerate(self.signature.arguments) if a.name == "size"), None)
        if length is None:
            self.fail("a struct st_quicly_stats_t needs an argument named size")
        known = " || ".join(f"event->size == {size}" for size in self.stats_sizes) or "0"
        nth = self.layout.num_variable
        self.read(length)
        self.append(
            Value("stats", "STATS", 0, maximum=str(max(self.stats_sizes, default=0)), counted_by="size"),
            f"if ({known})\n    end = append(scratch, end, {self.read(index)}, event->size, "
            f"{max(self.stats_sizes, default=0)}, {nth});",
        )

    def struct(self, index: int) -> bool:
        """Captures the target of a pointer to a known struct. Returns False if the type is unknown."""
        argument = self.signature.arguments[index]
        type_ = argument.type.removeprefix("const ")
        if type_ == "struct st_quicly_conn_t *" and self.signature.provider == "h2o":
            self.connection = self.read(index)
        elif type_ == "struct st_quicly_conn_t *":
            self.layout.head_connection = self.read(index)
            self.behind(
                f"read_behind(&event->head.conn, 4, {self.read(index)} + CONNECTION_ID",
                [Value("conn", "UNSIGNED", 4, place=HEAD_CONN, skip_fixed=True)],
            )
        elif type_ == "struct st_quicly_stream_t *":
            self.member("stream_id", "s64", 8)
            self.behind(
                f"read_behind(&event->stream_id, 8, {self.read(index)} + STREAM_ID",
                [Value("stream-id", "SIGNED", 8, member="stream_id")],
            )
        elif type_ == "struct quicly_rtt_t *":
            self.member("rtt", "u32", 4, len(RTT))
            self.behind(
                f"read_behind(event->rtt, 16, {self.read(index)}",
                [Value(key, "UNSIGNED", 4, place=4 * nth, member="rtt") for nth, key in enumerate(RTT)],
            )
        elif type_ == "struct sockaddr *":
            name = self.member(member_of(argument), "u8", 1, ADDRESS_SIZE)
            self.behind(
                f"read_address(event->{name}, {self.read(index)}",
                [Value(key_of(argument.name), "ADDRESS", ADDRESS_SIZE, member=name)],
            )
        elif type_ == "struct st_quicly_stats_t *":
            self.stats(index)
        elif type_ in IDENTITIES:
            name = self.member(member_of(argument), "u64", 8)
            self.layout.fixed.append(f"event->{name} = {self.read(index)};")
            self.layout.fields.append(Value(key_of(argument.name), "UNSIGNED", 8, member=name))
        else:
            return type_ in PRIVATE
        return True

    def argument(self, index: int) -> None:
        argument = self.signature.arguments[index]
        marked = (self.signature.probe, argument.name)
        if marked in self.marks.secrets:
            return
        if looks_secret(argument):
            self.fail(f"{argument.name} looks like a secret; mark it with @secret, or give it another name")
        application_data = marked in self.marks.application_data and not self.is_header()
        length = length_of(self.signature, index)
        if argument.type in INTEGERS:
            self.integer(index, key_of(argument.name), argument.type, self.read(index))
        elif is_bytes(argument) and marked in self.marks.texts:
            self.string(index, application_data)
        elif is_text(argument):
            if length is not None and self.signature.arguments[length].name != "len":
                self.counted(index, "TEXT", length, application_data)
            else:
                self.string(index, application_data)
        elif is_bytes(argument) and self.signature.full_name == "quicly:receive":
            self.member("first_octet", "u8", 1)
            self.behind(
                f"read_behind(&event->first_octet, 1, {self.read(index)}",
                [Value("first-octet", "UNSIGNED", 1, member="first_octet")],
            )
        elif is_bytes(argument):
            if length is None:
                self.fail(
                    f"{argument.name} is bytes without a length; name one {argument.name}_len, "
                    f"num_{argument.name} or len, or mark it with @text if it is text"
                )
            self.counted(index, "BYTES", length, application_data)
        elif not self.struct(index):
            self.fail(f"{argument.type.replace(' *', '')} of {argument.name} is not a type that h2olog knows")

    def is_header(self) -> bool:
        """Names and values of headers are always printed, even if h2o marks them as application data."""
        return self.signature.probe in ("receive_request_header", "send_response_header")

    def tie(self) -> None:
        """Finds quicly's connection for an event of h2o, and changes the ties."""
        signature = self.signature
        conn_id = next((i for i, a in enumerate(signature.arguments) if a.name == "conn_id"), None)
        if signature.provider != "h2o" or conn_id is None:
            return
        conn_id_text = self.read(conn_id)
        self.layout.early.append("u32 conn = 0;")
        if self.connection:
            self.layout.early += [
                f"const u16 flags = EVENT_TIED ^ read_behind(&conn, 4, {self.connection} + CONNECTION_ID, EVENT_TIED);",
                f"const u64 connection = flags ? {self.connection} : 0;",
                f"if (flags)\n    tie({conn_id_text}, conn, connection);",
            ]
        else:
            self.layout.early += [
                "u64 connection = 0;",
                f"const u16 flags = tied({conn_id_text}, &conn, &connection);",
            ]
        self.layout.head_flags = "flags"
        self.layout.head_conn = "conn"
        self.layout.head_connection = "connection"
        self.layout.fields.append(Value("conn", "TIED", 4, place=HEAD_CONN, skip_fixed=True))
        if signature.probe in ("h3_close", "h3s_destroy"):
            self.layout.early.append(f"untie({conn_id_text});")

    def candidate(self) -> None:
        """Returns what the capture passes to keep(): see struct candidate in bpf/capture.h."""
        kinds: list[str] = []
        members: dict[str, str] = {"id": "id"}
        if self.layout.head_flags != "0":
            conn_id = next(i for i, a in enumerate(self.signature.arguments) if a.name == "conn_id")
            members |= {"flags": self.layout.head_flags, "conn_id": self.read(conn_id)}
            if not self.connection and not self.signature.probe.startswith("h3"):
                kinds.append("ANY_HTTP")
        if self.layout.head_connection != "0":
            members["connection"] = self.layout.head_connection
        if self.is_header():
            name, length = (
                next((i for i, a in enumerate(self.signature.arguments) if a.name == wanted), None)
                for wanted in ("name", "name_len")
            )
            if name is not None and length is not None:
                kinds.append("REQUEST_HEADER" if self.signature.probe.startswith("receive") else "RESPONSE_HEADER")
                members |= {"name": self.read(name), "name_length": self.read(length)}
        if kinds:
            members["kind"] = " | ".join(kinds)
        self.layout.candidate = members

    def stamp(self) -> None:
        """Adds the time, unless an argument is the time."""
        if not any(a.name == "at" for a in self.signature.arguments):
            self.layout.stamped = True
            self.member("stamp", "u64", 8)
            self.layout.fields.append(Value("time", "STAMP", 8, member="stamp"))

    def keys_of_all(self) -> list[str]:
        """Returns the keys that are printed in addition to those of the arguments."""
        arguments = [argument.name for argument in self.signature.arguments]
        keys = list(LINE_KEYS)
        if "at" not in arguments:
            keys.append("time")
        if self.signature.provider == "h2o" and "conn_id" in arguments:
            keys.append("conn")
        return keys

    def check_keys(self) -> None:
        """Checks that no key appears twice in the JSON object."""
        keys = [value.key for value in self.layout.fields] + self.keys_of_all()
        for key in keys:
            if keys.count(key) > 1:
                self.fail(f"two fields have the key {key}; rename an argument")

    def check_size(self) -> None:
        """Checks that the largest event fits into a scratch."""
        fixed = sum(width * count for _, _, width, count in self.layout.members)
        variable = sum(EVENT_LIMITS.get(value.maximum) or int(value.maximum) for value in self.layout.fields)
        if HEAD_SIZE + fixed + 8 + variable > EVENT_LIMITS["EVENT_MAX"]:  # 8: the time, which is added last
            self.fail(f"its events can have more than {EVENT_LIMITS['EVENT_MAX']} bytes; leave out some text or bytes")

    def try_argument(self, index: int) -> None:
        before = copy.deepcopy(self.layout)
        try:
            self.argument(index)
            self.check_keys()
            self.check_size()
        except ListError as error:
            if not self.is_of_source:
                raise
            self.layout = before
            sentence = f"warning: {error.sentence.partition(';')[0]}; this argument is not printed"
            self.warnings.append(ListError(self.signature.file, self.signature.line, sentence))

    def place(self) -> None:
        """Orders the members by width, largest first, so that all are aligned without padding."""
        self.layout.members.sort(key=lambda member: -member[2])
        for name, _, width, count in self.layout.members:
            self.layout.places[name] = self.layout.size
            self.layout.size += width * count
        for value in self.layout.fields:
            if not value.skip_fixed:
                value.place += self.layout.places[value.counted_by or value.member]

    def build(self) -> Layout:
        if len(self.signature.arguments) > MAX_ARGUMENTS:
            self.fail(f"has more than {MAX_ARGUMENTS} arguments")
        for index in range(len(self.signature.arguments)):
            self.try_argument(index)
        self.tie()
        self.candidate()
        self.stamp()
        self.place()
        return self.layout


def lay_out(
    signatures: list[Signature], marks: dict[str, Marks], stats_sizes: list[int]
) -> tuple[list[Layout], list[ListError]]:
    """The layouts, and warnings for the user."""
    builders = [Builder(s, marks.get(s.provider, Marks()), stats_sizes) for s in signatures]
    layouts = [builder.build() for builder in builders]
    return layouts, [warning for builder in builders for warning in builder.warnings]


def lay_out_generic() -> list[Layout]:
    """The layouts for probes that no list knows, by their number of arguments: all are 64-bit integers."""
    arguments = tuple(Argument("uint64_t", f"arg{nth}") for nth in range(1, MAX_ARGUMENTS + 1))
    signatures = [Signature("", "", arguments[:count], None, None, Path(), 0) for count in range(MAX_ARGUMENTS + 1)]
    return [Builder(signature, Marks(), []).build() for signature in signatures]
