#!/usr/bin/env python3
"""Builds and tests h2olog on several releases of Debian, and prints a table.

    sudo matrix.py [ROW...]      (default: all rows)
    matrix.py list               (lists the rows)

    debian-*   builds and tests everything in a root of the release, without kernel headers
    deb-*      installs the package of that release in a clean root, and uses it
    fresh-*    runs ./make.sh demo and ./make.sh test in a clone of HEAD, in a root with a minimal Debian
    kernel-*   runs the end-to-end tests with the kernel of the release, in a machine that qemu emulates
    arm64      the same on aarch64, and the unit tests

Roots and logs are in a cache folder, $H2OLOG_MATRIX_CACHE or ~/.cache/h2olog-matrix. To make a root again, remove its
folder. $H2OLOG_MIRROR is the mirror of Debian; the default is deb.debian.org.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median
from typing import IO, Callable, Iterator

import roots
import vm
from table import Row, chosen, count_in, count_tests, table

# Row -> suite of its root.
RELEASES = {"debian-11": "bullseye", "debian-12": "bookworm", "debian-13": "trixie", "debian-sid": "sid"}
KERNELS = {"kernel-5.10": "debian-11", "kernel-6.1": "debian-12", "kernel-6.12": "debian-13", "arm64": "debian-12"}
FRESH = {"fresh-11": "bullseye", "fresh-12": "bookworm", "fresh-13": "trixie"}
PACKAGES = {"deb-12": "debian-12", "deb-13": "debian-13"}  # row -> row whose root builds the package

BUILD = f"{roots.SOURCE_IN_ROOT}/build"
STANDIN = "t/standin/standin-2026-06"

# Except on a very busy machine, nothing takes this long.
PATIENCE = 60.0


class Failure(Exception):
    """Why a row failed."""


# --- parts of the rows -----------------------------------------------------------------------------------


def read(root: Path, *command: str, cwd: str = "/") -> str:
    """Returns the output of a command in a root."""
    done = roots.run_in(root, command, cwd)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} fails: {done.stdout.strip()[-500:]}")
    return done.stdout


def do(root: Path, what: str, log: IO[str], *command: str, cwd: str = "/") -> None:
    """Runs a command in a root. Its output goes to the log."""
    log.write(f"\n--- {what}: {' '.join(command)}\n")
    log.flush()
    if roots.run_in(root, command, cwd, log=log).returncode != 0:
        raise Failure(f"{what} fails")


def use_apt(root: Path) -> None:
    """Accepts an old copy of a mirror, which apt would refuse as out of date."""
    conf = root / "etc/apt/apt.conf.d/90h2olog-matrix"
    conf.write_text('Acquire::Check-Valid-Until "false";\nAcquire::Retries "3";\n', encoding="ascii")


def build_root(name: str, log: IO[str], architecture: str = "amd64") -> Path:
    """Makes a root with the sources, and with the packages that make.sh names for building and testing."""

    def prepare(root: Path) -> None:
        use_apt(root)
        roots.copy_source(root)
        do(root, "installing packages", log, "apt-get", "update", "-q")
        do(root, "installing packages", log, "./make.sh", "deps", "test", cwd=roots.SOURCE_IN_ROOT)
        do(root, "clearing packages", log, "apt-get", "clean")

    own_name = name if architecture == "amd64" else f"{name}-{architecture}"
    root = roots.make_root(own_name, RELEASES[name], ["ca-certificates"], architecture, prepare=prepare, log=log)
    roots.copy_source(root)
    do(root, "looking for packages", log, "./make.sh", "deps", "test", cwd=roots.SOURCE_IN_ROOT)
    headers = [*root.glob("lib/modules/*/build"), *root.glob("usr/src/linux-headers*")]
    if headers:
        raise Failure(f"there are kernel headers in the root, {headers[0]}: this row must be tested without them")
    return root


def describe(root: Path, program: str, row: Row) -> None:
    """Finds the versions of the libraries that a program in a root loads."""
    version = (root / "etc/debian_version").read_text(encoding="ascii").strip()
    row.distribution = f"Debian {'sid' if '/' in version else version}"
    row.kernel = re.sub(r"[^\d.].*", "", os.uname().release)  # without the local name
    libraries = read(root, "ldd", program)
    if missing := re.findall(r"(\S+) => not found", libraries):
        raise Failure(f"{program} lacks libraries: {', '.join(missing)}")
    bcc, llvm = re.search(r"libbcc\.so\.\d+ => (\S+)", libraries), re.search(r"libLLVM[-.](?:so\.)?(\d+)", libraries)
    if bcc is None:
        raise Failure(f"{program} does not load libbcc by its soname")
    row.libbcc = read(root, "readlink", "-f", bcc[1]).strip().rpartition("libbcc.so.")[2]
    row.llvm = llvm[1] if llvm else ""


class Standin:
    """The stand-in server, run in a root."""

    def __init__(self, root: Path, program: str) -> None:
        self.root = root
        self.process = subprocess.Popen(
            roots.command_in(root, [program]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (\S+) pid (\d+) .*\n", line)
        if match is None:
            self.stop()
            raise Failure(f"the stand-in does not start: {line!r}")
        self.address, self.pid = match[1], int(match[2])

    def get(self, path: str, headers: dict[str, str]) -> int:
        request = urllib.request.Request(f"http://{self.address}{path}", headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            return int(opener.open(request, timeout=PATIENCE).status)
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(root: Path, program: str) -> Iterator[Standin]:
    server = Standin(root, program)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def tracing(server: Standin, folder: Path, program: str, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Traces a server in its root. The output is in the files out and err. Yields process and seconds to attach."""
    # The shell prints the time when it executes h2olog, so that entering the root is not measured.
    command = ["sh", "-c", 'date +%s%N >&2; exec "$@"', "sh", program, *words, "-d", "-p", str(server.pid)]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            roots.command_in(server.root, command), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while b" Attaching: " not in (said := (folder / "err").read_bytes()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"{program} does not attach: {said.decode(errors='replace')[-500:]}")
            time.sleep(0.002)
        yield process, time.time() - int(said.split(b"\n", 1)[0]) / 1e9
    finally:
        process.kill()
        process.wait()


def measure_attaching(server: Standin, folder: Path, program: str, row: Row) -> None:
    """Returns the median of some rounds. The first one, with a cold cache, is not counted."""

    def seconds(mode: str) -> float:
        with tracing(server, folder, program, mode) as (_, attached_in):
            return attached_in

    times = {mode: median([seconds(mode) for _ in range(6)][1:]) for mode in ("http", "quic")}
    row.attach_http, row.attach_quic = times["http"], times["quic"]


# --- the rows --------------------------------------------------------------------------------------------


def run_tests(root: Path, row: Row, log: IO[str]) -> None:
    """Runs all tests, as ./make.sh test does."""
    last = root / f"{BUILD}/Testing/Temporary/LastTest.log".lstrip("/")
    last.unlink(missing_ok=True)
    try:
        do(root, "building and testing", log, "./make.sh", "test", cwd=roots.SOURCE_IN_ROOT)
    except Failure:
        if not last.exists():
            raise Failure("building fails") from None
    row.passed, row.total, failed = count_tests(last.read_text(encoding="utf-8", errors="replace"))
    if failed:
        raise Failure(f"these tests fail: {', '.join(failed)}")


def distribution_row(row: Row, folder: Path, log: IO[str]) -> None:
    root = build_root(row.name, log)
    row.compiler = f"gcc {read(root, 'gcc', '-dumpfullversion').strip()}"
    failure = None
    try:
        run_tests(root, row, log)
    except Failure as error:  # continue with the rest of the row
        failure = error
    if (root / f"{BUILD}/h2olog".lstrip("/")).exists():
        describe(root, f"{BUILD}/h2olog", row)
        with serving(root, f"{BUILD}/{STANDIN}") as server:
            measure_attaching(server, folder, f"{BUILD}/h2olog", row)
    if failure is not None:
        raise failure


def make_package(root: Path, log: IO[str]) -> tuple[Path, Path]:
    """Builds the .deb and the stand-in in a root."""
    do(root, "packing", log, "./make.sh", "package", cwd=roots.SOURCE_IN_ROOT)
    debs = list((root / BUILD.lstrip("/")).glob("*.deb"))
    if len(debs) != 1:
        raise Failure(f"there are {len(debs)} packages: {', '.join(deb.name for deb in debs)}")
    build = f"{BUILD}-standin"
    do(root, "building", log, "cmake", f"-S{roots.SOURCE_IN_ROOT}", f"-B{build}", "-DH2OLOG_STANDIN=ON")
    do(root, "building", log, "make", "-C", build, f"-j{os.cpu_count()}", Path(STANDIN).name)
    return debs[0], root / f"{build}/{STANDIN}".lstrip("/")


@contextlib.contextmanager
def clean_root(name: str, suite: str, log: IO[str]) -> Iterator[Path]:
    """Makes a temporary root with a minimal Debian."""
    kept = roots.make_root(name, suite, [], prepare=use_apt, log=log)
    used = kept.with_name(f"{name}.used")
    roots.remove(used)
    subprocess.run(["cp", "-a", "--reflink=auto", str(kept), str(used)], check=True)
    try:
        yield used
    finally:
        roots.remove(used)


def installs(root: Path, deb: Path, log: IO[str]) -> None:
    shutil.copy2(deb, root / deb.name)
    do(root, "installing", log, "apt-get", "update", "-q")
    do(root, "installing", log, "apt-get", "install", "-y", "--no-install-recommends", f"./{deb.name}")
    do(root, "listing", log, "dpkg", "--listfiles", "h2olog")
    do(root, "verifying", log, "dpkg", "--verify", "h2olog")


def traces(server: Standin, folder: Path) -> None:
    """Traces one complete request, and checks that h2olog ends with the server."""
    with tracing(server, folder, "/usr/bin/h2olog") as (process, _):
        if server.get("/status/404", {"Cookie": "id=42"}) != 404:
            raise Failure("the stand-in answers wrong")
        deadline = time.monotonic() + PATIENCE
        while b"TxHeader   content-length" not in (folder / "out").read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = (folder / "out").read_text(encoding="utf-8").splitlines()
        for line in ("RxProtocol HTTP/1.1", "RxHeader   cookie id=42", "TxStatus   404"):
            if f"1 1 {line}" not in [re.sub(r"(?i)cookie", "cookie", shown) for shown in lines]:
                raise Failure(f"the installed h2olog does not show {line!r}, but: {lines}")
        server.process.terminate()
        if process.wait(PATIENCE) != 0:
            raise Failure(f"the installed h2olog does not end with status 0 when the server ends: {process.returncode}")


def leaves_nothing(root: Path, deb: Path, log: IO[str]) -> None:
    listed = [root / name.lstrip("/") for name in read(root, "dpkg", "--listfiles", "h2olog").split()]
    files = [file for file in listed if file.is_symlink() or file.is_file()]
    if not files:
        raise Failure("the package has no files")
    do(root, "removing", log, "apt-get", "purge", "-y", "h2olog")
    left = [str(file) for file in files if os.path.lexists(file)]
    if left:
        raise Failure(f"the package leaves behind: {', '.join(left)}")


def package_row(row: Row, folder: Path, log: IO[str]) -> None:
    builder = build_root(PACKAGES[row.name], log)
    row.compiler = f"gcc {read(builder, 'gcc', '-dumpfullversion').strip()}"
    deb, standin = make_package(builder, log)
    with clean_root(row.name, RELEASES[PACKAGES[row.name]], log) as root:
        shutil.copy2(standin, root / "standin")
        row.total = 4  # installs, attaches, traces, leaves nothing
        installs(root, deb, log)
        row.passed += 1
        describe(root, "/usr/bin/h2olog", row)
        with serving(root, "/standin") as server:
            measure_attaching(server, folder, "/usr/bin/h2olog", row)
        row.passed += 1
        with serving(root, "/standin") as server:
            traces(server, folder)
        row.passed += 1
        leaves_nothing(root, deb, log)
        row.passed += 1


def processes_in(root: Path) -> list[str]:
    """Returns pid and command line of the processes with this root folder."""
    found, place = [], root.stat()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if os.path.samestat((process / "root").stat(), place):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append(f"{process.name} {' '.join(words).strip()}")
    return found


def type_command(root: Path, command: str, log: IO[str]) -> str:
    """Runs a command as a new user would. Returns its output, which is also in the log."""
    log.write(f"\n--- typing: {command}\n")
    start = time.monotonic()
    with (Path(log.name).parent / "typed").open("w+", encoding="utf-8", errors="replace") as typed:
        words = ["sh", "-c", command]
        done = roots.run_logged(roots.command_in_fresh(root, words, roots.SOURCE_IN_ROOT), typed)
        typed.seek(0)
        output = typed.read()
    log.write(f"{output}\n--- status {done.returncode}, {time.monotonic() - start:.0f} s\n")
    log.flush()
    if left := processes_in(root):
        raise Failure(f"{command} leaves running: {', '.join(left)}")
    if done.returncode != 0:
        raise Failure(f"{command} fails")
    return output


def fresh_row(row: Row, _folder: Path, log: IO[str]) -> None:
    """Runs the row. The times to attach are measured by the row debian-* of the release."""
    with clean_root(row.name, FRESH[row.name], log) as root:
        roots.copy_resolver(root)
        roots.clone_source(root)
        shown = type_command(root, "./make.sh demo", log)
        for line in ("1 1 RxProtocol HTTP/1.1", "2 1 TxStatus   404", "That was h2olog."):
            if line not in shown:
                raise Failure(f"./make.sh demo does not show {line!r}")
        last = root / f"{BUILD}/Testing/Temporary/LastTest.log".lstrip("/")
        failure = None
        try:
            tested = type_command(root, "./make.sh test", log)
            if not re.search(r"^Total Test time \(real\) = +[\d.]+ sec\n\Z", tested, re.M):
                raise Failure("ctest's summary is not the last of what ./make.sh test prints")
        except Failure as error:  # continue with the rest of the row
            failure = error
        if not last.exists():
            raise failure or Failure("no test has run")
        row.passed, row.total, failed = count_tests(last.read_text(encoding="utf-8", errors="replace"))
        row.compiler = f"gcc {read(root, 'gcc', '-dumpfullversion').strip()}"
        describe(root, f"{BUILD}/h2olog", row)
        if failed:
            raise Failure(f"these tests fail: {', '.join(failed)}")
        if failure is not None:
            raise failure


def cross_compile(builder: Path, target: Path, log: IO[str]) -> None:
    """Cross-compiles for arm64 in a root of this architecture, with the arm64 root as the sysroot."""
    do(builder, "installing", log, "apt-get", "install", "-y", "--no-install-recommends", "gcc-aarch64-linux-gnu")
    # a copy, because mounts in a root last for one command only
    sysroot = builder / "mnt/arm64"
    roots.remove(sysroot)
    sysroot.mkdir(parents=True)
    for folder in ("usr", "lib", "etc"):
        subprocess.run(["cp", "-a", "--reflink=auto", str(target / folder), str(sysroot)], check=True)
    options = ["-DH2OLOG_TESTS=ON", "-DCMAKE_TOOLCHAIN_FILE=t/matrix/aarch64.cmake", "-DCMAKE_SYSROOT=/mnt/arm64"]
    do(builder, "building", log, "cmake", "-S.", f"-B{BUILD}", *options, cwd=roots.SOURCE_IN_ROOT)
    do(builder, "building", log, "make", "-C", BUILD, f"-j{os.cpu_count()}")
    built = target / BUILD.lstrip("/")
    roots.remove(built)
    subprocess.run(["cp", "-a", str(builder / BUILD.lstrip("/")), str(built)], check=True)


def run_unit_tests(root: Path, row: Row, log: IO[str]) -> list[str]:
    """Runs the unit tests of arm64 under qemu-user, except for those that need a real kernel. Returns the names of
    those that failed."""
    needs_kernel = ("unit-headers", "unit-maps", "unit-process", "unit-generations", "unit-drop", "unit-diagnose")
    failed = []
    for test in sorted((root / f"{BUILD}/t/unit".lstrip("/")).glob("unit-*")):
        if test.is_file() and test.name not in needs_kernel:
            done = roots.run_in(root, [f"{BUILD}/t/unit/{test.name}"])
            log.write(f"\n--- unit test: {test.name}: status {done.returncode}\n{done.stdout}")
            passed, total = count_in(done.stdout, done.returncode == 0)
            row.passed, row.total = row.passed + passed, row.total + total
            if done.returncode != 0 or passed != total:
                failed.append(test.name)
    return failed


def emulated_row(row: Row, folder: Path, log: IO[str]) -> None:
    """Builds the tests in a root of the release, and runs them with the kernel of the release."""
    architecture, release = "arm64" if row.name == "arm64" else "amd64", KERNELS[row.name]
    root, failed = build_root(release, log), []
    row.compiler = f"gcc {read(root, 'gcc', '-dumpfullversion').strip()}"
    if architecture == "arm64":
        vm.run_foreign_programs()
        builder, root = root, build_root(release, log, architecture)
        cross_compile(builder, root, log)
        failed = run_unit_tests(root, row, log)
    else:
        do(root, "building", log, "cmake", "-S.", f"-B{BUILD}", "-DH2OLOG_TESTS=ON", cwd=roots.SOURCE_IN_ROOT)
        do(root, "building", log, "make", "-C", BUILD, f"-j{os.cpu_count()}")
    describe(root, f"{BUILD}/h2olog", row)
    kernel = roots.make_root(
        f"{row.name}-kernel", RELEASES[release], [vm.MACHINES[architecture].kernel], architecture, log=log
    )
    results = vm.run_tests(root, kernel, architecture, folder, log)
    failed += results.failed
    row.kernel = str(results.figures.get("kernel", ""))
    row.passed, row.total = row.passed + results.passed, row.total + results.passed + len(results.failed)
    row.not_applicable = results.not_applicable
    times = {name: float(value) for name, value in results.figures.items() if name != "kernel"}
    row.attach_http, row.attach_quic = times.get("attach_http"), times.get("attach_quic")
    if "detach_quic" in times:
        row.note = f"emulated; detaching takes {times['detach_http']:.2f} s, of quic {times['detach_quic']:.2f} s"
    if not results.complete:
        raise Failure("the machine did not finish")
    if failed:
        raise Failure(f"these tests fail: {', '.join(failed)}")


ROWS: dict[str, Callable[[Row, Path, IO[str]], None]] = {
    **{name: distribution_row for name in RELEASES},
    **{name: package_row for name in PACKAGES},
    **{name: fresh_row for name in FRESH},
    **{name: emulated_row for name in KERNELS},
}


# --- the program ------------------------------------------------------------------------------------------


def make_row(name: str) -> Row:
    """Runs a row, and records its result. Its folder in the cache has the log and the last output of h2olog."""
    folder = roots.cache_folder() / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    row = Row(name, log=folder / "log")
    start = time.monotonic()
    print(f"matrix: {name}, log in {row.log}", file=sys.stderr, flush=True)
    with (folder / "log").open("w", encoding="utf-8") as log:
        try:
            ROWS[name](row, folder, log)
        except (Failure, OSError, subprocess.SubprocessError) as error:
            row.failure = str(error)
            log.write(f"\n--- {row.failure}\n")
    print(f"matrix: {name}, {time.monotonic() - start:.0f} s: {row.failure or 'good'}", file=sys.stderr, flush=True)
    return row


def main(arguments: list[str]) -> int:
    if arguments == ["list"]:
        print("\n".join(ROWS))
        return 0
    try:
        names = chosen(list(ROWS), arguments)
    except ValueError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("matrix: making roots needs root; put sudo before the command", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end child processes in this case, too
    rows = [make_row(name) for name in names]
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}\n\n{table(rows)}")
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")
    bad = [row for row in rows if not row.is_good]
    for row in bad:
        print(f"{row.name}: {row.failure}; log: {row.log}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
