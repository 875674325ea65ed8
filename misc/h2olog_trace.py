"""What quicplot and h2olog2qlog share: they read what `h2olog quic` and `h2olog all` print, connection by connection.

A connection is called by quicly's number of it. Each thread of a server counts from 0, so that several
connections of one trace can have the same number: the second one is called NUMBER.2, and so on.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Optional, TextIO

Event = dict[str, Any]

# Connections whose last events may still come: quicly's `free` is not the last one of a connection.
MAX_FREED = 1024

# Beyond that, a number of milliseconds is no time, and a double is not exact.
MAX_TIME = 2**53

# A server's threads each have a clock that lags by the length of a round of its event loop; more is a clock that was
# set.
CLOCK_WAS_SET_MS = 1000


class Trouble(Exception):
    """A sentence for whoever runs the program, which ends with status 1."""


class Connection:
    """A connection of the trace."""

    __slots__ = ("number", "name", "begin", "time", "accepted", "freed")

    def __init__(self, number: int, name: str, begin: int) -> None:
        self.number = number
        self.name = name
        self.begin = begin  # when its first event was
        self.time = begin  # when its last one was; never goes back
        self.accepted = False  # the trace has it from its beginning
        self.freed = False


# The type of an event, whose it is (None: h2olog's own), and its members.
TracedEvent = tuple[str, Optional[Connection], Event]


def integer(event: Event, *keys: str) -> int | None:
    """The first of the members that is there and an integer. What h2olog could not read is null."""
    for key in keys:
        value = event.get(key)
        if type(value) is int:
            return value
    return None


def natural(event: Event, *keys: str) -> int | None:
    """The same, and not negative."""
    value = integer(event, *keys)
    return value if value is not None and value >= 0 else None


class Trace:
    """The events of files, or of stdin if none are given."""

    def __init__(self, program: str, files: Sequence[str]) -> None:
        self.program = program
        self.files = files or ["-"]
        self.time: int | None = None  # of the last event that said one
        self.good = 0
        self.bad = 0
        self.first_bad = ""
        self.mixed = 0
        self.set_back = 0
        self.open: dict[tuple[int | None, int], Connection] = {}
        self.freed: collections.deque[tuple[tuple[int | None, int], Connection]] = collections.deque()
        self.names: collections.Counter[int] = collections.Counter()
        self.gone: list[Connection] = []  # whose last event has been given out; whoever cares, empties it

    def events(self) -> Iterator[TracedEvent]:
        """Those that belong to a connection, and the notes of h2olog that it lost some."""
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
        """
        All of them. A server says of the first path of a connection that it is of connection 0, as it is made before
        the connection has its number; what that is says the event behind it in the same thread.
        """
        held: dict[Any, Event] = {}
        for event in self.objects():
            thread = event.get("tid") if type(event.get("tid")) is int else None
            path = held.pop(thread, None)
            if path is not None:
                if event["type"] in ("accept", "connect"):
                    path["conn"] = event.get("conn")
                yield path
            if event["type"] == "new-path" and event.get("path-index") == 0:
                held[thread] = event
            else:
                yield event
        yield from held.values()

    def objects(self) -> Iterator[Event]:
        for file in self.files:
            number = 0
            for line in self.lines(file):
                number += 1
                try:
                    event = json.loads(line)
                    if type(event["type"]) is str and type(event["seq"]) is int:
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

    def tick(self, event: Event) -> int | None:
        """When an event was. Some of quicly's say 0: they are as late as the one before."""
        time = event.get("time")
        if type(time) is int and 0 < time < MAX_TIME:
            self.time = time
        return self.time

    def connection_of(self, kind: str, event: Event) -> Connection | None:
        number, thread = event.get("conn"), event.get("tid")
        time = self.tick(event)
        if type(number) is not int or time is None:
            return None
        key = (thread if type(thread) is int else None, number)
        connection = self.open.get(key)
        if connection is None or self.is_another(kind, event, connection):
            connection = self.begin(key, time)
        if "conn-id" not in event and event.get("time") != 0:  # those of h2o have another clock
            if time + CLOCK_WAS_SET_MS < connection.time:
                self.set_back += 1
            connection.time = max(connection.time, time)
        if kind in ("accept", "connect"):
            connection.accepted = True
        elif kind == "free":
            self.end(key, connection)
        return connection

    def is_another(self, kind: str, event: Event, connection: Connection) -> bool:
        """Whether an event is the first one of another connection of the same number."""
        if kind not in ("accept", "connect") and (kind != "new-path" or event.get("path-index") != 0):
            return False
        if connection.accepted and not connection.freed:
            self.mixed += 1
        return connection.accepted or connection.freed

    def begin(self, key: tuple[int | None, int], time: int) -> Connection:
        number = key[1]
        if key in self.open:
            self.gone.append(self.open[key])
        self.names[number] += 1
        nth = self.names[number]
        connection = self.open[key] = Connection(number, str(number) if nth == 1 else f"{number}.{nth}", time)
        return connection

    def end(self, key: tuple[int | None, int], connection: Connection) -> None:
        """Forgets connections some time after they are gone."""
        connection.freed = True
        self.freed.append((key, connection))
        if len(self.freed) > MAX_FREED:
            old_key, old = self.freed.popleft()
            if self.open.get(old_key) is old:
                self.gone.append(self.open.pop(old_key))

    def check(self) -> None:
        """What there is to say once all is read."""
        if self.good == 0:
            raise Trouble(
                "this is not what `h2olog quic` prints: it has no line that is a JSON object with a type and a seq"
                if self.bad
                else "the input is empty: give it what `h2olog quic` prints"
            )
        if self.bad:
            lines = f"{plural(self.bad, 'line')} {'is' if self.bad == 1 else 'are'}"
            say(self.program, f"{lines} not of h2olog, and left out; the first is {self.first_bad}")
        if self.mixed:
            say(
                self.program,
                f"{plural(self.mixed, 'time')}, a connection began while another had its number: threads of the server "
                "count on their own, and their events cannot be told apart; `h2olog all` says which thread it was",
            )
        if self.set_back:
            events = plural(self.set_back, "event")
            say(self.program, f"the clock was set back: {events} count as later than they say")


def open_input(file: str) -> TextIO:
    """Only a newline ends a line of h2olog."""
    if file == "-":
        return open(0, encoding="utf-8", errors="replace", newline="\n", closefd=False)
    return open(file, encoding="utf-8", errors="replace", newline="\n")


def say(program: str, sentence: str) -> None:
    print(f"{program}: {sentence}", file=sys.stderr, flush=True)


def plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def version() -> str:
    """The version of h2olog. An installed file has it; in a source tree, CMakeLists.txt does."""
    folder = Path(__file__).resolve().parent
    for file, pattern in ((folder / "version", r"(\S+)"), (folder.parent / "CMakeLists.txt", r"project\(h2olog VERSION (\S+)")):
        try:
            match = re.search(pattern, file.read_text(encoding="utf-8"))
        except OSError:
            continue
        if match is not None:
            return match.group(1)
    return "(unknown version)"


def add_common(parser: argparse.ArgumentParser) -> None:
    """What both programs are told alike."""
    parser.add_argument(
        "-V", "--version", action="version", version=f"{parser.prog} {version()}", help="print the version and exit"
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="what `h2olog quic` or `h2olog all` printed; stdin if none, or -"
    )


def check_input(parser: argparse.ArgumentParser, files: Sequence[str]) -> None:
    """Nobody types JSON lines; and Ctrl-C is to end the h2olog in front of the pipe, and to be survived behind it."""
    if files and "-" not in files:
        return
    if sys.stdin is None or sys.stdin.isatty():
        parser.error("give it a file, or a pipe: sudo h2olog quic -p PID | " + parser.prog)
    signal.signal(signal.SIGINT, survive)


def survive(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C; a second one ends the program."""
    signal.signal(number, signal.SIG_DFL)


def run(program: str, main: Callable[[], None]) -> int:
    """Returns the exit status. A reader that went away had enough: that is no error."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes at its end
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
