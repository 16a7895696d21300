# SPDX-License-Identifier: Apache-2.0
"""One benchmark session: builds the C programs, runs the mock upstream, cleans up after itself."""
import datetime
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import proc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = {"mock_upstream": ("mock_upstream.c",), "load": ("load.c", "client.c", "hist.c"),
            "first": ("first.c",)}
FULL = {"rps": 3, "low": 5, "ttft": 4, "stream": 5}
QUICK = {"rps": 1, "low": 1.5, "ttft": 1.5, "stream": 2}


class Bench:
    """Use as a context manager: on leaving, every process it started is gone."""

    def __init__(self, build, seconds, shunt_backends=("first",), quiet=False):
        self.build = os.path.abspath(build)
        self.peers = os.path.join(self.build, "bench-peers")
        self.seconds = seconds
        self.shunt_backends = shunt_backends
        self.quiet = quiet
        self.running = []
        self.upstream_port = None

    def __enter__(self):
        for sig in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: sys.exit(1))
        os.makedirs(self.peers, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="shunt-bench-")  # short: sockets live below it
        try:
            self._compile()
            self._upstream()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for thing in reversed(self.running):
            thing.stop()
        self.running = []
        shutil.rmtree(self.dir, ignore_errors=True)

    def say(self, text):
        if not self.quiet:
            print(f"bench: {text}", file=sys.stderr, flush=True)

    def program(self, name):
        return os.path.join(self.build, "bench", name)

    def _compile(self):
        src = os.path.join(ROOT, "bench")
        os.makedirs(os.path.join(self.build, "bench"), exist_ok=True)
        newest = max(os.path.getmtime(os.path.join(src, f)) for f in os.listdir(src))
        for name, files in PROGRAMS.items():
            out = self.program(name)
            if os.path.exists(out) and os.path.getmtime(out) > newest:
                continue
            subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-Wall",
                            "-Wextra", "-Wshadow", "-o", out,
                            *(os.path.join(src, f) for f in files), "-lhttp_parser"], check=True)

    def _upstream(self):
        log = os.path.join(self.dir, "upstream.log")
        child = proc.start([self.program("mock_upstream"), "-r", "50"], log)
        self.running.append(_Child(child))

        def port_known():
            with open(log) as f:
                line = f.readline()
            if child.poll() is not None:
                raise RuntimeError(f"mock_upstream ended: {line}")
            if line.startswith("port ") and line.endswith("\n"):
                self.upstream_port = int(line.split()[1])
            return self.upstream_port is not None

        proc.wait_for(port_known, 5, "mock_upstream")

    def start(self, peer):
        self.running.append(peer)
        peer.start()

    def drop(self, peer):
        if peer in self.running:
            self.running.remove(peer)
        peer.stop()


def unix_socket(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    return s


class _Child:
    def __init__(self, child):
        self.child = child

    def stop(self):
        proc.stop(self.child)


class Disturbance:
    """How much of the machine others used meanwhile; figures of a disturbed run mean little."""

    def __init__(self):
        self.at = time.monotonic()
        self.busy, self.steal = proc.machine_busy_s()
        self.own = proc.own_busy_s()

    def percent(self):
        busy, steal = proc.machine_busy_s()
        others = (busy - self.busy) - (proc.own_busy_s() - self.own) + (steal - self.steal)
        cores = len(os.sched_getaffinity(0))
        return max(0.0, 100 * others / (time.monotonic() - self.at) / cores)


def conditions(rounds):
    """What the machine was; the date in UTC."""
    cpu = "?"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory / 2**30),
            "kernel": platform.release(), "rounds": rounds}
