# SPDX-License-Identifier: Apache-2.0
"""Child processes: start, whole-tree CPU and memory from /proc, stop."""
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(argv, log_path, env=None, cwd=None):
    """Start argv in a session of its own; it ends when the benchmark does."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                                env={**os.environ, **(env or {})}, start_new_session=True,
                                preexec_fn=_die_with_parent)


def stop(child, grace_s=10):
    """SIGTERM, then SIGKILL to what is left of the tree. Only processes that descend from child."""
    pids = tree(child.pid)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    for pid, started in pids.items():
        if _started(pid) == started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    child.wait()


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def _started(pid):
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def tree(root):
    """{pid: start time} of root and everything below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields and fields[0] != "Z":
                parents[int(name)] = (int(fields[1]), fields[19])
    found = {root: parents[root][1]} if root in parents else {}
    grew = True
    while grew:
        grew = False
        for pid, (parent, started) in parents.items():
            if parent in found and pid not in found:
                found[pid] = started
                grew = True
    return found


def cpu_ns(pids):
    """On-CPU nanoseconds of all threads (schedstat: utime + stime without the 10 ms grain)."""
    total = 0
    for pid in pids:
        try:
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                    total += int(f.read().split()[0])
        except OSError:
            continue
    return total


def switches(pids):
    """Context switches, voluntary and not, of all threads."""
    total = [0, 0]
    for pid in pids:
        try:
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/status") as f:
                    for line in f:
                        if line.startswith("voluntary_ctxt"):
                            total[0] += int(line.split()[1])
                        elif line.startswith("nonvoluntary_ctxt"):
                            total[1] += int(line.split()[1])
        except OSError:
            continue
    return total


def memory_kb(pid):
    """(RSS, PSS) of one process."""
    rss = pss = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                if line.startswith("Rss:"):
                    rss = int(line.split()[1])
                elif line.startswith("Pss:"):
                    pss = int(line.split()[1])
    except OSError:
        pass
    return rss, pss


def machine_busy_s():
    """Seconds of CPU time that the whole machine has spent, idle and I/O wait left out, and stolen."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def own_busy_s():
    """The same of this process, its living tree and the children it has waited for."""
    t = os.times()
    return cpu_ns(tree(os.getpid())) / 1e9 + t.children_user + t.children_system


def name(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            args = [a.decode(errors="replace") for a in f.read().split(b"\0") if a]
    except OSError:
        return "?"
    return os.path.basename(args[0]) if args else "?"


def wait_for(check, limit_s, what):
    """Poll check() until it is true; TimeoutError after limit_s."""
    until = time.monotonic() + limit_s
    while not check():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)
