# SPDX-License-Identifier: Apache-2.0
"""procs.py - what /proc says about the daemon's processes."""
import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Worker:
    pid: int
    role: str
    slot: int
    generation: int


def read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def stat(pid):
    """(state, parent, session) of a process; None where there is none."""
    raw = read(pid, "stat").decode(errors="replace")
    if not raw:
        return None
    f = raw.rpartition(")")[2].split()
    return f[0], int(f[1]), int(f[3])


def pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def of_session(session):
    """Every live process of a session (zombies that init will reap do not count)."""
    rows = [(p, stat(p)) for p in pids()]
    return [p for p, s in rows if s and s[2] == session and s[0] not in "ZX"]


def children(parent):
    """Those that its main thread started; one read, however many processes the machine has."""
    return [int(p) for p in read(parent, f"task/{parent}/children").split()]


def workers(supervisor):
    """The worker processes of a daemon, from their command lines."""
    found = []
    for pid in children(supervisor):
        args = read(pid, "cmdline").decode(errors="replace").split("\0")
        m = re.search(r"shunt-(\w+)$", args[0]) if args else None
        if not m or "--slot" not in args:
            continue
        found.append(Worker(pid, m.group(1), int(args[args.index("--slot") + 1]),
                            int(args[args.index("--generation") + 1])))
    return sorted(found, key=lambda w: w.slot)


def fds(pid):
    """fd number -> what it is, e.g. 'socket:[123]' or '/dev/null'."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
    except OSError:
        pass
    return found


def status_field(pid, field):
    m = re.search(rf"^{field}:\s*(\S+)", read(pid, "status").decode(), re.M)
    return m.group(1) if m else None


def memory_holds(pid, needle):
    """Whether the bytes stand anywhere in the readable memory of a process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not m or "[v" in line:
                continue
            at, end = int(m.group(1), 16), int(m.group(2), 16)
            keep = b""
            while at < end:
                try:
                    mem.seek(at)
                    piece = mem.read(min(1 << 20, end - at))
                except (OSError, ValueError, OverflowError):
                    break
                if not piece:
                    break
                if needle in keep + piece:
                    return True
                keep = piece[-len(needle):]
                at += len(piece)
    return False


def pss_kb(pid):
    m = re.search(rb"^Pss:\s+(\d+) kB", read(pid, "smaps_rollup"), re.M)
    return int(m.group(1)) if m else 0
