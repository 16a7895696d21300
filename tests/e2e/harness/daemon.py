# SPDX-License-Identifier: Apache-2.0
"""daemon.py - the real shuntd with its own ports and run_dir, and what must be true when it ends."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import httpx

from . import procs
from .paths import BUILD, ROOT, SLOW
from .ports import free_port
from .wait import until

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (error|warn|info|debug) (\S+) (\S+) ?(.*)")


def sim(name="sim", **settings):
    """A backend row of a fast simulated model called `name`."""
    return {"name": name, "kind": "sim", "sim": {"ttft_ms": 1, "tokens_per_s": 0, "tokens": 12,
                                                 **settings}}


def openai(name, url, **keys):
    """A backend row of an OpenAI-compatible server."""
    return {"name": name, "kind": "openai", "url": url, "probe_ms": 200, **keys}


def model(name, *backends, upstream=None, **keys):
    rows = [{"backend": b, **({"model": upstream} if upstream else {})} for b in backends]
    return {"name": name, "deployments": rows, **keys}


def shared_memory():
    """Of shunt, by name; a bench beside the tests may have some too."""
    return {n for n in os.listdir("/dev/shm") if n.startswith("shunt")}


class Daemon:
    """Started at once; `stop` (called by the fixture) checks that nothing is left behind."""

    def __init__(self, config, *, wait_ready=True, environment=None, pass_fds=(), preexec=None,
                 run_dir=None, arguments=(), listen=True, stdin=subprocess.DEVNULL):
        self.home = Path(tempfile.mkdtemp(prefix="shunt-e2e-"))
        self.others_memory = shared_memory()
        self.run_dir = Path(run_dir) if run_dir else self.home / "run"
        self.port = free_port() if listen else None
        self.config_path = self.home / "shunt.yaml"
        self.log_path = self.home / "log"
        self.allowed = []
        self.keeps_records = False  # rings may wait for the next start
        self.stopped = False
        self.config = {"run_dir": str(self.run_dir), "state_dir": str(self.home / "state"),
                       "gateways": 1, **config}
        if listen:
            self.config.setdefault("listen", [f"127.0.0.1:{self.port}"])
        self.write_config(self.config)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(BUILD / "shuntd"), "-c", str(self.config_path), *arguments], cwd=ROOT,
                stdin=stdin, stdout=log, stderr=subprocess.STDOUT, pass_fds=pass_fds,
                env={**os.environ, **(environment or {})}, start_new_session=True,
                preexec_fn=preexec)
        self.pid = self.process.pid
        if wait_ready:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise

    # ---- talking to it

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_path(self):
        return str(self.run_dir / "shunt.sock")

    def client(self, **options):
        options.setdefault("timeout", 20 * SLOW)
        return httpx.Client(base_url=self.url, trust_env=False, **options)

    def get(self, path, **options):
        with self.client() as c:
            return c.get(path, **options)

    def post(self, path, body=None, **options):
        with self.client() as c:
            if isinstance(body, (bytes, str)):
                headers = {"content-type": "application/json", **options.pop("headers", {})}
                return c.post(path, content=body, headers=headers, **options)
            return c.post(path, json=body, **options)

    def chat(self, model="auto", text="Hello there.", **more):
        options = more.pop("options", {})
        return self.post("/v1/chat/completions", {
            "model": model, "messages": [{"role": "user", "content": text}], **more}, **options)

    def stream(self, model="auto", text="Hello there.", **more):
        """The httpx response (closed) and its list of `data:` payloads."""
        body = {"model": model, "stream": True,
                "messages": [{"role": "user", "content": text}], **more}
        with self.client() as c, c.stream("POST", "/v1/chat/completions", json=body) as r:
            lines = [line[6:] for line in r.iter_lines() if line.startswith("data: ")]
        return r, lines

    # ---- its state

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def events(self, name=None):
        """(level, who, event, rest) of the log lines, of one event or all."""
        rows = [m.groups() for m in map(LOG_LINE.fullmatch, self.log().splitlines()) if m]
        return [r for r in rows if name is None or r[2] == name]

    def workers(self, role=None):
        return [w for w in procs.workers(self.pid) if role in (None, w.role)]

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"shuntd ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.get("/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def starting(self):
        """Pids of the workers that are neither ready nor ended yet."""
        log = self.log()
        return (set(re.findall(r" worker_started .*\bpid=(\d+)", log)) -
                set(re.findall(r" worker_(?:ready|died|ended) .*\bpid=(\d+)", log)))

    def wait_ready(self, seconds=15):
        """It serves, and the first life of every worker has come to something: a daemon that
        answers /ready may have other backends on their way still."""
        try:
            until("GET /ready answers 200", self.is_ready, seconds)
            until("every worker is up or has failed", lambda: not self.starting(), seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()[-4000:]}") from None

    def wait_log(self, pattern, seconds=10, after=0):
        """The first match of the pattern in the log past the offset."""
        return until(f"{pattern!r} in the log", lambda: re.search(pattern, self.log()[after:]),
                     seconds)

    def wait_worker(self, old, seconds=10):
        """The next life of a worker that died, once the daemon is ready again."""
        new = until(f"slot {old.slot} has a new process", lambda: next(
            (w for w in self.workers() if w.slot == old.slot and w.generation > old.generation),
            None), seconds)
        return new

    def status(self):
        """What `shunt status --json` says."""
        done = subprocess.run([BUILD / "shunt", "status", "--json"], capture_output=True,
                              text=True, timeout=20, cwd=ROOT,
                              env={**os.environ, "SHUNT_SOCKET": self.socket_path})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def counter(self, name):
        """A counter of /metrics, named without shunt_, summed over its rows (none where it is 0)."""
        rows = re.findall(rf"^shunt_{name}\{{.*\}} (\d+)$", self.get("/metrics").text, re.M)
        return sum(map(int, rows))

    def models(self):
        return {m["id"] for m in self.get("/v1/models").json()["data"]}

    # ---- changing it

    def write_config(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        new = self.config_path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config_path)

    def reload(self, **changes):
        self.config = {**self.config, **changes}
        self.write_config(self.config)
        self.signal(signal.SIGHUP)

    def signal(self, number):
        os.kill(self.pid, number)

    def allow(self, *patterns):
        """Lines of level error that this test provokes."""
        self.allowed += patterns

    # ---- the end

    def kill(self):
        """End everything at once, whatever state it is in."""
        self.stopped = True
        for pid in {self.pid, *procs.of_session(self.pid)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def wait_end(self, seconds=10):
        """Exit status; the processes must be gone with it."""
        try:
            status = self.process.wait(timeout=seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"shuntd still runs {seconds * SLOW:.0f} s after it was told to "
                                 f"stop\n{self.log()[-3000:]}") from None
        left = procs.of_session(self.pid)
        if left:
            until("all workers are gone", lambda: not procs.of_session(self.pid), 2)
        return status

    def complaints(self):
        """Lines that a quiet run would not have: errors, and what is no log line at all."""
        bad = []
        for line in self.log().splitlines():
            m = LOG_LINE.fullmatch(line)
            if (m is None or m.group(1) == "error") and line.strip():
                if not any(re.search(p, line) for p in self.allowed):
                    bad.append(line)
        return bad

    def stop(self, seconds=15):
        """Drain and end it; assert a clean end."""
        if self.stopped:
            return
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            status = self.wait_end(seconds)
            assert status == 0, f"exit status {status}\n{self.log()[-3000:]}"
            assert not self.complaints(), "complaints in the log:\n" + "\n".join(
                self.complaints()[:40])
            assert not self.leftovers(), f"left behind: {self.leftovers()}"
        finally:
            self.kill()

    def leftovers(self):
        """Files of the run that outlive it."""
        files = [str(p.relative_to(self.run_dir)) for p in self.run_dir.rglob("*")]
        if self.keeps_records:
            files = [f for f in files if not f.startswith("journal")]
        return files + sorted(shared_memory() - self.others_memory)
