"""Reads and checks the lists that h2olog is built from.

There are two kinds of files: probe lists (bpf/*-probes.d, or plain ones from an h2o source tree), and the layouts of
struct st_quicly_stats_t (bpf/conn-stats.tsv). An error in a list is a ListError, whose text is one line: FILE:LINE:
SENTENCE.
"""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import dataclass, field as dataclass_field
from pathlib import Path
from typing import Iterable, Iterator, NoReturn


class ListError(Exception):
    """An error in a list, with its file and line."""

    def __init__(self, file: Path, line: int, sentence: str) -> None:
        super().__init__(f"{file}:{line}: {sentence}")
        self.sentence = sentence


@dataclass(frozen=True)
class Argument:
    type: str  # as C spells it, one space before a '*': "uint64_t", "const char *"
    name: str


@dataclass(frozen=True)
class Signature:
    """A probe as it was declared between two dates. `until` is the first day without this declaration."""

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
    """The annotations of a list: by kind, the arguments as (probe, argument)."""

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


MAX_ARGUMENTS = 16  # of a probe; PROBE_ARGUMENTS_MAX in include/server/signature.h


# --- parse ---------------------------------------------------------------------------------------------

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(
    r"(?P<comment>/\*.*?\*/|//[^\n]*|\#[^\n]*)|(?P<word>\w+)|(?P<sign>[{}();,*])|(?P<space>\s+)"
    r"|(?P<other>[^\x00-\x1f\x7f])", re.S)
PERIOD = re.compile(r"/\*\s*@from\s+(\S+)(?:\s+@until\s+(\S+))?\s*\*/")
INLINE_MARK = re.compile(r"/\*\s*@(appdata|secret|text)\s*\*/")
MARK = re.compile(r"/\*\s*@(appdata|secret|text|loose)\s*(\{.*\})\s*\*/", re.S)


# The first word of a C declaration.
DECLARING = ("struct", "union", "enum", "typedef", "extern")


def spelled(words: list[str]) -> str:
    """Returns a type as C spells it, from its words and stars."""
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
    is_other: bool  # a character that only other C declarations can have


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
    """Parses the provider declarations of a list, and the annotations in its comments."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.tokens = list(tokens(file, text))
        self.next = 0
        self.period: tuple[str | None, str | None] = (None, None)
        self.marks = Marks()
        self.typedefs: dict[str, str] = {}
        self.inline: set[str] | None = None  # kinds of the marks before the current argument

    def fail(self, sentence: str, line: int | None = None) -> NoReturn:
        if line is None:
            line = self.tokens[min(self.next, len(self.tokens) - 1)].line if self.tokens else 1
        raise ListError(self.file, line, sentence)

    def take(self, in_c: bool = False) -> str:
        """Returns the next token that is not a comment. Notes the annotations before it."""
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
        """Returns the token that take() will return next."""
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
            self.fail("this annotation cannot be read; bpf/h2o-probes.d explains annotations", comment.line)

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
        """Returns the type behind a typedef of this list; other types are returned unchanged."""
        name, stars = type_.rstrip("* "), ["*"] * type_.count("*")
        known = self.typedefs.get(name.removeprefix("const "))
        if known is None:
            return type_
        const = "const " if name.startswith("const ") else ""
        return spelled(re.findall(r"\w+|\*", const + known) + stars)

    def declaration(self) -> None:
        """Parses a C declaration before the providers, up to its ';'. Notes typedefs, skips the rest."""
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
        num_words = 4 if words[1:2] in (["struct"], ["union"], ["enum"]) else 3  # a typedef without a name
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
                    self.fail(f"{name} has two arguments named {argument.name}")
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
    """The signatures that h2o had on a date."""
    return [s for s in signatures if (s.since or "") <= date and (s.until is None or date < s.until)]


# --- check ---------------------------------------------------------------------------------------------


def check_overlap(signatures: list[Signature]) -> None:
    """Fails if a probe has two signatures on one day."""
    seen: dict[str, list[Signature]] = {}
    for s in signatures:
        for other in seen.setdefault(s.full_name, []):
            if (s.since or "") < (other.until or "9999") and (other.since or "") < (s.until or "9999"):
                raise ListError(
                    s.file, s.line, f"{s.full_name} is declared twice for the same time, also on line {other.line}"
                )
        seen[s.full_name].append(s)


def is_bytes(argument: Argument) -> bool:
    return argument.type in (
        "const void *", "uint8_t *", "const uint8_t *", "unsigned char *", "const unsigned char *"
    )  # fmt: skip


def is_too_long(signature: Signature, warnings: list[ListError]) -> bool:
    """Whether a probe of a source tree has too many arguments. It is then traced as a probe that is in no list."""
    if len(signature.arguments) <= MAX_ARGUMENTS:
        return False
    sentence = f"warning: {signature.full_name}: has more than {MAX_ARGUMENTS} arguments; it is treated as unknown"
    warnings.append(ListError(signature.file, signature.line, sentence))
    return True


def is_text(argument: Argument) -> bool:
    return argument.type in ("const char *", "char *")


def has_length(signature: Signature, index: int) -> bool:
    """Whether an argument has a length: NAME_len, num_NAME, or a `len` right after it."""
    name = signature.arguments[index].name
    names = [argument.name for argument in signature.arguments]
    return f"{name}_len" in names or f"num_{name}" in names or names[index + 1 : index + 2] == ["len"]


def unknown_payload(signatures: list[Signature], known: set[tuple[str, str, str, str]]) -> set[tuple[str, str]]:
    """Returns arguments that are bytes, or text with a length, and that our lists do not have with this type. They can
    be payload, so they are application data (-a). NUL-terminated text is a name, a reason or a number."""
    return {
        (s.probe, a.name)
        for s in signatures
        for i, a in enumerate(s.arguments)
        if (is_bytes(a) or (is_text(a) and has_length(s, i))) and (s.provider, s.probe, a.name, a.type) not in known
    }


# The date of a source tree is unknown. It counts as newer than every list. PROBE_SOURCE_DATE in
# include/server/signature.h is the same date.
SOURCE_DATE = "9999-12-31"


def merge_source(signatures: list[Signature], plain: list[Signature]) -> list[Signature]:
    """Adds a source tree's list as the newest version: signatures that differ begin at SOURCE_DATE."""
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


# --- the layouts of struct st_quicly_stats_t -----------------------------------------------------------


@dataclass(frozen=True)
class StatsField:
    key: str
    offset: int
    width: int
    signed: bool


@dataclass
class StatsLayout:
    """A layout that h2o had between two dates. Several layouts can have the same size."""

    size: int
    since: str
    until: str | None
    known: dict[str, int]  # conditions: "pointer", "zero" or "nonzero", and the offset
    fields: list[StatsField] = dataclass_field(default_factory=list)


# Limits of src/event/stats.c.
MAX_LAYOUTS_OF_A_SIZE = 4
MAX_STATS_SIZE = 4096


def read_stats_layout(columns: list[str]) -> StatsLayout:
    """Parses a line "layout". Raises ValueError if it is not valid."""
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
    """Parses the line of a field. Raises ValueError if it is not valid."""
    if len(columns) != 3 or columns[2] not in INTEGERS or not re.fullmatch("[0-9]{1,4}", columns[1]):
        raise ValueError("a line is FIELD, OFFSET and C type, between tabs")
    key, offset = columns[0], int(columns[1])
    width, signed = INTEGERS[columns[2]]
    if not re.fullmatch("[A-Za-z0-9_.-]+", key):
        raise ValueError(f"FIELD {key!r} cannot be a key: letters, digits, '-', '_' and '.' can")
    if offset + width > layout.size:
        raise ValueError(f"{key} is outside its struct of {layout.size} bytes")
    for other in layout.fields:
        if other.key == key:
            raise ValueError(f"{key} appears twice in this layout of {layout.size} bytes")
        if other.offset < offset + width and offset < other.offset + other.width:
            raise ValueError(f"{key} overlaps {other.key}")
    return StatsField(key, offset, width, signed)


def add_stats_layout(layouts: list[StatsLayout], layout: StatsLayout) -> None:
    if layout.size > MAX_STATS_SIZE:
        raise ValueError(f"a struct of {layout.size} bytes is larger than the captured {MAX_STATS_SIZE} bytes")
    if sum(other.size == layout.size for other in layouts) == MAX_LAYOUTS_OF_A_SIZE:
        raise ValueError(f"there are more than {MAX_LAYOUTS_OF_A_SIZE} layouts of {layout.size} bytes")
    if layouts and not layouts[-1].fields:
        raise ValueError(f"the layout of {layouts[-1].size} bytes before this one has no field")
    layouts.append(layout)


def read_stats(file: Path) -> list[StatsLayout]:
    """Reads bpf/conn-stats.tsv. The comment in that file explains its lines."""
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
