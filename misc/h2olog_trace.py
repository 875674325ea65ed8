"""Shared by quicplot and h2olog2qlog: reads the output of `h2olog quic` and `h2olog all` by connection.

The name of a connection is its number `connection`. If several traces follow one another, the second connection with
a number is called NUMBER.2, and so on.

Traces of h2olog 1 have no `connection`. There, the name is quicly's number `conn`, which each thread of a server
(before 2024-03 each listener) counts separately. Connections that cannot be distinguished are marked as mixed.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Callable, Optional, TextIO

Event = dict[str, Any]

# Ended connections that are kept, because quicly's `free` is not the last event of a connection.
MAX_FREED = 1024

# The longest time from the first path of a connection to its accept event.
MAX_ACCEPTING_MS = 1000

# A freed connection has no such events.
OF_LIVE_CONNECTIONS = ("packet-sent", "packet-commit", "receive", "packet-received")

# Larger numbers are not exact in a double, and not a time.
MAX_TIME = 2**53

# The most connections that a message names.
MOST_NAMES = 10

WHY_MIXED = "h2olog 1 did not tell connections with the same number apart"

# The clock of a thread lags by at most one round of its event loop. A larger difference means that the clock was set.
CLOCK_WAS_SET_MS = 1000


class Trouble(Exception):
    """An error with a message for the user. The program ends with status 1."""


class Connection:
    """A connection of the trace."""

    __slots__ = (
        "name", "begin", "time", "accepted", "freed", "is_old", "is_made", "mixed", "path_unknown", "last_sent",
    )  # fmt: skip

    def __init__(self, name: str, begin: int, is_old: bool) -> None:
        self.name = name
        self.begin = begin  # time of its first event
        self.time = begin  # time of its latest event; never decreases
        self.accepted = False  # the trace has its begin
        self.freed = False
        self.is_old = is_old  # from a trace of h2olog 1
        self.is_made = False  # only its first path was seen
        self.mixed = False  # it may have events of other connections, and vice versa
        self.path_unknown = False  # other connections began at the same time, so its first path is not certain
        self.last_sent: dict[int | None, int] = {}  # packet type -> latest packet number


# Identifies a connection: h2olog's number; for h2olog 1, thread and quicly's number.
Key = tuple[Optional[int], int]
NUMBERED = -1  # instead of the thread

# Type of an event, its connection (None: an event of h2olog), and its members.
TracedEvent = tuple[str, Optional[Connection], Event]


def integer(event: Event, *keys: str) -> int | None:
    """Returns the first member that exists and is an integer. Unreadable values are null."""
    for key in keys:
        value = event.get(key)
        if type(value) is int:
            return value
    return None


def natural(event: Event, *keys: str) -> int | None:
    """The same for integers that are not negative."""
    value = integer(event, *keys)
    return value if value is not None and value >= 0 else None


def key_of(event: Event) -> Key | None:
    """Returns the key of an event's connection; None if it has none."""
    if "connection" in event:
        number = natural(event, "connection")
        return None if number is None else (NUMBERED, number)
    conn = integer(event, "conn")
    return None if conn is None else (natural(event, "tid"), conn)


class Path:
    """The first path of a connection without an accept event yet."""

    __slots__ = ("event", "is_doubtful")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.is_doubtful = False  # other paths waited at the same time

    def is_recent(self, accept: Event) -> bool:
        """Whether it can belong to the connection that is accepted now."""
        before, now = natural(self.event, "time"), natural(accept, "time")
        return before is None or now is None or now - before <= MAX_ACCEPTING_MS


def is_another(kind: str, is_path: bool, connection: Connection) -> bool:
    """Whether an event begins another connection with the same number."""
    if not is_path and kind not in ("accept", "connect"):
        return False
    return connection.accepted or connection.freed or (connection.is_old and not connection.is_made)


class Trace:
    """The events of files, or of stdin without files."""

    def __init__(self, program: str, files: Sequence[str]) -> None:
        self.program = program
        self.files = files or ["-"]
        self.time: int | None = None  # of the latest event with a time
        self.seq = 0  # of the latest event
        self.good = 0
        self.bad = 0
        self.first_bad = ""
        self.mixed: list[str] = []  # names of connections that may be mixed
        self.unplaced_paths = 0
        self.path_unknown = False  # for the accept event that is returned
        self.set_back = 0
        self.open: dict[Key, Connection] = {}
        self.freed: collections.deque[tuple[Key, Connection]] = collections.deque()
        self.names: collections.Counter[int] = collections.Counter()
        self.gone: list[Connection] = []  # connections whose last event was returned; the caller empties it

    def events(self) -> Iterator[TracedEvent]:
        """Yields events of connections, and reports of lost events."""
        for event in self.numbered():
            kind = event["type"]
            if kind == "h2olog-event-lost":
                self.tick(event)
                yield kind, None, event
                continue
            connection = self.connection_of(kind, event)
            if connection is not None:
                yield kind, connection, event
        self.check()

    def numbered(self) -> Iterator[Event]:
        """Yields all events. The first path of a connection fires before the connection has its number, so the server
        gives connection 0. In a trace of h2olog 1, it belongs to the next connection that the same thread accepts. If
        several first paths wait, the right one is unknown."""
        waiting: dict[int | None, list[Path]] = {}  # by thread
        for event in self.objects():
            kind, thread = event["type"], integer(event, "tid")
            if "connection" in event:
                yield event
            elif kind == "new-path" and event.get("path-index") == 0:
                waiting.setdefault(thread, []).append(Path(event))
            elif kind in ("accept", "connect"):
                yield from self.first_path(waiting.get(thread, []), event)
                yield event
                self.path_unknown = False
            else:
                if kind == "h2olog-event-lost":
                    for path in itertools.chain.from_iterable(waiting.values()):
                        path.is_doubtful = True
                yield event
        self.unplaced_paths += sum(map(len, waiting.values()))

    def first_path(self, waiting: list[Path], accept: Event) -> Iterator[Event]:
        """Takes the first path of an accepted connection from the waiting ones, if it is certain."""
        recent = [path for path in waiting if path.is_recent(accept)]
        self.unplaced_paths += len(waiting) - len(recent)
        if len(recent) == 1 and not recent[0].is_doubtful:
            yield {**recent[0].event, "conn": accept.get("conn")}
        elif recent:
            self.path_unknown = True
            self.unplaced_paths += 1
        for path in recent:
            path.is_doubtful = True
        waiting[:] = recent[1:]

    def objects(self) -> Iterator[Event]:
        for file in self.files:
            number, is_first = 0, True
            for line in self.lines(file):
                number += 1
                try:
                    event = json.loads(line)
                    if type(event["type"]) is str and type(event["seq"]) is int:
                        if event["seq"] == 1 or (is_first and event["seq"] <= self.seq):
                            self.begin_trace()
                        is_first, self.seq = False, event["seq"]
                        self.good += 1
                        yield event
                        continue
                except (ValueError, TypeError, KeyError, RecursionError):
                    pass
                if not line.isspace():
                    self.bad += 1
                    self.first_bad = self.first_bad or f"line {number} of {'stdin' if file == '-' else file}"

    def lines(self, file: str) -> Iterator[str]:
        try:
            with open_input(file) as source:
                yield from source
        except OSError as error:
            raise Trouble(f"cannot read {'stdin' if file == '-' else file}: {error.strerror}") from error

    def begin_trace(self) -> None:
        """Another run of h2olog begins: its numbers begin again at 1."""
        for key in [key for key in self.open if key[0] == NUMBERED]:
            self.gone.append(self.open.pop(key))

    def tick(self, event: Event) -> int | None:
        """Returns the time of an event. If quicly's time is 0, it is the time of the previous event."""
        time = event.get("time")
        if type(time) is int and 0 < time < MAX_TIME:
            self.time = time
        return self.time

    def connection_of(self, kind: str, event: Event) -> Connection | None:
        time, key = self.tick(event), key_of(event)
        if key is None or time is None:
            return None
        connection = self.open.get(key)
        is_path = kind == "new-path" and event.get("path-index") == 0
        if connection is None or is_another(kind, is_path, connection):
            connection = self.begin(key, time)
            connection.is_made = is_path
        else:
            connection.is_made = False
        if "conn-id" not in event and event.get("time") != 0:  # events of h2o have another clock
            if time + CLOCK_WAS_SET_MS < connection.time:
                self.set_back += 1
            connection.time = max(connection.time, time)
        if connection.is_old:
            self.look_for_others(kind, event, connection)
        if kind in ("accept", "connect"):
            connection.accepted = True
            connection.path_unknown |= self.path_unknown
        elif kind == "free":
            self.end(key, connection)
        return connection

    def begin(self, key: Key, time: int) -> Connection:
        thread, number = key
        before = self.open.get(key)
        self.names[number] += 1
        nth = self.names[number]
        name = str(number) if nth == 1 else f"{number}.{nth}"
        connection = self.open[key] = Connection(name, time, thread != NUMBERED)
        if before is not None:
            if before.is_old and not before.freed:
                self.mix(before)
                self.mix(connection)
            self.gone.append(before)
        return connection

    def mix(self, connection: Connection) -> None:
        if not connection.mixed:
            connection.mixed = True
            self.mixed.append(connection.name)

    def look_for_others(self, kind: str, event: Event, connection: Connection) -> None:
        """Detects mixed connections: packet numbers must increase, and an ended connection has no more packets."""
        if connection.freed and kind in OF_LIVE_CONNECTIONS:
            self.mix(connection)
        number = natural(event, "pn")
        if kind in ("packet-sent", "packet-commit") and number is not None:
            packet_type = natural(event, "packet-type")
            if number <= connection.last_sent.get(packet_type, -1):
                self.mix(connection)
            connection.last_sent[packet_type] = number

    def end(self, key: Key, connection: Connection) -> None:
        """Forgets connections some time after their end."""
        connection.freed = True
        self.freed.append((key, connection))
        if len(self.freed) > MAX_FREED:
            old_key, old = self.freed.popleft()
            if self.open.get(old_key) is old:
                self.gone.append(self.open.pop(old_key))

    def check(self) -> None:
        """Reports problems at the end of the input."""
        if self.good == 0:
            raise Trouble(
                "this is not what `h2olog quic` prints: it has no line that is a JSON object with a type and a seq"
                if self.bad
                else "the input is empty: give it what `h2olog quic` prints"
            )
        if self.bad:
            lines = f"{plural(self.bad, 'line')} {'is' if self.bad == 1 else 'are'}"
            say(self.program, f"{lines} not from h2olog and ignored; the first is {self.first_bad}")
        if self.mixed:
            say(self.program, f"{listed(self.mixed)} may have events of others: {WHY_MIXED}")
        if self.unplaced_paths:
            say(
                self.program,
                f"{plural(self.unplaced_paths, 'first path')} left out: h2olog 1 did not say of which connection it is",
            )
        if self.set_back:
            events = plural(self.set_back, "event")
            say(self.program, f"the clock was set back: {events} got the time of the event before")


def open_input(file: str) -> TextIO:
    """Reads lines. Only a newline ends a line of h2olog."""
    if file == "-":
        return open(0, encoding="utf-8", errors="replace", newline="\n", closefd=False)
    return open(file, encoding="utf-8", errors="replace", newline="\n")


def say(program: str, sentence: str) -> None:
    print(f"{program}: {sentence}", file=sys.stderr, flush=True)


def listed(names: Sequence[str]) -> str:
    """Lists connections, up to MOST_NAMES."""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"connection{'' if len(names) == 1 else 's'} {', '.join(names[:MOST_NAMES])}{more}"


def plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def version() -> str:
    """Returns the version of h2olog from an installed file, or from CMakeLists.txt in a source tree."""
    folder = pathlib.Path(__file__).resolve().parent
    for file, pattern in ((folder / "version", r"(\S+)"), (folder.parent / "CMakeLists.txt", r"project\(h2olog VERSION (\S+)")):
        try:
            match = re.search(pattern, file.read_text(encoding="utf-8"))
        except OSError:
            continue
        if match is not None:
            return match.group(1)
    return "(unknown version)"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that both programs have."""
    parser.add_argument(
        "-V", "--version", action="version", version=f"{parser.prog} {version()}", help="print the version and exit"
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="what `h2olog quic` or `h2olog all` printed; stdin if none, or -"
    )


def check_input(parser: argparse.ArgumentParser, files: Sequence[str]) -> None:
    """Refuses a terminal as input. Ignores the first Ctrl-C, which ends the h2olog in the pipe."""
    if files and "-" not in files:
        return
    if sys.stdin is None or sys.stdin.isatty():
        parser.error("give it a file, or a pipe: sudo h2olog quic -p PID | " + parser.prog)
    signal.signal(signal.SIGINT, survive)


def survive(number: int, frame: FrameType | None) -> None:
    """Handles the first Ctrl-C. The second one ends the program."""
    signal.signal(number, signal.SIG_DFL)


def run(program: str, main: Callable[[], None]) -> int:
    """Returns the exit status. A reader that closes the output is not an error."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at the end of Python
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except Trouble as trouble:
        say(program, str(trouble))
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        say(program, f"cannot write {error.filename or 'to stdout'}: {error.strerror}")
        return 1
    return 0
