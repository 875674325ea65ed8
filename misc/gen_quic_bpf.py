#!/usr/bin/python3
"""Turns h2o's USDT probe lists into the tables that h2olog is built with.

    gen_quic_bpf.py tables --conn-stats FILE [--source LIST]... LIST...
    gen_quic_bpf.py plain --at DATE LIST
    gen_quic_bpf.py embed NAME=FILE...

`tables` reads annotated lists (bpf/*-probes.d) and, with --source, plain ones out of an h2o source tree,
checks them, and writes (to standard output, or --output) for each signature the BPF C that captures it and a row a field that says what to
print of the event. `plain` writes the list as h2o had it on a date. `embed` writes files as C strings.

One pass a function: parse, check, write. Whatever is wrong with a list is one line, FILE:LINE: SENTENCE.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from dataclasses import dataclass, field as dataclass_field
from pathlib import Path
from typing import Iterable, Iterator, NoReturn


class ListError(Exception):
    """What is wrong with a list, and where."""

    def __init__(self, file: Path, line: int, sentence: str) -> None:
        super().__init__(f"{file}:{line}: {sentence}")


@dataclass(frozen=True)
class Argument:
    type: str  # as C spells it, one space before a '*': "uint64_t", "const char *"
    name: str


@dataclass(frozen=True)
class Signature:
    """A probe as it was declared between two dates (until is the first day that it was not)."""

    provider: str
    probe: str
    arguments: tuple[Argument, ...]
    since: str | None
    until: str | None
    file: Path
    line: int

    @property
    def full_name(self) -> str:
        return f"{self.provider}:{self.probe}"

    def declaration(self) -> str:
        return f"{self.full_name}({', '.join(declared(a) for a in self.arguments)})"


@dataclass
class Marks:
    """What the annotations of a list say of arguments, by (probe, argument)."""

    application_data: set[tuple[str, str]] = dataclass_field(default_factory=set)
    secrets: set[tuple[str, str]] = dataclass_field(default_factory=set)
    texts: set[tuple[str, str]] = dataclass_field(default_factory=set)

    def add(self, other: Marks) -> None:
        self.application_data |= other.application_data
        self.secrets |= other.secrets
        self.texts |= other.texts


def declared(argument: Argument) -> str:
    space = "" if argument.type.endswith("*") else " "
    return f"{argument.type}{space}{argument.name}"


# --- parse ---------------------------------------------------------------------------------------------

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"(?P<comment>/\*.*?\*/|//[^\n]*|\#[^\n]*)|(?P<word>\w+)|(?P<sign>[{}();,*])|(?P<space>\s+)", re.S)
PERIOD = re.compile(r"/\*\s*@from\s+(\S+)(?:\s+@until\s+(\S+))?\s*\*/")
MARK = re.compile(r"/\*\s*@(appdata|secret|text)\s*(\{.*\})\s*\*/", re.S)


def is_date(text: str) -> bool:
    try:
        return DATE.fullmatch(text) is not None and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class Token:
    text: str
    line: int
    is_comment: bool


def tokens(file: Path, text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ListError(file, line, f"'{text[at]}' does not belong in a probe list")
        if match.lastgroup != "space":
            yield Token(match.group(), line, match.lastgroup == "comment")
        line += match.group().count("\n")
        at = match.end()


class Parser:
    """The D of a provider declaration, and the annotations in its comments."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.tokens = list(tokens(file, text))
        self.next = 0
        self.period: tuple[str | None, str | None] = (None, None)
        self.marks = Marks()

    def fail(self, sentence: str, line: int | None = None) -> NoReturn:
        if line is None:
            line = self.tokens[min(self.next, len(self.tokens) - 1)].line if self.tokens else 1
        raise ListError(self.file, line, sentence)

    def take(self) -> str:
        """The next token that is not a comment; annotations on the way are noted."""
        while self.next < len(self.tokens) and self.tokens[self.next].is_comment:
            self.annotation(self.tokens[self.next])
            self.next += 1
        if self.next == len(self.tokens):
            self.fail("the list ends in the middle of a declaration")
        self.next += 1
        return self.tokens[self.next - 1].text

    def expect(self, text: str) -> None:
        found = self.take()
        if found != text:
            self.next -= 1
            self.fail(f"'{text}' is missing before '{found}'")

    def at_end(self) -> bool:
        return all(token.is_comment for token in self.tokens[self.next:])

    def annotation(self, comment: Token) -> None:
        if (period := PERIOD.fullmatch(comment.text)) is not None:
            since, until = period.groups()
            for date in (since, until):
                if date is not None and not is_date(date):
                    self.fail(f"'{date}' is not a date; write YYYY-MM-DD", comment.line)
            if until is not None and until <= since:
                self.fail(f"@until {until} is not after @from {since}", comment.line)
            self.period = (since, until)
        elif (mark := MARK.fullmatch(comment.text)) is not None:
            self.mark(mark.group(1), mark.group(2), comment.line)
        elif re.match(r"/\*\s*@(from|until|appdata|secret|text)\b", comment.text):
            self.fail("this annotation cannot be read; bpf/h2o-probes.d says how it is written", comment.line)

    def mark(self, kind: str, text: str, line: int) -> None:
        marked = {
            "appdata": self.marks.application_data, "secret": self.marks.secrets, "text": self.marks.texts
        }[kind]  # fmt: skip
        try:
            for probe, names in json.loads(text).items():
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError(f"{probe} needs a list of names of arguments")
                marked.update((probe, name) for name in names)
        except (ValueError, TypeError, AttributeError) as error:
            self.fail(f"the JSON of @{kind} cannot be read: {error}", line)

    def argument(self, probe: str) -> Argument | None:
        words: list[str] = []
        while (text := self.take()) not in (",", ")"):
            if text in "{}(;":
                self.next -= 1
                self.fail(f"')' is missing after the arguments of {probe}")
            words.append(text)
        self.next -= 1
        if not words or words == ["void"]:
            return None
        if len(words) < 2 or not WORD.fullmatch(words[-1]):
            self.fail(f"an argument of {probe} needs a type and a name: '{' '.join(words)}'")
        type_name = " ".join(word for word in words[:-1] if word != "*")
        stars = "*" * words[:-1].count("*")
        return Argument(f"{type_name} {stars}" if stars else type_name, words[-1])

    def probe(self, provider: str) -> Signature:
        name = self.take()
        line = self.tokens[self.next - 1].line
        if not WORD.fullmatch(name):
            self.fail(f"'{name}' cannot be the name of a probe", line)
        self.expect("(")
        arguments: list[Argument] = []
        while True:
            argument = self.argument(name)
            if argument is not None:
                if any(argument.name == other.name for other in arguments):
                    self.fail(f"{name} has two arguments of the name {argument.name}")
                arguments.append(argument)
            ends = self.take() == ")"
            if argument is None and (arguments or not ends):
                self.next -= 1
                self.fail(f"an argument of {name} is empty")
            if ends:
                break
        self.expect(";")
        since, until = self.period
        self.period = (None, None)
        return Signature(provider, name, tuple(arguments), since, until, self.file, line)

    def parse(self) -> list[Signature]:
        signatures: list[Signature] = []
        while not self.at_end():
            self.expect("provider")
            provider = self.take()
            if not WORD.fullmatch(provider):
                self.next -= 1
                self.fail(f"'{provider}' cannot be the name of a provider")
            self.expect("{")
            while (text := self.take()) != "}":
                if text != "probe":
                    self.next -= 1
                    self.fail(f"'probe' is missing before '{text}'")
                signatures.append(self.probe(provider))
            self.expect(";")
        if not signatures:
            self.fail("the list declares no probe")
        return signatures


def read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ListError(file, 1, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ListError(file, 1, f"is not UTF-8: {error}") from error


def read(file: Path) -> tuple[list[Signature], Marks]:
    parser = Parser(file, read_text(file))
    return parser.parse(), parser.marks


def read_list(file: Path) -> list[Signature]:
    """The signatures of one list."""
    return read(file)[0]


def at(signatures: Iterable[Signature], date: str) -> list[Signature]:
    """Those that h2o had on a date."""
    return [s for s in signatures if (s.since or "") <= date and (s.until is None or date < s.until)]


# --- check, and lay out --------------------------------------------------------------------------------

# Integers: width and sign.
INTEGERS = {
    "int8_t": (1, True), "uint8_t": (1, False),
    "int16_t": (2, True), "uint16_t": (2, False),
    "int32_t": (4, True), "uint32_t": (4, False),
    "int64_t": (8, True), "uint64_t": (8, False),
    "int": (4, True), "unsigned": (4, False), "unsigned int": (4, False),
    "size_t": (8, False), "ssize_t": (8, True), "pid_t": (4, True),
}  # fmt: skip

# Pointers that tell objects apart, and are printed as integers; the rest of what is private to the server
# is not printed.
IDENTITIES = {
    "struct st_h2o_socket_t *", "struct st_ptls_t *", "struct st_h2o_tunnel_t *",
    "struct st_h2o_io_uring_cmd_t *",
}  # fmt: skip
PRIVATE = {
    "struct st_h2o_conn_t *", "struct st_quicly_address_token_plaintext_t *",
    "struct st_h2o_ebpf_map_key_t *", "struct st_h2o_iovec_t *", "void *",
}  # fmt: skip

# `connection` is h2olog's own member.
RENAMED = {"at": "time", "num_bytes": "bytes-len", "connection": "server-connection"}
RTT = ("min-rtt", "smoothed-rtt", "variance-rtt", "latest-rtt")  # in the order of struct quicly_rtt_t

# What the captures, or C and its compilers, call something else; and our own members end in these.
RESERVED = {
    "head", "event", "on_stack", "stamp", "scratch", "end", "id", "ctx", "silent", "flags",
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static",
    "struct", "switch", "typedef", "typeof", "union", "unsigned", "void", "volatile", "while", "asm",
}  # fmt: skip

# What event.h and capture.h say.
HEAD_SIZE = 24
HEAD_CONN = 4
NAME_MAX = "EVENT_NAME_MAX"
TEXT_MAX = "EVENT_TEXT_MAX"
STRING_MAX = "EVENT_STRING_MAX"
ADDRESS_SIZE = 28
MAX_UNREAD = 15  # a bit in event_head.flags for each value that may be unreadable
MAX_ARGUMENTS = 16


@dataclass
class Value:
    """What an argument leaves in an event: a member of the fixed part, or something appended to it."""

    key: str
    kind: str  # of enum field_kind, without FIELD_
    width: int
    place: int = 0
    maximum: str = "0"
    counted_by: str | None = None  # member that counts a value of no fixed size
    member: str = ""
    type: str = ""
    application_data: bool = False
    skip_fixed: bool = False  # not a member of the fixed part
    unread: int = 0  # of event_head.flags: it could not be read


@dataclass
class Layout:
    """How a signature is captured and what is printed of it."""

    signature: Signature
    fields: list[Value] = dataclass_field(default_factory=list)
    members: list[tuple[str, str, int, int]] = dataclass_field(default_factory=list)  # name, C type, width, count
    places: dict[str, int] = dataclass_field(default_factory=dict)
    size: int = HEAD_SIZE
    early: list[str] = dataclass_field(default_factory=list)  # statements before there is an event
    fixed: list[str] = dataclass_field(default_factory=list)  # fill the fixed part
    variable: list[str] = dataclass_field(default_factory=list)  # append to it
    head_flags: str = "0"
    head_conn: str = "0"
    head_connection: str = "0"
    reads: set[int] = dataclass_field(default_factory=set)
    reads_application_data: set[int] = dataclass_field(default_factory=set)
    num_variable: int = 0
    num_behind: int = 0
    stamped: bool = False  # the signature has no time of its own


def key_of(name: str) -> str:
    return RENAMED.get(name, name.replace("_", "-"))


def length_of(signature: Signature, index: int) -> int | None:
    """The argument that counts the bytes or the text of another: NAME_len, num_NAME or len."""
    name = signature.arguments[index].name
    for wanted in (f"{name}_len", f"num_{name}", "len"):
        for i, argument in enumerate(signature.arguments):
            if argument.name == wanted:
                return i
    return None


def is_text(argument: Argument) -> bool:
    return argument.type in ("const char *", "char *")


def is_bytes(argument: Argument) -> bool:
    return argument.type in ("const void *", "uint8_t *", "const uint8_t *")


def looks_secret(argument: Argument) -> bool:
    return re.search(r"(^|_)(secret|secret_hex|key|password|private)(_|$)", argument.name) is not None and not (
        argument.type in INTEGERS
    )


class Builder:
    """Lays one signature out."""

    def __init__(self, signature: Signature, marks: Marks, stats_sizes: list[int]) -> None:
        self.signature = signature
        self.marks = marks
        self.stats_sizes = stats_sizes
        self.layout = Layout(signature)
        self.connection = ""  # of an h2o probe: the address of quicly's object

    def fail(self, sentence: str) -> NoReturn:
        raise ListError(self.signature.file, self.signature.line, f"{self.signature.full_name}: {sentence}")

    def read(self, index: int, application_data: bool = False) -> str:
        (self.layout.reads_application_data if application_data else self.layout.reads).add(index)
        return f"arg{index}"

    def member(self, name: str, c_type: str, width: int, count: int = 1) -> str:
        if any(name == member[0] for member in self.layout.members):
            self.fail(f"two values would be called {name}; another argument needs another name")
        self.layout.members.append((name, c_type, width, count))
        return name

    def integer(self, index: int, key: str, c_type: str, expression: str) -> None:
        width, signed = INTEGERS[c_type]
        name = self.signature.arguments[index].name
        self.member(name, f"{'s' if signed else 'u'}{width * 8}", width)
        self.layout.fixed.append(f"event->{name} = ({'s' if signed else 'u'}{width * 8}){expression};")
        self.layout.fields.append(Value(key, "SIGNED" if signed else "UNSIGNED", width, member=name))

    def append(self, value: Value, statement: str) -> None:
        self.layout.num_variable += 1
        self.check_unread()
        self.layout.fields.append(value)
        self.layout.variable.append(f"if (APPLICATION_DATA)\n    {statement}" if value.application_data else statement)

    def check_unread(self) -> None:
        if self.layout.num_variable + self.layout.num_behind > MAX_UNREAD:
            self.fail(f"has more than {MAX_UNREAD} values that lie behind pointers")

    def behind(self, reads: str, values: list[Value]) -> None:
        """Values of fixed size behind a pointer: if that cannot be followed, a bit says so, from the highest down."""
        unread = 1 << (MAX_UNREAD - 1 - self.layout.num_behind)
        self.layout.num_behind += 1
        self.check_unread()
        for value in values:
            value.unread = unread
            self.layout.fields.append(value)
        self.layout.fixed.append(f"event->head.flags |= {reads}, 0x{unread:x});")

    def counted(self, index: int, kind: str, length: int, application_data: bool) -> None:
        """Text or bytes that another argument counts."""
        argument = self.signature.arguments[index]
        counter = self.signature.arguments[length]
        if INTEGERS.get(counter.type, (0, True))[1]:
            self.fail(f"{argument.name} is counted by {counter.name}, which is no unsigned integer")
        maximum = NAME_MAX if argument.name == "name" else TEXT_MAX
        nth = self.layout.num_variable
        self.read(length)
        size = f"event->{counter.name}"
        pointer = self.read(index, application_data)
        self.append(
            Value(key_of(argument.name), kind, 0, maximum=maximum, counted_by=counter.name,
                  application_data=application_data),
            f"end = append(scratch, end, {pointer}, {size}, {maximum}, {nth});",
        )  # fmt: skip

    def string(self, index: int, application_data: bool) -> None:
        """Text that ends with a NUL."""
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
        """The struct that quicly:conn_stats points to, where its size is one whose layout is known."""
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
        """The pointers that h2olog looks behind."""
        argument = self.signature.arguments[index]
        if argument.type == "struct st_quicly_conn_t *" and self.signature.provider == "h2o":
            self.connection = self.read(index)
        elif argument.type == "struct st_quicly_conn_t *":
            self.layout.head_connection = self.read(index)
            self.behind(
                f"read_behind(&event->head.conn, 4, {self.read(index)} + CONNECTION_ID",
                [Value("conn", "UNSIGNED", 4, place=HEAD_CONN, skip_fixed=True)],
            )
        elif argument.type == "struct st_quicly_stream_t *":
            self.member("stream_id", "s64", 8)
            self.behind(
                f"read_behind(&event->stream_id, 8, {self.read(index)} + STREAM_ID",
                [Value("stream-id", "SIGNED", 8, member="stream_id")],
            )
        elif argument.type == "struct quicly_rtt_t *":
            self.member("rtt", "u32", 4, len(RTT))
            self.behind(
                f"read_behind(event->rtt, 16, {self.read(index)}",
                [Value(key, "UNSIGNED", 4, place=4 * nth, member="rtt") for nth, key in enumerate(RTT)],
            )
        elif argument.type == "struct sockaddr *":
            self.member(argument.name, "u8", 1, ADDRESS_SIZE)
            self.behind(
                f"read_address(event->{argument.name}, {self.read(index)}",
                [Value(key_of(argument.name), "ADDRESS", ADDRESS_SIZE, member=argument.name)],
            )
        elif argument.type == "struct st_quicly_stats_t *":
            self.stats(index)
        elif argument.type in IDENTITIES:
            self.member(argument.name, "u64", 8)
            self.layout.fixed.append(f"event->{argument.name} = {self.read(index)};")
            self.layout.fields.append(Value(key_of(argument.name), "UNSIGNED", 8, member=argument.name))
        else:
            return argument.type in PRIVATE
        return True

    def argument(self, index: int) -> None:
        argument = self.signature.arguments[index]
        marked = (self.signature.probe, argument.name)
        if argument.name in RESERVED or re.fullmatch(r"arg[0-9]+|[A-Z_0-9]+|[us](8|16|32|64)", argument.name):
            self.fail(f"an argument cannot be called {argument.name}: the capture calls something else so")
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
                    f"num_{argument.name} or len, or say @text if it is text"
                )
            self.counted(index, "BYTES", length, application_data)
        elif not self.struct(index):
            self.fail(f"{argument.type.replace(' *', '')} of {argument.name} is not a type that h2olog knows")

    def is_header(self) -> bool:
        """Header names and values are what h2olog is for, whatever h2o marks them as."""
        return self.signature.probe in ("receive_request_header", "send_response_header")

    def tie(self) -> None:
        """Which connection of quicly an event of h2o belongs to."""
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
            if not signature.probe.startswith("h3"):
                self.layout.early.append("if (HTTP3_ONLY && !flags)\n    return 0;")
        self.layout.head_flags = "flags"
        self.layout.head_conn = "conn"
        self.layout.head_connection = "connection"
        self.layout.fields.append(Value("conn", "TIED", 4, place=HEAD_CONN, skip_fixed=True))
        if signature.probe in ("h3_close", "h3s_destroy"):
            self.layout.early.append(f"untie({conn_id_text});")

    def stamp(self) -> None:
        """When it happened, of what does not say so itself."""
        if not any(a.name == "at" for a in self.signature.arguments):
            self.layout.stamped = True
            self.member("stamp", "u64", 8)
            self.layout.fields.append(Value("time", "STAMP", 8, member="stamp"))

    def check_keys(self) -> None:
        """No object that is printed has a key twice."""
        keys = [value.key for value in self.layout.fields]
        for key in keys:
            if keys.count(key) > 1:
                self.fail(f"two fields would be called {key}; another argument needs another name")

    def place(self) -> None:
        """Largest first, so that all are aligned and nothing is padded."""
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
        if self.is_header() and self.signature.probe == "send_response_header":
            name, length = (
                next((i for i, a in enumerate(self.signature.arguments) if a.name == wanted), None)
                for wanted in ("name", "name_len")
            )
            if name is not None and length is not None:
                self.layout.early.append(f"if (!header_wanted({self.read(name)}, {self.read(length)}))\n    return 0;")
        for index in range(len(self.signature.arguments)):
            self.argument(index)
        self.tie()
        self.stamp()
        self.check_keys()
        self.place()
        return self.layout


def lay_out(signatures: list[Signature], marks: dict[str, Marks], stats_sizes: list[int]) -> list[Layout]:
    return [Builder(s, marks.get(s.provider, Marks()), stats_sizes).build() for s in signatures]


def check_overlap(signatures: list[Signature]) -> None:
    """No probe has two signatures on one day."""
    seen: dict[str, list[Signature]] = {}
    for s in signatures:
        for other in seen.setdefault(s.full_name, []):
            if (s.since or "") < (other.until or "9999") and (other.since or "") < (s.until or "9999"):
                raise ListError(
                    s.file, s.line, f"{s.full_name} is declared twice for the same time, also on line {other.line}"
                )
        seen[s.full_name].append(s)


# --- write ---------------------------------------------------------------------------------------------


def c_string(text: str, indent: str) -> str:
    """A C string literal, a line of it a line."""
    lines = text.splitlines(keepends=True) or [""]
    quoted = (
        '"' + line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
        for line in lines
    )
    return f"\n{indent}".join(quoted)


def capture_text(layout: Layout) -> str:
    """The body of the BPF function that captures a signature; `ctx`, `id` and the arguments are there."""
    scratch = bool(layout.variable)
    body: list[str] = ["struct event {", "    struct event_head head;"]
    for name, c_type, _, count in layout.members:
        body.append(f"    {c_type} {name}{f'[{count}]' if count > 1 else ''};")
    if scratch:
        body += ["};"]
        body += layout.early
        body += [
            "struct scratch *scratch = claim(id);",
            "struct event *event;",
            f"u64 end = {layout.size};",
            "if (!scratch)\n    return 0;",
            "event = (struct event *)scratch->event;",
        ]
    else:
        body += ["} on_stack, *event = &on_stack;"]
        body += layout.early
    body += [
        f"event->head.flags = {layout.head_flags};",
        f"event->head.conn = {layout.head_conn};",
        f"event->head.connection = {layout.head_connection};",
    ]
    body += layout.fixed + layout.variable
    if layout.stamped:
        body.append("event->stamp = STAMP;")
    body.append(f"submit(id, event, {'end' if scratch else layout.size});")
    if scratch:
        body.append("release(scratch);")
    body.append("return 0;")
    return "".join(f"    {line}\n" for statement in body for line in statement.split("\n"))


def bits(indices: set[int]) -> str:
    return f"0x{sum(1 << i for i in indices):x}"


def date_number(date: str | None) -> int:
    return int(date.replace("-", "")) if date else 0


def write_signature(layout: Layout, index: int) -> Iterator[str]:
    s = layout.signature
    yield f"/* {s.declaration()} */\n"
    if layout.fields:
        yield f"static const struct field fields_{index}[] = {{\n"
        for v in layout.fields:
            yield (
                f'    {{"{v.key}", FIELD_{v.kind}, {v.width}, {"true" if v.application_data else "false"}, '
                f"{v.place}, {counter_width(layout, v)}, {v.maximum}, 0x{v.unread:x}}},\n"
            )
        yield "};\n"
    if s.arguments:
        yield f"static const struct argument arguments_{index}[] = {{\n"
        for a in s.arguments:
            width, signed = INTEGERS.get(a.type, (8, False))
            pointer = a.type not in INTEGERS
            yield f'    {{"{a.name}", {width}, {str(signed).lower()}, {str(pointer).lower()}}},\n'
        yield "};\n"
    yield "\n"


def counter_width(layout: Layout, value: Value) -> int:
    if value.counted_by is None:
        return 0
    return next(width for name, _, width, _ in layout.members if name == value.counted_by)


def write_tables(layouts: list[Layout], stats: list[StatsField]) -> Iterator[str]:
    yield "/* Written by misc/gen_quic_bpf.py from the probe lists; see include/probe.h. */\n"
    yield '#include <stddef.h>\n\n#include "event.h"\n#include "probe.h"\n\n'
    for index, layout in enumerate(layouts):
        yield from write_signature(layout, index)
    yield "const struct signature signatures[] = {\n"
    for index, layout in enumerate(layouts):
        s = layout.signature
        yield "    {\n"
        yield f'        .provider = "{s.provider}",\n        .probe = "{s.probe}",\n'
        yield f"        .declaration = {c_string(s.declaration(), ' ' * 8)},\n"
        yield f"        .since = {date_number(s.since)},\n        .until = {date_number(s.until)},\n"
        if s.arguments:
            yield f"        .arguments = arguments_{index},\n"
        yield f"        .num_arguments = {len(s.arguments)},\n"
        if layout.fields:
            yield f"        .fields = fields_{index},\n"
        yield f"        .num_fields = {len(layout.fields)},\n"
        yield f"        .size = {layout.size},\n"
        yield f"        .reads = {bits(layout.reads)},\n"
        yield f"        .reads_application_data = {bits(layout.reads_application_data)},\n"
        yield f"        .capture = {c_string(capture_text(layout), ' ' * 12)},\n"
        yield "    },\n"
    yield f"}};\nconst size_t num_signatures = {len(layouts)};\n\n"
    yield "const struct stats_field stats_fields[] = {\n"
    for field in stats:
        yield f'    {{{field.size}, "{field.key}", {field.offset}, {field.width}, {str(field.signed).lower()}}},\n'
    if not stats:
        yield "    {0}\n"
    yield f"}};\nconst size_t num_stats_fields = {len(stats)};\n"


def write_plain(signatures: list[Signature]) -> Iterator[str]:
    yield f"provider {signatures[0].provider} {{\n"
    for s in signatures:
        yield f"    probe {s.probe}({', '.join(declared(a) for a in s.arguments)});\n"
    yield "};\n"


def write_texts(named: list[tuple[str, Path]]) -> Iterator[str]:
    yield '/* Written by misc/gen_quic_bpf.py. */\n#include <stddef.h>\n\n#include "texts.h"\n\n'
    yield "const struct text_file text_files[] = {\n"
    for name, file in named:
        yield f'    {{"{name}",\n     {c_string(file.read_text(encoding="utf-8"), "     ")}}},\n'
    yield "    {NULL, NULL},\n};\n"


# --- the layouts of struct st_quicly_stats_t -----------------------------------------------------------


@dataclass(frozen=True)
class StatsField:
    size: int
    key: str
    offset: int
    width: int
    signed: bool


def read_stats(file: Path) -> list[StatsField]:
    """One line a field: size of the struct, name, offset, C type, between tabs."""
    fields: list[StatsField] = []
    for line_number, line in enumerate(read_text(file).splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        numbers = [int(columns[i]) for i in (0, 2) if i < len(columns) and re.fullmatch("[0-9]{1,9}", columns[i])]
        if len(columns) != 4 or columns[3] not in INTEGERS or len(numbers) != 2:
            raise ListError(file, line_number, "a line is SIZE, FIELD, OFFSET and C type, between tabs")
        (size, offset), key = numbers, columns[1]
        width, signed = INTEGERS[columns[3]]
        if not re.fullmatch("[A-Za-z0-9_.-]+", key):
            raise ListError(file, line_number, f"FIELD {key!r} cannot be a key: letters, digits, '-', '_' and '.' can")
        if offset + width > size or size > 4096:
            raise ListError(file, line_number, f"{key} lies outside its struct of {size} bytes (at most 4096)")
        if any(field.size == size and field.key == key for field in fields):
            raise ListError(file, line_number, f"{key} is there twice for structs of {size} bytes")
        fields.append(StatsField(size, key, offset, width, signed))
    return fields


# --- the commands --------------------------------------------------------------------------------------


def tables(arguments: argparse.Namespace) -> str:
    signatures: list[Signature] = []
    marks: dict[str, Marks] = {}
    for file in arguments.lists:
        found, said = read(file)
        signatures += found
        marks.setdefault(found[0].provider, Marks()).add(said)
    for file in arguments.source:
        found, said = read(file)
        marks.setdefault(found[0].provider, Marks()).add(said)
        signatures = merge_source(signatures, found)
    check_overlap(signatures)
    stats = read_stats(arguments.conn_stats)
    sizes = sorted({field.size for field in stats})
    return "".join(write_tables(lay_out(signatures, marks, sizes), stats))


# When a source tree is of, nobody says: after all else. It is PROBE_SOURCE_DATE in include/probe.h.
SOURCE_DATE = "9999-12-31"


def merge_source(signatures: list[Signature], plain: list[Signature]) -> list[Signature]:
    """A source tree's own list is one version more, the newest: what differs in it begins after all else."""
    provider = plain[0].provider
    check_overlap(plain)
    declared_now = {s.probe: s for s in plain}
    merged: list[Signature] = []
    for s in signatures:
        if s.provider == provider and s.until is None:
            now = declared_now.get(s.probe)
            if now is not None and now.arguments == s.arguments:
                del declared_now[s.probe]
            else:
                s = Signature(s.provider, s.probe, s.arguments, s.since, SOURCE_DATE, s.file, s.line)
        merged.append(s)
    for s in declared_now.values():
        merged.append(Signature(s.provider, s.probe, s.arguments, SOURCE_DATE, None, s.file, s.line))
    return merged


def plain(arguments: argparse.Namespace) -> str:
    if not is_date(arguments.at):
        raise ListError(arguments.list, 1, f"'{arguments.at}' is not a date; write YYYY-MM-DD")
    valid = at(read_list(arguments.list), arguments.at)
    if not valid:
        raise ListError(arguments.list, 1, f"h2o had none of these probes on {arguments.at}")
    return "".join(write_plain(valid))


def embed(arguments: argparse.Namespace) -> str:
    named = [tuple(pair.split("=", 1)) for pair in arguments.files]
    return "".join(write_texts([(name, Path(file)) for name, file in named]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("tables", help="write the tables that h2olog is built with")
    command.add_argument("--conn-stats", type=Path, required=True, metavar="FILE")
    command.add_argument("--source", type=Path, action="append", default=[], metavar="LIST")
    command.add_argument("lists", type=Path, nargs="+", metavar="LIST")
    command.set_defaults(run=tables)
    command = commands.add_parser("plain", help="write a list as h2o had it on a date")
    command.add_argument("--at", required=True, metavar="DATE")
    command.add_argument("list", type=Path, metavar="LIST")
    command.set_defaults(run=plain)
    command = commands.add_parser("embed", help="write files as C strings")
    command.add_argument("files", nargs="+", metavar="NAME=FILE")
    command.set_defaults(run=embed)
    for command in commands.choices.values():
        command.add_argument("--output", type=Path, metavar="FILE", help="write there; nothing if a list is wrong")
    arguments = parser.parse_args()
    try:
        text = arguments.run(arguments)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            arguments.output.write_text(text, encoding="utf-8")
    except ListError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
