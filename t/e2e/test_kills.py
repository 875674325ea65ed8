"""kill -9 at any moment: the kernel disables the probes, and the next run removes the folder of a killed one."""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import BUILD, HAS_LINKS, PATIENCE, Answer, Room, Server, run, wait_until
from support import (
    HTTP_PROBES, NO_MOUNTS, STARTS, STRANGER, Memory, Serve, Trace, alive, endless, folders_of, is_stopped, objects_of,
    slow_at, start_until,
)  # fmt: skip


def test_objects_are_listed(serve: Serve, trace: Trace) -> None:
    """The tests below rely on this."""
    tracer = trace(serve())
    held = objects_of(tracer.process.pid)
    kinds = {"prog_id", "map_id", "link_id"} if HAS_LINKS else {"prog_id", "map_id"}
    assert {kind for kind, _ in held} == kinds and len(held) > 8
    assert alive(held) == held
    assert tracer.stop() == 0
    wait_until(lambda: alive(held) == set(), "its BPF objects to go")


def test_killed_at_any_moment(serve: Serve, room: Room) -> None:
    """Also while it attaches all probes of a busy server. Nothing is left behind."""
    server = serve(script=endless(20_000))
    memory = Memory(server)
    code = memory.read_code()
    server.start_playing()
    took, stages = {}, set()
    for nth in range(-2, 25):
        program, mode = ("h2olog-single", "http") if nth > 0 and nth % 8 == 0 else ("h2olog", ("http", "quic")[nth % 2])
        held, start = set(), time.monotonic()
        process = room.start(program, mode, "-p", str(server.pid))
        if nth < 0:
            wait_until(lambda: len(memory.switched_on()) >= len(HTTP_PROBES), "attaching")
            took[mode] = time.monotonic() - start
        else:
            time.sleep(random.uniform(0, 1.3 * took[mode]))
        if nth % 3 != 0:  # its objects are listed before the kill
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: is_stopped(process.pid), "h2olog to stop")  # noqa: B023
            held = objects_of(process.pid)
            stages.add((len(held) > 0, len(memory.switched_on()) > 0))
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: memory.switched_on() == set() and memory.read_code() == code, "the probes to be disabled")
        wait_until(lambda: alive(held) == set(), "its BPF objects to go")  # noqa: B023
        assert room.left() == []
    assert len(stages) > 1, "all kills were at the same moment"
    assert server.curl("/") == "Hello, world\n"


@pytest.mark.parametrize("program, rounds", [("h2olog", 10), ("h2olog-single", 4)])
def test_killed_while_attaching(serve: Serve, room: Room, program: str, rounds: int) -> None:
    server = serve()
    memory = Memory(server)
    code, start = memory.read_code(), time.monotonic()
    process = room.start(program, "-p", str(server.pid))
    wait_until(lambda: memory.switched_on() == HTTP_PROBES, "attaching")
    took = time.monotonic() - start
    for nth in range(rounds + 1):
        if nth != 0:
            process = room.start(program, "-p", str(server.pid))
            time.sleep(took * (nth + random.random()) / rounds)
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: memory.switched_on() == set() and memory.read_code() == code, "the probes to be disabled")
        assert room.left() == []
    assert server.curl("/") == "Hello, world\n"


@pytest.mark.parametrize("program, stage", STARTS)
def test_killed_at_a_stage_of_the_start(
    serve: Serve, room: Room, answer: Answer, program: str, stage: str
) -> None:
    server = serve()
    memory = Memory(server)
    code = memory.read_code()
    process = start_until(
        stage, memory, lambda: room.start(program, "-p", str(server.pid), before=slow_at(stage, answer))
    )
    held = objects_of(process.pid)
    assert held == alive(held) != set()
    assert (memory.switched_on() != set()) is (memory.read_code() != code) is (stage == "attaching")
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: memory.switched_on() == set() and memory.read_code() == code, "the probes to be disabled")
    wait_until(lambda: alive(held) == set(), "its BPF objects to go")
    assert room.left() == []
    assert server.curl("/") == "Hello, world\n"


# --- the headers are in a folder, because the kernel refuses a file system in memory ---


def start_until_folder(room: Room, server: Server, number: int) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts h2olog, and sends a signal when its folder exists."""
    process = room.start("h2olog", "quic", "-p", str(server.pid), before=NO_MOUNTS)
    deadline = time.monotonic() + PATIENCE
    # the folder is locked then
    while not any((folder / "include").exists() for folder in folders_of(room, process.pid)):
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(number)
    (folder,) = folders_of(room, process.pid)
    return process, folder


def test_folder_of_a_killed_run(serve: Serve, room: Room) -> None:
    """The next start removes it. The folder of a running process stays, and so do other files."""
    server = serve()
    memory = Memory(server)
    living, in_use = start_until_folder(room, server, signal.SIGSTOP)
    killed, stale = start_until_folder(room, server, signal.SIGKILL)
    killed.wait(PATIENCE)
    assert stale.is_dir() and stale.stat().st_mode == stat.S_IFDIR | 0o700 and stale.stat().st_uid == 0
    kept = plant(stale.parent, killed.pid)
    process = room.start("h2olog", "-p", str(server.pid), before=NO_MOUNTS)
    wait_until(lambda: memory.switched_on() == HTTP_PROBES, "attaching")
    assert not stale.exists() and not folders_of(room, process.pid)
    assert in_use.is_dir()
    for path, content in kept.items():
        assert path.is_symlink() if content is None else path.read_text() == content
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    living.send_signal(signal.SIGCONT)  # the run itself works
    wait_until(lambda: len(memory.switched_on()) > 80, "attaching")
    assert not in_use.exists()
    living.send_signal(signal.SIGINT)
    assert living.wait(PATIENCE) == 0


def plant(parent: Path, dead: int) -> dict[Path, str | None]:
    """Makes folders that look like those of a killed run, but are not. Returns their content."""
    others, link, precious = (parent / name for name in (f"h2olog.{dead}.other1", f"h2olog.{dead}.a_link", "precious"))
    files: dict[Path, str | None] = {}
    for folder in (others, precious, parent / f"h2olog.{dead}.theirs", parent / "h2olog.conf.d"):
        file = folder / "include" / "linux" / "version.h"
        file.parent.mkdir(parents=True)
        file.write_text("kept")
        files[file] = "kept"
    for path in (others, *others.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    own = parent / f"h2olog.{dead}.theirs"  # root's, but with more than the files of h2olog
    (own / "more").write_text("kept")
    files[own / "more"] = "kept"
    del files[own / "include" / "linux" / "version.h"]
    link.symlink_to(precious)
    os.lchown(link, STRANGER, STRANGER)
    files[link] = None
    return files


def test_folder_of_a_run_that_ends_early(serve: Serve, room: Room) -> None:
    """During the start: it removes its folder."""
    process, folder = start_until_folder(room, serve(), signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert not folder.exists()


def in_mounts(
    options: str, *words: str, folders: tuple[str, ...] = ("/run", "/dev/shm", "/tmp")
) -> subprocess.CompletedProcess[str]:
    """Starts h2olog where it needs a folder. The parents of such folders are mounted with these options."""
    mounts = "\n".join(f"mount -t tmpfs -o {options} none {folder}" for folder in folders)
    mounts = f"export LIBMOUNT_FORCE_MOUNT2=always\n{mounts}"  # NO_MOUNTS is for h2olog, not for mount
    return run(  # h2olog itself may be in /tmp
        "--mount", "sh", "-ec", f'exec 9<"$0"\n{mounts}\nexec /proc/self/fd/9 "$@"', str(BUILD / "h2olog"), *words,
        program="/usr/bin/unshare", before=NO_MOUNTS,
    )  # fmt: skip


def test_no_room_for_the_folder(serve: Serve) -> None:
    done = in_mounts("size=16k", "-p", str(serve().pid))
    sentence = r"h2olog: cannot write the compiler's headers to /\S+: No space left on device\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(sentence, done.stderr), done.stderr


def test_room_in_another_folder(serve: Serve) -> None:
    server = serve()
    memory = Memory(server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(in_mounts, "size=16k", "-p", str(server.pid), folders=("/run", "/dev/shm"))
        wait_until(lambda: memory.switched_on() == HTTP_PROBES or running.done(), "attaching")
        server.stop()
        done = running.result(PATIENCE)
    assert (done.returncode, done.stderr) == (0, f"h2olog: process {server.pid} ended\n")


def test_no_permission_for_the_folder(serve: Serve) -> None:
    done = in_mounts("ro", "-p", str(serve().pid))
    sentence = "h2olog: cannot create a private folder in /run, /dev/shm or /tmp: Read-only file system\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


@pytest.mark.parametrize("kind", ["missing", "others can write to it", "a link", "empty"])
def test_tmpdir_is_not_used(serve: Serve, room: Room, tmp_path: Path, kind: str) -> None:
    """There is never a file in it, and it does not matter that it cannot be written."""
    server, folder, link = serve(), tmp_path / "folder", tmp_path / "link"
    memory = Memory(server)
    folder.mkdir()
    folder.chmod(0o1777)
    link.symlink_to(folder)
    os.lchown(link, STRANGER, STRANGER)
    value = {
        "missing": str(tmp_path / "missing"), "others can write to it": str(folder), "a link": str(link), "empty": "",
    }[kind]  # fmt: skip
    changed = folder.stat().st_mtime_ns

    def before() -> None:
        os.environ.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP", "TEMPDIR"), value))
        os.chdir(tmp_path)
        NO_MOUNTS()

    process = room.start("h2olog", "-p", str(server.pid), before=before)
    wait_until(lambda: memory.switched_on() == HTTP_PROBES or process.poll() is not None, "attaching")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert room.left() == []
    assert folder.stat().st_mtime_ns == changed
