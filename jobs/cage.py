"""The door a child goes through: it takes from itself what its program will not need, then becomes that program.

A script, started as ``python -I -S cage.py WANTED COMMAND …`` with `WANTED` as JSON (`jobs.confinement` writes it), and for a trial with
``true`` as the command. It imports the standard library alone, and it is the one place where this can be done safely: after the fork of
a supervisor that has threads no Python code may run, and the program itself would have to be trusted with it.

What it takes is gone for good, for the program and for all it starts. Linux only; ends with `REFUSED` when something could not be taken.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

REFUSED = 78
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 8, 4096, 16384, 1 << 19
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
# chown, dac_override, dac_read_search, fowner, fsetid, ipc_lock: a root without them could not read others' models, nor pin memory.
CAPABILITIES_LEFT = {0, 1, 2, 3, 4, 14}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

# Landlock (Linux 5.13, with truncation from 6.2): numbers of the system calls on every architecture but alpha.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ABI_ASKED, PATH_BENEATH = 1, 1
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
# remove_dir, remove_file, make_char, make_dir, make_reg, make_sock, make_fifo, make_block, make_sym
CHANGES = sum(1 << bit for bit in range(4, 13))
SCOPES = 0b11  # signals to, and abstract sockets of, processes outside
# What is written without being a file of ours. A root's child must not reach the disks that lie beside these.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "nvidia*", "nvidia-caps", "dri", "kfd", "infiniband")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - how processes that train together pass tensors

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A call of the C library. Raises OSError when it fails."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def limit(name: int, most: int) -> None:
    """Never above what we were given."""
    _, hard = resource.getrlimit(name)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(name, (most, most))


def leave_namespaces(*, network: bool, hide: list[str]) -> None:
    """A network of our own, in which there is nothing but loopback, and a view of the files in which some are not there.

    Whoever may not make these makes them in a user namespace, in which it stays who it is.
    """
    flags = CLONE_NEWNS | (CLONE_NEWNET if network else 0)
    try:
        call("unshare", flags)
    except OSError as problem:
        if problem.errno != errno.EPERM:
            raise
        user, group = os.geteuid(), os.getegid()
        call("unshare", flags | CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    if network:
        raise_loopback()
    # What is mounted here stays here; what the machine mounts later is seen.
    call("mount", None, b"/", None, MS_REC | MS_SLAVE, None)
    for path in hide:
        with suppress(FileNotFoundError, PermissionError):  # what we cannot reach need not be hidden
            cover(path)


def cover(path: str) -> None:
    if Path(path).is_dir():
        call("mount", b"nothing", os.fsencode(path), b"tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, b"size=4k,mode=0")
    else:
        call("mount", b"/dev/null", os.fsencode(path), None, MS_BIND, None)


def raise_loopback() -> None:
    """Processes that train together talk over 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def drop_privileges() -> None:
    """No program we become or start gains anything, by a set-uid bit or by being root."""
    for number in range(64):
        if number not in CAPABILITIES_LEFT:
            with suppress(OSError):  # no such capability, or none to give away
                call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def landlock_version() -> int:
    return int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ABI_ASKED))


def write_only_in(folders: list[str]) -> None:
    """Nothing outside `folders` is written, made, renamed or removed any more, but devices that compute."""
    version = landlock_version()
    if version < 3:
        raise OSError(errno.ENOSYS, "landlock: this kernel has none, or one that would let files be cut short")
    everything = WRITE_FILE | CHANGES | REFER | TRUNCATE
    rules = struct.pack("QQQ", everything, 0, SCOPES) if version >= 6 else struct.pack("Q", everything)
    ruleset = call("syscall", CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    devices = [path for name in DEVICES for path in Path("/dev").glob(name)]
    beneath: list[tuple[str | Path, int]] = [(each, everything) for each in (*folders, SHARED_MEMORY)]
    for path, allowed in [*beneath, *((each, WRITE_FILE) for each in devices)]:
        with suppress(FileNotFoundError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            call("syscall", ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def confine(wanted: dict[str, object]) -> None:
    """Raises OSError at the first thing that cannot be taken away."""
    # When memory runs out, the system shall end this program and neither a database nor a supervisor.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    limit(resource.RLIMIT_CORE, 0)  # a core holds the texts
    if most := wanted.get("open_files"):
        limit(resource.RLIMIT_NOFILE, int(str(most)))
    if most := wanted.get("file_bytes"):
        limit(resource.RLIMIT_FSIZE, int(str(most)))
    hide, write = wanted.get("hide"), wanted.get("write")
    if wanted.get("network") is False or hide:
        leave_namespaces(network=wanted.get("network") is False, hide=hide if isinstance(hide, list) else [])
    drop_privileges()
    if isinstance(write, list):
        write_only_in(write)


def main() -> None:
    wanted, command = json.loads(sys.argv[1]), sys.argv[2:]
    try:
        confine(wanted)
    except OSError as problem:
        sys.stderr.write(f"Not confined: {problem.strerror or problem}\n")
        sys.exit(REFUSED)
    # Python ignores these two; the program decides for itself.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - the same arguments that the supervisor was given


if __name__ == "__main__":
    main()
