# SPDX-License-Identifier: Apache-2.0
"""What the supervisor promises: inheritance, sandbox, heartbeat, restarts, start and stop."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import procs
from harness.daemon import model, openai, sim
from harness.http import Raw, chat_bytes, simple_chat
from harness.journal import records
from harness.paths import BUILD, ROOT, SANITIZED, SLOW
from harness.upstream import chunk
from harness.wait import until

ROLES = ("gateway", "backend", "profiler", "recorder")


def one(d, role):
    return d.workers(role)[0]


# ---- inheritance and sandbox


def test_every_role_runs_as_its_own_binary(daemon):
    d = daemon()
    for w in d.workers():
        assert os.readlink(f"/proc/{w.pid}/exe") == str(BUILD.resolve() / f"shunt-{w.role}")
    assert {w.role for w in d.workers()} == set(ROLES)


def test_workers_hold_only_declared_descriptors(daemon):
    """Standard streams, readiness and wake, own epoll and bus sockets, the listening sockets for
    gateways only; nothing that the test's process or the supervisor had open besides."""
    leaked = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(leaked.fileno(), True)
    d = daemon(pass_fds=(leaked.fileno(),))
    leaked_inode = os.fstat(leaked.fileno()).st_ino
    listening = listening_inodes(d.port)
    for w in d.workers():
        fds = procs.fds(w.pid)
        assert fds[0] == "/dev/null"
        assert all(fds[n].endswith("/log") for n in (1, 2)), fds
        assert f"socket:[{leaked_inode}]" not in fds.values(), "inherited what was not declared"
        has_listener = any(f"socket:[{i}]" in fds.values() for i in listening)
        assert has_listener == (w.role == "gateway"), (w, fds)
        for number, what in fds.items():
            if what.startswith(str(d.run_dir / "journal")):
                assert w.role in ("gateway", "recorder"), (w, what)
                continue
            if what.startswith(str(d.home / "state")):
                assert w.role == "recorder", (w, what)
                continue
            allowed = (number < 3, what.startswith("socket:["), what.startswith("pipe:["),
                       what.startswith("anon_inode:"), what.startswith(f"/proc/{w.pid}/"))
            assert any(allowed), f"{w.role} fd {number} is {what}"
        # /memfd: is closed once mapped.
        assert not [x for x in fds.values() if "memfd" in x], fds


def listening_inodes(port):
    want = f":{port:04X}"
    rows = [line.split() for line in open("/proc/net/tcp")][1:]
    return [r[9] for r in rows if r[1].endswith(want) and r[3] == "0A"]


@pytest.mark.plain_only
def test_every_role_is_sandboxed(daemon):
    d = daemon()
    for w in d.workers():
        assert procs.status_field(w.pid, "NoNewPrivs") == "1", w
        assert procs.status_field(w.pid, "Seccomp") == "2", w
        for thread in os.listdir(f"/proc/{w.pid}/task"):
            text = open(f"/proc/{w.pid}/task/{thread}/status").read()
            assert re.search(r"^Seccomp:\s*2$", text, re.M), f"{w.role} thread {thread}"


def test_the_supervisor_has_no_thread_and_no_client(daemon):
    d = daemon()
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat()))
        raw.response()
        assert os.listdir(f"/proc/{d.pid}/task") == [str(d.pid)]


def test_the_runtime_folder_is_private(daemon):
    d = daemon()
    assert os.stat(d.run_dir).st_mode & 0o777 == 0o700


@pytest.mark.plain_only
def test_an_api_key_is_in_its_backend_worker_only(daemon, upstream, tmp_path):
    keys = {}
    backends = []
    for name in ("one", "two"):
        u = upstream(models=[name])
        keys[name] = f"sk-{name}-{os.urandom(12).hex()}"
        (tmp_path / name).write_text(keys[name] + "\n")
        (tmp_path / name).chmod(0o600)
        backends.append(openai(name, u.url, key_file=str(tmp_path / name)))
    d = daemon({"backends": backends, "models": [model("one", "one"), model("two", "two")]})
    assert d.chat("one").status_code == d.chat("two").status_code == 200
    names = {w["pid"]: w["name"] for w in d.status()["workers"]}
    for pid in [d.pid, *[w.pid for w in d.workers()]]:
        for name, key in keys.items():
            holds = procs.memory_holds(pid, key.encode())
            assert holds == (names.get(pid) == name), (names.get(pid, "shuntd"), name)


def test_the_log_holds_no_prompt_and_no_key(daemon, upstream, tmp_path):
    u = upstream()
    (tmp_path / "key").write_text("sk-very-secret-key\n")
    (tmp_path / "key").chmod(0o600)
    d = daemon({"backends": [openai("up", u.url, key_file=str(tmp_path / "key"))],
                "models": [model("m", "up")], "log": {"level": "debug"}})
    d.chat("m", "PROMPTWORD xyzzy", options={"headers": {"authorization": "Bearer CLIENTKEY1"}})
    for word in ("PROMPTWORD", "sk-very-secret-key", "CLIENTKEY1", "hello from upstream"):
        assert word not in d.log()


# ---- start


def run_shuntd(text, tmp_path, *arguments, seconds=20):
    path = tmp_path / "shunt.yaml"
    path.write_text(text if isinstance(text, str) else json.dumps(text, indent=1))
    return path, subprocess.run([BUILD / "shuntd", "-c", path, *arguments], capture_output=True,
                                text=True, timeout=seconds * SLOW, cwd=ROOT)


def test_check_accepts_a_good_config(tmp_path):
    _, done = run_shuntd({"backends": [sim()]}, tmp_path, "--check")
    assert done.returncode == 0, done.stderr


def test_check_names_file_and_line_of_every_fault(tmp_path):
    path, done = run_shuntd("gateways: many\nbackends:\n  - name: a\n    kind: sim\nfoo: 1\n"
                            "routes:\n  - name: r\n    models: [nobody]\n", tmp_path, "--check")
    assert done.returncode == 1
    out = done.stdout + done.stderr
    for line, word in ((1, "gateways"), (5, "foo"), (8, "nobody")):
        assert re.search(rf"^{re.escape(str(path))}:{line}: .*{word}", out, re.M), out


def test_the_shipped_examples_pass_the_check():
    examples = sorted((ROOT / "config").glob("*.yaml"))
    assert ROOT / "config/demo.yaml" in examples
    for path in examples:
        done = subprocess.run([BUILD / "shuntd", "-c", path, "--check"], capture_output=True,
                              text=True, timeout=20, cwd=ROOT)
        # a model's folder is the reader's own to name
        absent = re.fullmatch(r"\S+ encoders\[\d+\]\.folder: .*: No such file or directory\n",
                              done.stdout)
        assert done.returncode == 0 or absent, done.stdout + done.stderr


@pytest.mark.parametrize("text,word", [
    ("backends: [", "shunt.yaml"), ("", "shunt.yaml"), ("gateways: 0\n", "gateways"),
    ("listen: ['127.0.0.1:99999']\nbackends: [{name: s, kind: sim}]\n", "listen"),
])
def test_a_bad_config_does_not_start(tmp_path, text, word):
    _, done = run_shuntd(text, tmp_path)
    assert done.returncode != 0
    assert word in done.stdout + done.stderr


def test_a_missing_config_is_told(tmp_path):
    done = subprocess.run([BUILD / "shuntd", "-c", tmp_path / "none.yaml"], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode != 0 and "none.yaml" in done.stderr


def test_a_port_in_use_is_told(daemon, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        _, done = run_shuntd({"backends": [sim()], "listen": [address],
                              "run_dir": str(tmp_path / "run")}, tmp_path)
    assert done.returncode != 0
    assert address in done.stdout + done.stderr


def test_a_second_daemon_on_the_same_run_dir_is_refused(daemon, tmp_path):
    d = daemon()
    from harness.ports import free_port
    _, done = run_shuntd({"backends": [sim()], "listen": [f"127.0.0.1:{free_port()}"],
                          "run_dir": str(d.run_dir)}, tmp_path)
    assert done.returncode != 0
    assert str(d.run_dir) in done.stdout + done.stderr
    assert d.chat().status_code == 200, "the first one was hurt"


def test_a_run_dir_left_by_a_killed_daemon_is_taken_over(daemon, tmp_path):
    run_dir = tmp_path / "run"
    first = daemon(run_dir=run_dir)
    workers = first.workers()
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    until("its workers are gone", lambda: not [w for w in workers if procs.stat(w.pid)
                                               and procs.stat(w.pid)[0] != "Z"], 3)
    first.kill()
    second = daemon(run_dir=run_dir)
    assert second.chat().status_code == 200


def test_socket_activation(daemon, monkeypatch):
    """systemd hands over a listening socket as descriptor 3, and LISTEN_PID is the daemon's pid."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as s:
        start_through_shell(monkeypatch, 'exec 3<&%d; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
                            % s.fileno(), (s.fileno(),))
        d = daemon({"backends": [sim()], "listen": ["127.0.0.1:%d" % s.getsockname()[1]]},
                   wait_ready=False, listen=False)
        d.port = s.getsockname()[1]
        d.wait_ready()
        assert d.chat().status_code == 200
        for w in d.workers():
            assert b"LISTEN_FDS" not in procs.read(w.pid, "environ")
        d.stop()
        # The socket is the test's: it is still open, and another daemon may have it next.
        with socket.create_connection(s.getsockname(), timeout=5):
            pass


def test_a_socket_that_the_service_manager_should_not_pass_is_told_as_that(daemon, monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as s:
        address, port = s.getsockname()
        start_through_shell(monkeypatch, 'exec 3<&%d; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
                            % s.fileno(), (s.fileno(),))
        d = daemon({"backends": [sim()], "listen": [f"0.0.0.0:{port}"]},
                   wait_ready=False, listen=False)
        assert d.wait_end() == 1
        d.allow("start_failed")
        assert re.search(rf"start_failed .*passes {address}:{port}, which is not in `listen`", d.log())
        d.kill()


def start_through_shell(monkeypatch, script, fds):
    """The next daemon is started by this line of shell, which ends in exec "$@"."""
    real = subprocess.Popen

    def popen(command, **options):
        monkeypatch.setattr(subprocess, "Popen", real)
        return real(["bash", "-c", script, "sh", *command], **{**options, "pass_fds": fds})
    monkeypatch.setattr(subprocess, "Popen", popen)


def test_systemd_is_notified(daemon, tmp_path):
    path = str(tmp_path / "notify")
    said = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(0.2)
        stop = threading.Event()

        def listen():
            while not stop.is_set():
                try:
                    said.extend(s.recv(4096).decode().split("\n"))
                except TimeoutError:
                    continue
        reader = threading.Thread(target=listen)
        reader.start()
        try:
            d = daemon({"backends": [sim()], "drain_ms": "2m"},
                       environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
            until("READY=1", lambda: "READY=1" in said)
            assert any(x.startswith("STATUS=") for x in said)
            until("WATCHDOG=1 again and again", lambda: said.count("WATCHDOG=1") >= 3)
            d.reload(gateways=1)
            until("RELOADING=1", lambda: "RELOADING=1" in said)
            until("READY=1 again", lambda: said.count("READY=1") >= 2)
            d.stop()
            until("STOPPING=1", lambda: "STOPPING=1" in said)
            # or the manager would kill what drains after its own TimeoutStopSec
            until("time to drain", lambda: any(
                x.startswith("EXTEND_TIMEOUT_USEC=") and int(x[20:]) > 120e6 for x in said))
            for w in d.workers():
                assert b"NOTIFY_SOCKET" not in procs.read(w.pid, "environ")
        finally:
            stop.set()
            reader.join()


def test_a_journal_that_cannot_be_written_does_not_hold_up_readiness(daemon, tmp_path):
    """The service manager would kill what serves, again and again, for a broken disk."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "journal").write_text("where a folder should be")
    d = daemon({"backends": [sim()], "state_dir": str(state)}, wait_ready=False)
    d.allow("worker_failed", "worker_died")
    d.keeps_records = True
    d.wait_log(r" shuntd ready workers=")
    d.wait_ready()
    assert d.chat().status_code == 200


# ---- death and restart


def test_death_of_the_supervisor_ends_all_workers(daemon):
    d = daemon()
    workers = d.workers()
    os.kill(d.pid, signal.SIGKILL)
    d.process.wait()
    until("all workers are gone within 2 s", lambda: all(
        procs.stat(w.pid) is None or procs.stat(w.pid)[0] in "ZX" for w in workers), 2)
    d.kill()


@pytest.mark.parametrize("role", ROLES)
def test_an_obituary_says_who_and_why(daemon, role):
    d = daemon()
    d.allow("died|killed|exit|SEGV")
    w = one(d, role)
    before = len(d.log())
    os.kill(w.pid, signal.SIGSEGV)
    d.wait_worker(w)
    lines = [line for line in d.log()[before:].splitlines() if re.search(rf"\bpid={w.pid}\b", line)
             and "died" in line]
    assert len(lines) == 1, d.log()[before:]
    assert role in lines[0] and re.search(r"SEGV|signal=11", lines[0])
    assert re.search(r"slot=%d\b" % w.slot, lines[0])
    d.wait_ready()  # a recorder that is stopped while it starts leaves the rings to the next start


@pytest.mark.parametrize("role", ROLES)
def test_a_hung_worker_is_killed_after_its_heartbeat(daemon, role):
    d = daemon({"backends": [sim()], "heartbeat_ms": 600})
    d.allow("hung|heartbeat|died|killed")
    w = one(d, role)
    os.kill(w.pid, signal.SIGSTOP)
    d.wait_worker(w, 20)
    assert re.search(rf"worker_hung .*\bslot={w.slot} .*heartbeat_ms=600\b", d.log())
    d.wait_ready()
    until("it answers", lambda: d.chat().status_code == 200)


def test_a_crash_loop_backs_off_and_the_others_keep_their_pids(daemon):
    d = daemon({"backends": [sim("a", models=["ma"]), sim("b", models=["mb"])],
                "restart": {"delay_ms": 20, "delay_max_ms": 400, "healthy_ms": 600000}})
    d.allow("died|killed|backoff")
    victim = next(w for w in d.workers("backend"))
    others = {w.pid for w in d.workers()} - {victim.pid}
    for _ in range(7):
        os.kill(victim.pid, signal.SIGKILL)
        victim = d.wait_worker(victim)
    assert {w.pid for w in d.workers()} - {victim.pid} == others
    gaps = [int(n) for n in re.findall(rf"worker_restarting .*\bslot={victim.slot} delay_ms=(\d+)",
                                       d.log())]
    assert len(gaps) == 7 and gaps[0] < gaps[-1]
    assert min(gaps[-2:]) > 150, f"no back-off: {gaps}"
    assert max(gaps) <= 400, f"past the cap: {gaps}"


@pytest.mark.plain_only
def test_a_worker_that_dies_at_once_does_not_spin(daemon, tmp_path):
    """A backend whose key file vanished can't start: it is tried at growing distances."""
    key = tmp_path / "key"
    key.write_text("k\n")
    key.chmod(0o600)
    d = daemon({"backends": [sim("ok", models=["m"]),
                             openai("bad", "http://127.0.0.1:9", key_file=str(key))],
                "restart": {"delay_ms": 20, "delay_max_ms": 500}})
    d.allow(".*")
    key.unlink()
    names = {w["name"]: w["slot"] for w in d.status()["workers"]}
    bad = next(w for w in d.workers() if w.slot == names["bad"])
    os.kill(bad.pid, signal.SIGKILL)
    before = len(d.log())
    d.wait_log(r"(died|exited).*\n(.*\n)*.*(died|exited).*\n(.*\n)*.*(died|exited)", after=before)
    begun, used = time.monotonic(), cpu_seconds(d.pid)
    until("a second has passed", lambda: time.monotonic() > begun + 1)
    assert cpu_seconds(d.pid) - used < 0.5, "the supervisor spins"
    assert d.chat("m").status_code == 200


def cpu_seconds(pid):
    f = procs.read(pid, "stat").decode().rpartition(")")[2].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_that_never_gets_ready_is_killed(daemon, upstream):
    """SIGSTOP right after its birth: no readiness byte by start_ms."""
    d = daemon({"backends": [sim()], "start_ms": 700, "heartbeat_ms": 60000})
    d.allow("start|died|killed")
    w = one(d, "profiler")
    os.kill(w.pid, signal.SIGKILL)
    new = d.wait_worker(w)
    try:
        os.kill(new.pid, signal.SIGSTOP)
    except ProcessLookupError:
        pytest.skip("it was gone already")
    state = next((x["state"] for x in d.status()["workers"] if x["slot"] == w.slot), "")
    if state == "ready":
        os.kill(new.pid, signal.SIGKILL)
        pytest.skip("it was ready before it could be stopped")
    d.wait_worker(new, 10)


# ---- stop


def test_sigterm_finishes_running_streams(daemon, upstream):
    go = threading.Event()

    def script(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "first"}))
        go.wait(20)
        x.event(chunk({"content": "last"}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    u = upstream(chat=script)
    d = daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")]})
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("m", stream=True)))
        assert raw.read_head()[0] == 200
        raw.read_chunk()
        d.signal(signal.SIGTERM)
        until("new connections are refused", lambda: refuses(d))
        go.set()
        rest = b"".join(iter(raw.read_chunk, b""))
        assert b"last" in rest and rest.endswith(b"data: [DONE]\n\n")
    assert d.wait_end() == 0


def refuses(d):
    try:
        with socket.create_connection(("127.0.0.1", d.port), timeout=1) as s:
            s.sendall(b"GET /ready HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n")
            return b" 200 " not in s.recv(100)
    except OSError:
        return True


def test_drain_has_an_end(daemon, upstream):
    """What still runs then is told so, and has its records: nobody is cut off by SIGKILL."""
    u = upstream(chat=lambda x: (x.begin_stream(), x.event(chunk({"content": "a"})), x.hang()))
    d = daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")], "drain_ms": 500})
    d.allow("drain")
    with Raw(d) as raw, Raw(d) as plain:
        raw.send(chat_bytes(simple_chat("m", stream=True)))
        raw.read_head()
        plain.send(chat_bytes(simple_chat("m")))
        u.wait_chats(2)
        before = len(d.log())
        d.signal(signal.SIGTERM)
        rest = b"".join(iter(raw.read_chunk, b""))
        assert b'"error"' in rest and b"time to finish requests is over" in rest
        assert plain.read_head()[0] == 503
        assert d.wait_end(6) == 0
    log = d.log()[before:]
    assert " drain_deadline " in log and "worker_overdue" not in log and "SIGKILL" not in log
    assert sorted(r["status"] for r in records(d, "request")) == [200, 503]


def test_a_second_sigterm_ends_at_once(daemon, upstream):
    u = upstream(chat=lambda x: (x.begin_stream(), x.event(chunk({"content": "a"})), x.hang()))
    d = daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")],
                "drain_ms": 60000})
    d.allow("drain|killed|died|stop")
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("m", stream=True)))
        raw.read_head()
        d.signal(signal.SIGTERM)
        until("it drains", lambda: refuses(d))
        d.signal(signal.SIGTERM)
        assert d.wait_end(5) in (0, 1)
    d.keeps_records = True  # the recorder had no time to take them over


def test_sigint_stops_too(daemon):
    d = daemon()
    d.signal(signal.SIGINT)
    assert d.wait_end() == 0


def test_start_is_quick(daemon):
    """Cold start to first answer: reported in docs, here only far from hopeless."""
    begun = time.monotonic()
    d = daemon()
    assert d.chat().status_code == 200
    assert time.monotonic() - begun < 5 * SLOW
    assert SANITIZED or d.workers()


def test_started_without_standard_streams(daemon):
    """Whatever is opened next must not become the log: lines of it would end up in that file."""
    d = daemon(preexec=lambda: [os.close(n) for n in (0, 1, 2)])
    assert d.chat().status_code == 200
    assert (d.run_dir / "shuntd.pid").read_text() == f"{d.pid}\n"
    assert {procs.fds(d.pid)[n] for n in (0, 1, 2)} == {"/dev/null"}
    for w in d.workers():
        assert {procs.fds(w.pid)[n] for n in (0, 1, 2)} == {"/dev/null"}
