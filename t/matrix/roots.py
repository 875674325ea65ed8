"""Roots of Debian's releases, made with debootstrap and kept in a cache folder.

Commands in a root run in their own mount namespace. However they end, no mount remains, so a root can always be removed
with rm.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, Callable, Iterator, Mapping, Sequence

SOURCE = Path(__file__).resolve().parents[2]

# The copy of the tracked files in a root. A copy, because tests write into the source tree.
SOURCE_IN_ROOT = "/root/h2olog"

# The environment of commands in a root. It has nothing of the caller's environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}

# The environment on a new machine: without a locale, and without settings for apt.
FRESH_ENVIRONMENT = {"PATH": ENVIRONMENT["PATH"], "HOME": "/root", "TERM": "linux"}

# Run by sh: $1 is a root, the rest is a command. The kernel's tracing files can be mounted somewhere else, or not at
# all. A chroot alone is not enough, because tests in it could not make their own mounts and user namespaces.
ENTER = """
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
if [ -d "$root/sys/kernel/tracing" ] && ! [ -e "$root/sys/kernel/tracing/uprobe_events" ]; then
    mount -t tracefs tracefs "$root/sys/kernel/tracing" || :
fi
cd "$root"
pivot_root . .
umount -l .
exec "$@"
"""

# The same as a container does it: the root has its own /sys and /dev. Neither tracefs nor debugfs is mounted there.
ENTER_FRESH = """
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
cd "$root"
pivot_root . .
umount -l .
exec "$@"
"""


def cache_folder() -> Path:
    """Returns the folder for roots, packages and logs. Makes it if it does not exist."""
    chosen = os.environ.get("H2OLOG_MATRIX_CACHE")
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(above) / "h2olog-matrix"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def mirror() -> str:
    return os.environ.get("H2OLOG_MIRROR") or "http://deb.debian.org/debian"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other runs from making the same thing at the same time."""
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_logged(command: Sequence[str], log: IO[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command. Its output goes to a log, or is captured. The command is killed if this process ends."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if log is None else log,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output = process.communicate()[0]
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output)


def in_namespace(*command: str) -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "--", *command]


def remove(root: Path) -> None:
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)


def make_root(
    name: str, suite: str, packages: Sequence[str], architecture: str = "amd64",
    prepare: Callable[[Path], None] | None = None, log: IO[str] | None = None,
) -> Path:  # fmt: skip
    """Returns the root NAME of the cache folder: a minimal Debian of a suite, the packages, and the changes of
    `prepare`.

    An existing root is used again, unless it was made with other settings. A root of another architecture needs
    qemu-user-static, whose binfmt_misc entries run its programs.
    """
    root, new = cache_folder() / name, cache_folder() / f"{name}.new"
    debs = cache_folder() / "packages"
    debs.mkdir(exist_ok=True)
    made_of = {"suite": suite, "architecture": architecture, "packages": sorted(packages), "mirror": mirror()}
    stamp = Path("etc/h2olog-root.json")
    with locked(cache_folder() / f"{name}.lock"):
        if (root / stamp).exists() and json.loads((root / stamp).read_text(encoding="ascii")) == made_of:
            return root
        remove(root)
        remove(new)
        command = ["debootstrap", "--variant=minbase", f"--arch={architecture}", f"--cache-dir={debs}"]
        command += [f"--include={','.join(packages)}"] if packages else []
        done = run_logged(in_namespace(*command, suite, str(new), mirror()), log)
        if done.returncode != 0:
            raise OSError(f"debootstrap cannot make {name}: {(done.stdout or 'see the log')[-2000:]}")
        if prepare is not None:
            prepare(new)
        (new / stamp).write_text(json.dumps(made_of), encoding="ascii")
        new.rename(root)
    return root


def command_in(
    root: Path, command: Sequence[str], cwd: str = "/", environment: Mapping[str, str] | None = None
) -> list[str]:
    """Returns the command that runs another one in a root, in the same process, with this machine's kernel, devices and
    network."""
    variables = [f"{key}={value}" for key, value in {**ENVIRONMENT, **(environment or {})}.items()]
    entered = ["env", "-i", "-C", cwd, *variables, *command]
    return in_namespace("sh", "-euc", ENTER, "sh", str(root), *entered)


def command_in_fresh(root: Path, command: Sequence[str], cwd: str = "/") -> list[str]:
    """The same for the first user of a new machine, or of a container that may trace."""
    variables = [f"{key}={value}" for key, value in FRESH_ENVIRONMENT.items()]
    return in_namespace("sh", "-euc", ENTER_FRESH, "sh", str(root), "env", "-i", "-C", cwd, *variables, *command)


def run_in(
    root: Path, command: Sequence[str], cwd: str = "/", environment: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Runs a command in a root, and waits for its end."""
    copy_resolver(root)
    return run_logged(command_in(root, command, cwd, environment), log)


def copy_resolver(root: Path) -> None:
    """Makes names resolve in a root as on this machine."""
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)  # a link out of the root, in some releases
    if Path("/etc/resolv.conf").exists():
        shutil.copyfile("/etc/resolv.conf", resolver)


def copy_source(root: Path) -> str:
    """Copies the tracked files, with their current content, into a root, and removes an older copy.
    Returns the folder."""
    target = root / SOURCE_IN_ROOT.lstrip("/")
    remove(target)
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE), "ls-files", "-z"],
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    for name in listed.decode().rstrip("\0").split("\0"):
        if not os.path.lexists(SOURCE / name):
            continue  # removed, but still in the index
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / name, target / name, follow_symlinks=False)
    return SOURCE_IN_ROOT


def clone_source(root: Path) -> str:
    """Clones HEAD of the repository into a root, as `git clone` on another machine does. Returns the folder."""
    bundle, target = root / "h2olog.bundle", root / SOURCE_IN_ROOT.lstrip("/")
    git = ["git", "-c", f"safe.directory={SOURCE}", "-C", str(SOURCE)]
    try:
        subprocess.run([*git, "bundle", "create", "--quiet", str(bundle), "HEAD"], check=True)
        clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet"]
        subprocess.run([*clone, str(bundle), str(target)], check=True)
    finally:
        bundle.unlink(missing_ok=True)
    return SOURCE_IN_ROOT
