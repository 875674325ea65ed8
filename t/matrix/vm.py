"""Another kernel of Debian in a machine that qemu emulates, with a root of a release as its disk.

Every instruction is emulated, which takes 10 to 50 times as long. Thus results do not depend on the virtualization
support of the host's processor. H2OLOG_SLOWNESS extends the times of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import roots

GUEST = f"{roots.SOURCE_IN_ROOT}/t/matrix/guest.py"

SLOWNESS = 10
PATIENCE = 8 * 3600.0

# Free space on the disk for files of the tests, and the largest size of the tar of the results.
FREE = 1 << 30
RESULTS_SIZE = 64 << 20


@dataclass(frozen=True)
class Machine:
    """Debian's name for the kernel of an architecture, and qemu's machine for it."""

    kernel: str
    qemu: tuple[str, ...]
    console: str


MACHINES = {
    # not the newest processor: libraries would use AVX, which is slow to emulate
    "amd64": Machine("linux-image-amd64", ("qemu-system-x86_64", "-M", "q35", "-cpu", "Nehalem"), "ttyS0"),
    "arm64": Machine("linux-image-arm64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"), "ttyAMA0"),
}


@dataclass
class Results:
    """The results of a machine. They are complete if the machine finished."""

    figures: dict[str, float | str] = field(default_factory=dict)
    passed: int = 0
    failed: list[str] = field(default_factory=list)  # or skipped for another reason than the one below
    not_applicable: int = 0
    complete: bool = False


def run_foreign_programs() -> None:
    """Lets the kernel run programs of arm64, as the package qemu-user-static does where systemd runs."""
    entries = Path("/proc/sys/fs/binfmt_misc")
    if (entries / "qemu-aarch64").exists() or os.uname().machine == "aarch64":
        return
    if not (entries / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "none", str(entries)], check=True)
    entry = Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes()
    (entries / "register").write_bytes(entry.strip())


def make_empty(disk: Path, size: int) -> None:
    with disk.open("wb") as file:
        file.truncate(size)


def make_disk(root: Path, disk: Path) -> None:
    """Makes a file system with the content of a root. It has no journal, because it is used once."""
    used = int(subprocess.run(["du", "-sk", str(root)], check=True, stdout=subprocess.PIPE).stdout.split()[0]) << 10
    make_empty(disk, used + used // 8 + FREE)  # mke2fs prints messages, which do not belong into the output
    subprocess.run(["mke2fs", "-q", "-t", "ext2", "-m", "0", "-d", str(root), str(disk)], check=True)


def find(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise OSError(f"{folder} has no {pattern}")
    return found[-1]


def qemu_command(
    machine: Machine, kernel: Path, initrd: Path, disks: list[Path], settings: dict[str, str]
) -> list[str]:
    # without randomised addresses, qemu can use translated code again, which halves the work
    words = [f"console={machine.console}", "root=/dev/vda", "rootfstype=ext4", "rw", f"init={GUEST}", "quiet"]
    words += ["panic=-1", "norandmaps", "mitigations=off", *(f"{key}={value}" for key, value in settings.items())]
    command = [*machine.qemu, "-accel", "tcg,thread=multi,tb-size=1024", "-smp", "2", "-m", "3072"]
    command += ["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot"]
    command += ["-kernel", str(kernel), "-initrd", str(initrd)]
    for disk in disks:
        command += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
    return [*command, "-append", " ".join(words)]


def read_cases(file: Path, results: Results) -> None:
    """Counts the tests in a report of pytest."""
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None and skipped.get("message", "").startswith("not applicable: "):
            results.not_applicable += 1
        elif skipped is None and case.find("failure") is None and case.find("error") is None:
            results.passed += 1
        else:
            results.failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")


def read_results(folder: Path) -> Results:
    results = Results(complete=(folder / "complete").exists())
    if (folder / "figures.json").exists():
        results.figures = json.loads((folder / "figures.json").read_text(encoding="ascii"))
    for file in sorted(folder.glob("*.xml")):
        read_cases(file, results)
    return results


def run_tests(root: Path, kernel: Path, architecture: str, folder: Path, log: IO[str]) -> Results:
    """Boots the kernel of a root with another root as its disk, in which the tests were built, and runs the tests."""
    disk, told, results = folder / "disk", folder / "told.tar", folder / "results"
    make_disk(root, disk)
    make_empty(told, RESULTS_SIZE)
    settings = {"H2OLOG_SLOWNESS": str(SLOWNESS)}
    if files := os.environ.get("H2OLOG_FILES"):
        settings["H2OLOG_FILES"] = files
    images = find(kernel / "boot", "vmlinuz-*"), find(kernel / "boot", "initrd.img-*")
    command = qemu_command(MACHINES[architecture], *images, [disk, told], settings)
    log.write(f"\n--- booting: {' '.join(command)}\n")
    log.flush()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            log.write("\n--- it does not finish\n")
        finally:
            process.kill()
    roots.remove(results)
    results.mkdir()
    # check=False: the tar ends before the disk does
    subprocess.run(["tar", "-C", str(results), "-xf", str(told)], stderr=log, check=False)
    disk.unlink()
    return read_results(results)
