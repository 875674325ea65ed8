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
import copy
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
        self.sentence = sentence


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
    loose: set[tuple[str, str]] = dataclass_field(default_factory=set)

    def add(self, other: Marks) -> None:
        self.application_data |= other.application_data
        self.secrets |= other.secrets
        self.texts |= other.texts
        self.loose |= other.loose


def declared(argument: Argument) -> str:
    space = "" if argument.type.endswith("*") else " "
    return f"{argument.type}{space}{argument.name}"


# --- parse ---------------------------------------------------------------------------------------------

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(
    r"(?P<comment>/\*.*?\*/|//[^\n]*|\#[^\n]*)|(?P<word>\w+)|(?P<sign>[{}();,*])|(?P<space>\s+)"
    r"|(?P<other>[^\x00-\x1f\x7f])", re.S)
PERIOD = re.compile(r"/\*\s*@from\s+(\S+)(?:\s+@until\s+(\S+))?\s*\*/")
INLINE_MARK = re.compile(r"/\*\s*@(appdata|secret|text)\s*\*/")
MARK = re.compile(r"/\*\s*@(appdata|secret|text|loose)\s*(\{.*\})\s*\*/", re.S)


# What a declaration of C begins with.
DECLARING = ("struct", "union", "enum", "typedef", "extern")


def spelled(words: list[str]) -> str:
    """A type as C spells it, of its words and stars."""
    name = " ".join(word for word in words if word != "*")
    stars = "*" * words.count("*")
    return f"{name} {stars}" if stars else name


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
    is_other: bool  # a sign that can stand in declarations of C only


def tokens(file: Path, text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ListError(file, line, f"'{text[at]}' does not belong in a probe list")
        if match.lastgroup != "space":
            yield Token(match.group(), line, match.lastgroup == "comment", match.lastgroup == "other")
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
        self.typedefs: dict[str, str] = {}
        self.inline: set[str] | None = None  # kinds of the marks before the argument that is being read

    def fail(self, sentence: str, line: int | None = None) -> NoReturn:
        if line is None:
            line = self.tokens[min(self.next, len(self.tokens) - 1)].line if self.tokens else 1
        raise ListError(self.file, line, sentence)

    def take(self, in_c: bool = False) -> str:
        """The next token that is not a comment; annotations on the way are noted."""
        while self.next < len(self.tokens) and self.tokens[self.next].is_comment:
            self.annotation(self.tokens[self.next])
            self.next += 1
        if self.next == len(self.tokens):
            self.fail("the list ends in the middle of a declaration")
        if self.tokens[self.next].is_other and not in_c:
            self.fail(f"'{self.tokens[self.next].text}' does not belong in a probe list")
        self.next += 1
        return self.tokens[self.next - 1].text

    def expect(self, text: str) -> None:
        found = self.take()
        if found != text:
            self.next -= 1
            self.fail(f"'{text}' is missing before '{found}'")

    def peek(self) -> str:
        """The token that take() will return."""
        return next(token.text for token in self.tokens[self.next :] if not token.is_comment)

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
        elif self.inline is not None and (mark := INLINE_MARK.fullmatch(comment.text)) is not None:
            self.inline.add(mark.group(1))
        elif re.match(r"/\*\s*@(from|until|appdata|secret|text|loose)\b", comment.text):
            self.fail("this annotation cannot be read; bpf/h2o-probes.d says how it is written", comment.line)

    def marked(self, kind: str) -> set[tuple[str, str]]:
        return {
            "appdata": self.marks.application_data, "secret": self.marks.secrets, "text": self.marks.texts,
            "loose": self.marks.loose,
        }[kind]  # fmt: skip

    def mark(self, kind: str, text: str, line: int) -> None:
        marked = self.marked(kind)
        try:
            for probe, names in json.loads(text).items():
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError(f"{probe} needs a list of names of arguments")
                marked.update((probe, name) for name in names)
        except (ValueError, TypeError, AttributeError) as error:
            self.fail(f"the JSON of @{kind} cannot be read: {error}", line)

    def argument(self, probe: str) -> Argument | None:
        words: list[str] = []
        self.inline = set()
        while (text := self.take()) not in (",", ")"):
            if text in "{}(;":
                self.next -= 1
                self.fail(f"')' is missing after the arguments of {probe}")
            words.append(text)
        marks, self.inline = self.inline, None
        self.next -= 1
        if not words or words == ["void"]:
            return None
        if len(words) < 2 or not WORD.fullmatch(words[-1]):
            self.fail(f"an argument of {probe} needs a type and a name: '{' '.join(words)}'")
        for kind in marks:
            self.marked(kind).add((probe, words[-1]))
        type_ = self.resolved(spelled(words[:-1]))
        return Argument(type_ if type_.endswith("*") else type_.removeprefix("const "), words[-1])

    def resolved(self, type_: str) -> str:
        """A type by its own name, where the list has a typedef for it."""
        name, stars = type_.rstrip("* "), ["*"] * type_.count("*")
        known = self.typedefs.get(name.removeprefix("const "))
        if known is None:
            return type_
        const = "const " if name.startswith("const ") else ""
        return spelled(re.findall(r"\w+|\*", const + known) + stars)

    def declaration(self) -> None:
        """What C declares before the providers, up to its ';': a type, a structure. Only typedefs matter."""
        words: list[str] = []
        depth = 0
        while (text := self.take(in_c=True)) != ";" or depth > 0:
            if text == "provider" and depth == 0:
                self.next -= 1
                self.fail(f"';' is missing before '{text}'")
            depth += (text in "{([") - (text in "})]")
            if depth < 0:
                self.next -= 1
                self.fail(f"'{text}' does not belong in a probe list")
            if depth == 0 and text not in "})]":
                words.append(text)
        is_plain = all(WORD.fullmatch(word) or word == "*" for word in words) and words[-1] != "*"
        num_words = 4 if words[1:2] in (["struct"], ["union"], ["enum"]) else 3  # one without a name is none
        if words[0] == "typedef" and len(words) >= num_words and is_plain:
            self.typedefs[words[-1]] = self.resolved(spelled(words[1:-1]))

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
            if self.peek() in DECLARING:
                self.declaration()
                continue
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
    "bool": (1, False), "_Bool": (1, False), "signed char": (1, True), "unsigned char": (1, False),
    "short": (2, True), "unsigned short": (2, False),
    "long": (8, True), "unsigned long": (8, False), "long long": (8, True), "unsigned long long": (8, False),
    "intptr_t": (8, True), "uintptr_t": (8, False), "off_t": (8, True), "time_t": (8, True),
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

# What a line says beside the fields of its probe; `tid` is left to an argument of that name.
LINE_KEYS = ("type", "seq", "provider", "connection")

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
    loose: set[str] = dataclass_field(default_factory=set)  # names of arguments


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


def member_of(argument: Argument) -> str:
    """What the capture calls an argument's member of the event: as h2o does, unless something else is called so."""
    is_taken = argument.name in RESERVED or re.fullmatch(r"arg[0-9]+|[A-Z_0-9]+|[us](8|16|32|64)", argument.name)
    return f"{argument.name}_" if is_taken else argument.name


def is_text(argument: Argument) -> bool:
    return argument.type in ("const char *", "char *")


def is_bytes(argument: Argument) -> bool:
    return argument.type in (
        "const void *", "uint8_t *", "const uint8_t *", "unsigned char *", "const unsigned char *"
    )  # fmt: skip


def looks_secret(argument: Argument) -> bool:
    return re.search(r"(^|_)(secret|secret_hex|key|password|private)(_|$)", argument.name) is not None and not (
        argument.type in INTEGERS
    )


class Builder:
    """
    Lays one signature out. What is wrong with one of ours is an error. Who builds with a source tree cannot mend its
    lists: of a signature of those, an argument that cannot be laid out is left out, with a warning.
    """

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
            self.fail(f"two values would be called {name}; another argument needs another name")
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
        size = f"event->{member_of(counter)}"
        pointer = self.read(index, application_data)
        self.append(
            Value(key_of(argument.name), kind, 0, maximum=maximum, counted_by=member_of(counter),
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

    def keys_of_all(self) -> list[str]:
        """Those that every signature like this has, beside its arguments'."""
        arguments = [argument.name for argument in self.signature.arguments]
        keys = list(LINE_KEYS)
        if "at" not in arguments:
            keys.append("time")
        if self.signature.provider == "h2o" and "conn_id" in arguments:
            keys.append("conn")
        return keys

    def check_keys(self) -> None:
        """No object that is printed has a key twice."""
        keys = [value.key for value in self.layout.fields] + self.keys_of_all()
        for key in keys:
            if keys.count(key) > 1:
                self.fail(f"two fields would be called {key}; another argument needs another name")

    def try_argument(self, index: int) -> None:
        before = copy.deepcopy(self.layout)
        try:
            self.argument(index)
            self.check_keys()
        except ListError as error:
            if not self.is_of_source:
                raise
            self.layout = before
            sentence = f"warning: {error.sentence.partition(';')[0]}; this argument is not printed"
            self.warnings.append(ListError(self.signature.file, self.signature.line, sentence))

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
            self.try_argument(index)
        self.tie()
        self.stamp()
        self.place()
        return self.layout


def lay_out(
    signatures: list[Signature], marks: dict[str, Marks], stats_sizes: list[int]
) -> tuple[list[Layout], list[ListError]]:
    """The layouts, and what is to be warned of."""
    builders = [Builder(s, marks.get(s.provider, Marks()), stats_sizes) for s in signatures]
    layouts = [builder.build() for builder in builders]
    return layouts, [warning for builder in builders for warning in builder.warnings]


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
            flags = ", ".join(str(flag).lower() for flag in (signed, pointer, a.name in layout.loose))
            yield f'    {{"{a.name}", {width}, {flags}}},\n'
        yield "};\n"
    yield "\n"


def counter_width(layout: Layout, value: Value) -> int:
    if value.counted_by is None:
        return 0
    return next(width for name, _, width, _ in layout.members if name == value.counted_by)


def write_stats_layout(layout: StatsLayout, index: int) -> Iterator[str]:
    yield f"/* {layout.size} bytes: h2o {layout.since} to {layout.until or 'now'} */\n"
    yield f"static const struct stats_field stats_fields_{index}[] = {{\n"
    for field in layout.fields:
        yield f'    {{"{field.key}", {field.offset}, {field.width}, {str(field.signed).lower()}}},\n'
    yield "};\n\n"


def write_stats(stats: list[StatsLayout]) -> Iterator[str]:
    for index, layout in enumerate(stats):
        yield from write_stats_layout(layout, index)
    yield "const struct stats_layout stats_layouts[] = {\n"
    for index, layout in enumerate(stats):
        known = "".join(f".{kind} = {offset}, " for kind, offset in layout.known.items())
        yield (
            f"    {{.size = {layout.size}, {known}"
            f".fields = stats_fields_{index}, .num_fields = {len(layout.fields)}}},\n"
        )
    if not stats:
        yield "    {0}\n"
    yield f"}};\nconst size_t num_stats_layouts = {len(stats)};\n"


def write_tables(layouts: list[Layout], stats: list[StatsLayout]) -> Iterator[str]:
    yield "/* Written by misc/gen_quic_bpf.py from the probe lists; see include/probe.h. */\n"
    yield '#include <stddef.h>\n\n#include "event.h"\n#include "server/signature.h"\n\n'
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
    yield from write_stats(stats)


def write_plain(signatures: list[Signature]) -> Iterator[str]:
    yield f"provider {signatures[0].provider} {{\n"
    for s in signatures:
        yield f"    probe {s.probe}({', '.join(declared(a) for a in s.arguments)});\n"
    yield "};\n"


def write_texts(named: list[tuple[str, Path]]) -> Iterator[str]:
    yield '/* Written by misc/gen_quic_bpf.py. */\n#include <stddef.h>\n\n#include "kernel/embedded.h"\n\n'
    yield "const struct embedded_file embedded_files[] = {\n"
    for name, file in named:
        yield f'    {{"{name}",\n     {c_string(file.read_text(encoding="utf-8"), "     ")}}},\n'
    yield "    {NULL, NULL},\n};\n"


# --- the layouts of struct st_quicly_stats_t -----------------------------------------------------------


@dataclass(frozen=True)
class StatsField:
    key: str
    offset: int
    width: int
    signed: bool


@dataclass
class StatsLayout:
    """A layout that h2o had between two dates; several layouts can have one size."""

    size: int
    since: str
    until: str | None
    known: dict[str, int]  # what each struct of the layout has: "pointer", "zero" or "nonzero", and at which offset
    fields: list[StatsField] = dataclass_field(default_factory=list)


# What src/stats.c has room for.
MAX_LAYOUTS_OF_A_SIZE = 4
MAX_STATS_SIZE = 4096


def read_stats_layout(columns: list[str]) -> StatsLayout:
    """A line "layout"; ValueError if it is not one."""
    size, since, until = columns[1:4]
    known: dict[str, int] = {}
    for word in columns[4:]:
        match = re.fullmatch(r"(pointer|zero|nonzero)@([0-9]{1,4})", word)
        if match is None or match[1] in known:
            raise ValueError(f"{word!r} is not pointer@OFFSET, zero@OFFSET or nonzero@OFFSET, each once")
        known[match[1]] = int(match[2])
    if not re.fullmatch("[0-9]{1,4}", size) or not is_date(since) or not (until == "-" or is_date(until)):
        raise ValueError("a layout is SIZE, FROM and UNTIL, which is '-' for the current one")
    if until <= since and until != "-":
        raise ValueError(f"UNTIL {until} is not after FROM {since}")
    for kind, offset in known.items():
        width = 8 if kind == "pointer" else 4
        if offset == 0 or offset % width != 0 or offset + width > int(size):
            raise ValueError(f"{kind}@{offset} is not an aligned offset of a struct of {size} bytes, or is 0")
    return StatsLayout(int(size), since, None if until == "-" else until, known)


def read_stats_field(layout: StatsLayout, columns: list[str]) -> StatsField:
    """A line of a field; ValueError if it is not one."""
    if len(columns) != 3 or columns[2] not in INTEGERS or not re.fullmatch("[0-9]{1,4}", columns[1]):
        raise ValueError("a line is FIELD, OFFSET and C type, between tabs")
    key, offset = columns[0], int(columns[1])
    width, signed = INTEGERS[columns[2]]
    if not re.fullmatch("[A-Za-z0-9_.-]+", key):
        raise ValueError(f"FIELD {key!r} cannot be a key: letters, digits, '-', '_' and '.' can")
    if offset + width > layout.size:
        raise ValueError(f"{key} lies outside its struct of {layout.size} bytes")
    for other in layout.fields:
        if other.key == key:
            raise ValueError(f"{key} is there twice in this layout of {layout.size} bytes")
        if other.offset < offset + width and offset < other.offset + other.width:
            raise ValueError(f"{key} lies where {other.key} lies")
    return StatsField(key, offset, width, signed)


def add_stats_layout(layouts: list[StatsLayout], layout: StatsLayout) -> None:
    if layout.size > MAX_STATS_SIZE:
        raise ValueError(f"a struct of {layout.size} bytes is larger than what is captured, {MAX_STATS_SIZE}")
    if sum(other.size == layout.size for other in layouts) == MAX_LAYOUTS_OF_A_SIZE:
        raise ValueError(f"there are more than {MAX_LAYOUTS_OF_A_SIZE} layouts of {layout.size} bytes")
    if layouts and not layouts[-1].fields:
        raise ValueError(f"the layout of {layouts[-1].size} bytes before this one has no field")
    layouts.append(layout)


def read_stats(file: Path) -> list[StatsLayout]:
    """bpf/conn-stats.tsv, whose comment says what its lines are."""
    layouts: list[StatsLayout] = []
    for line_number, line in enumerate(read_text(file).splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        try:
            if columns[0] == "layout" and len(columns) >= 4:
                add_stats_layout(layouts, read_stats_layout(columns))
            elif not layouts:
                raise ValueError("a line that begins a layout is missing: layout, SIZE, FROM and UNTIL, between tabs")
            else:
                layouts[-1].fields.append(read_stats_field(layouts[-1], columns))
        except ValueError as error:
            raise ListError(file, line_number, str(error)) from error
    if layouts and not layouts[-1].fields:
        raise ListError(file, line_number, f"the layout of {layouts[-1].size} bytes has no field")
    return layouts


# --- the commands --------------------------------------------------------------------------------------


def tables(arguments: argparse.Namespace) -> str:
    signatures: list[Signature] = []
    marks: dict[str, Marks] = {}
    for file in arguments.lists:
        found, said = read(file)
        signatures += found
        marks.setdefault(found[0].provider, Marks()).add(said)
    warnings: list[ListError] = []
    known = {(s.provider, s.probe, a.name) for s in signatures for a in s.arguments}
    for file in arguments.source:
        found, said = read(file)
        found = [s for s in found if not is_too_long(s, warnings)]
        if not found:
            continue
        marks.setdefault(found[0].provider, Marks()).add(said)
        marks[found[0].provider].application_data |= unknown_bytes(found, known)
        signatures = merge_source(signatures, found)
    check_overlap(signatures)
    stats = read_stats(arguments.conn_stats)
    layouts, more_warnings = lay_out(signatures, marks, sorted({layout.size for layout in stats}))
    for warning in warnings + more_warnings:
        print(warning, file=sys.stderr)
    return "".join(write_tables(layouts, stats))


def is_too_long(signature: Signature, warnings: list[ListError]) -> bool:
    """Of a source tree, such a probe is left out; it can still be traced as one that no list knows."""
    if len(signature.arguments) <= MAX_ARGUMENTS:
        return False
    sentence = f"warning: {signature.full_name}: has more than {MAX_ARGUMENTS} arguments; this probe is not known"
    warnings.append(ListError(signature.file, signature.line, sentence))
    return True


def unknown_bytes(signatures: list[Signature], known: set[tuple[str, str, str]]) -> set[tuple[str, str]]:
    """Bytes that our lists do not know, and so do not mark, can be payload: that is for -a only."""
    return {
        (s.probe, a.name)
        for s in signatures
        for a in s.arguments
        if is_bytes(a) and (s.provider, s.probe, a.name) not in known
    }


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
