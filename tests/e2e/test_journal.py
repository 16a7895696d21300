# SPDX-License-Identifier: Apache-2.0
"""The journal: one whole record of every answered request, whoever is killed and however full the
disk is."""
import fcntl
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter

import httpx
import pytest

from harness.daemon import model, openai, sim
from harness.journal import folder, ids, lines, records
from harness.paths import BUILD
from harness.upstream import fail
from harness.wait import until

CONFIG = {"backends": [sim("s", ttft_ms="0ms", tokens_per_s=0, tokens=4)],
          "models": [model("m", "s", upstream="s")], "restart": {"delay_ms": 1, "delay_max_ms": 20}}


KILLS = int(os.environ.get("SHUNT_KILLS", "60"))


def ask(c):
    """One chat over a kept connection."""
    return c.post("/v1/chat/completions", json={
        "model": "m", "messages": [{"role": "user", "content": "x"}]})


def one(d, role):
    return d.workers(role)[0]


def wait_record(d, request_id):
    return until(f"the record of {request_id}", lambda: next(
        (r for r in records(d, "request") if r["id"] == request_id), None))


def test_one_record_of_each_request_and_of_each_attempt(daemon, upstream):
    bad = upstream(chat=fail(500))
    d = daemon({**CONFIG, "backends": [*CONFIG["backends"], openai("bad", bad.url)],
                "models": [{"name": "m", "output_usd": 2.0, "input_usd": 1.0, "deployments": [
                    {"backend": "bad", "model": "m"}, {"backend": "s", "model": "s"}]}]})
    answers = [d.chat("m") for _ in range(5)]
    assert {r.status_code for r in answers} == {200}
    seen = [r.headers["x-shunt-request-id"] for r in answers]
    for request_id in seen:
        r = wait_record(d, request_id)
        assert r["status"] == 200 and r["code"] == "ok" and r["model"] == "m"
        assert r["cost_usd"] > 0 and r["total_us"] > 0 and r["completion_tokens"] == 4
        tries = [a for a in records(d, "attempt") if a["request"] == request_id]
        assert [a["n"] for a in tries] == list(range(1, r["attempts"] + 1))
        assert tries[-1]["code"] == "ok" and tries[-1]["backend"] == "s"
        assert all(a["code"] == "upstream_error" and a["http"] == 500 for a in tries[:-1])
    assert ids(d) == Counter(seen)
    assert (folder(d).stat().st_mode & 0o777) == 0o700


def test_errors_cancels_and_refusals_have_records(daemon):
    d = daemon({**CONFIG, "backends": [sim("s", ttft_ms="0ms", tokens_per_s=5, tokens=500)]})
    missing = d.chat("nothing-like-it")
    assert missing.status_code == 404
    assert wait_record(d, missing.headers["x-shunt-request-id"])["code"] == "model_not_found"
    assert d.post("/v1/chat/completions", {"model": 7}).status_code == 400
    until("the refusal", lambda: [r for r in records(d, "refused") if r["status"] == 400])
    with d.client() as c, c.stream("POST", "/v1/chat/completions", json={
            "model": "m", "stream": True,
            "messages": [{"role": "user", "content": "x"}]}) as r:
        next(r.iter_lines())
        request_id = r.headers["x-shunt-request-id"]
    gone = wait_record(d, request_id)
    assert gone["code"] == "client_closed" and gone["stream"] is True
    assert [a["code"] for a in records(d, "attempt") if a["request"] == request_id] == [
        "client_closed"]


def test_off_means_no_process_and_no_file(daemon):
    d = daemon({**CONFIG, "journal": {"enabled": False}})
    assert d.chat("m").status_code == 200
    assert not [w for w in d.workers() if w.role == "recorder"]
    assert not (d.home / "state").exists()
    d.reload(journal={"enabled": True})
    until("a recorder", lambda: [w for w in d.workers() if w.role == "recorder"])
    until("a record", lambda: d.chat("m").status_code == 200 and records(d))


def test_a_ring_that_the_recorder_holds_is_not_waited_for(daemon):
    """It locks a dead gateway's ring to remove it; the next life comes in that moment."""
    d = daemon({**CONFIG, "gateways": 1, "restart": {"delay_ms": 300, "delay_max_ms": 300}})
    d.allow("worker_died|restart")
    first = d.chat("m").headers["x-shunt-request-id"]
    wait_record(d, first)
    with open(d.run_dir / "journal" / "0.ring", "rb") as ring:
        victim = one(d, "gateway")
        taken = threading.Thread(target=fcntl.flock, args=(ring, fcntl.LOCK_EX))
        taken.start()  # it gets it when the gateway dies
        os.kill(victim.pid, signal.SIGKILL)
        taken.join()
        d.wait_worker(victim)
        until("it answers", lambda: d.chat("m").status_code == 200)
        wait_record(d, d.chat("m").headers["x-shunt-request-id"])
    assert not d.events("journal_absent")


def test_files_rotate_and_old_ones_go(daemon):
    d = daemon({**CONFIG, "journal": {"file_bytes": 4096, "files": 3}})
    with d.client() as c:
        until("the first file is gone, three are kept", lambda: ask(c).status_code == 200 and [
            p.name for p in sorted(folder(d).glob("journal-*.jsonl"))][0] != "journal-00000001.jsonl")
    assert len(list(folder(d).glob("journal-*.jsonl"))) == 3


def load(d, seen, errors, stop):
    while not stop.is_set():
        try:
            with d.client(timeout=20) as c:
                while not stop.is_set():
                    r = ask(c)
                    if "x-shunt-request-id" in r.headers:
                        seen.append(r.headers["x-shunt-request-id"])
                    else:
                        errors.append(r.text)
        except httpx.HTTPError:
            continue  # its gateway was killed


def under_load(d, do):
    seen, errors, stop = [], [], threading.Event()
    threads = [threading.Thread(target=load, args=(d, seen, errors, stop)) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        do(seen)
    finally:
        stop.set()
        for t in threads:
            t.join(30)
    assert not errors, errors[:3]
    return seen


def all_written(d, seen):
    wanted = set(seen)
    try:
        until("all records are written", lambda: wanted <= set(ids(d)), 20)
    except AssertionError:
        lost = sorted(wanted - set(ids(d)))
        raise AssertionError(f"{len(lost)} of {len(wanted)} answers have no record, e.g. {lost[:5]}")


def whole(d, seen):
    """Every answered request has exactly one record, and no line is damaged."""
    all_written(d, seen)
    twice = [i for i, n in ids(d).items() if n != 1]
    assert not twice, f"{len(twice)} records twice, e.g. {twice[:3]}"


class Killer(threading.Thread):
    """Kills whoever serves one slot, at a moment drawn from the seed, after each sign of life."""

    def __init__(self, d, slot, seen, left):
        super().__init__()
        self.d, self.slot, self.seen, self.left = d, slot, seen, left
        self.rng = random.Random(slot)
        self.kills = 0
        self.failed = None

    def run(self):
        try:
            while next(self.left, None) is not None:
                self.kill()
        except (AssertionError, OSError) as e:
            self.failed = e

    def kill(self):
        before = len(self.seen)
        until("requests are answered", lambda: len(self.seen) > before + 2, 60)
        time.sleep(self.rng.uniform(0, 0.02))  # anywhere in its life, its start included
        victim = until("the slot is served", lambda: next(
            (w for w in self.d.workers() if w.slot == self.slot), None))
        try:
            os.kill(victim.pid, signal.SIGKILL)
            self.kills += 1
        except ProcessLookupError:
            pass


@pytest.mark.timeout(120 + KILLS)
def test_kills_of_all_roles_at_once_lose_and_double_nothing(daemon):
    """SHUNT_KILLS SIGKILLs (60), over two gateways, two backends, profiler and recorder at once."""
    d = daemon({**CONFIG, "gateways": 2, "restart": {"delay_ms": 1, "delay_max_ms": 5},
                "backends": [sim(n, models=["s"], ttft_ms="0ms", tokens_per_s=0, tokens=4)
                             for n in ("s", "t")],
                "models": [model("m", "s", "t", upstream="s")]})
    d.allow(".*")
    begun = time.monotonic()
    killers = []

    def kill(seen):
        left = iter(range(KILLS))
        killers.extend(Killer(d, w.slot, seen, left) for w in d.workers())
        for k in killers:
            k.start()
        for k in killers:
            k.join()
    seen = under_load(d, kill)
    assert not [k.failed for k in killers if k.failed]
    seconds = time.monotonic() - begun
    whole(d, seen)
    print(f"kills: {sum(k.kills for k in killers)} in {seconds:.0f} s, by slot "
          f"{[k.kills for k in killers]}; {len(seen)} answers, one record each")
    assert len(killers) == 6 and sum(k.kills for k in killers) > 0.9 * KILLS


@pytest.mark.parametrize("role", ["gateway", "recorder", "backend"])
def test_kills_lose_and_double_nothing(daemon, role):
    d = daemon({**CONFIG, "gateways": 2})
    d.allow("worker_died|died|journal_torn")

    def kill(seen):
        for _ in range(12):
            before, w = len(seen), one(d, role)
            until("requests are answered", lambda: len(seen) > before + 10)
            os.kill(w.pid, signal.SIGKILL)
            d.wait_worker(w)
    whole(d, under_load(d, kill))


def test_a_stopped_recorder_loses_nothing(daemon):
    d = daemon({**CONFIG, "heartbeat_ms": 600000, "journal": {"ring_bytes": 65536}})
    w = one(d, "recorder")

    def stop(seen):
        os.kill(w.pid, signal.SIGSTOP)
        try:
            until("more than the ring holds", lambda: len(seen) > 300, 60)
        finally:
            os.kill(w.pid, signal.SIGCONT)
    seen = under_load(d, stop)
    whole(d, seen)
    metrics = d.get("/metrics").text
    assert "shunt_journal_lost_total" in metrics
    spilled = sum(float(m.rsplit(" ", 1)[1]) for m in metrics.splitlines()
                  if m.startswith("shunt_journal_spilled_total"))
    assert spilled > 0


def test_the_supervisors_death_loses_nothing(daemon):
    d = daemon({**CONFIG, "journal": {"ring_bytes": 65536}})
    w = one(d, "recorder")
    os.kill(w.pid, signal.SIGSTOP)  # so that records wait in the ring
    seen = [d.chat("m").headers["x-shunt-request-id"] for _ in range(20)]
    d.process.kill()
    d.process.wait(10)
    until("its workers are gone", lambda: not d.workers())
    again = daemon({k: v for k, v in d.config.items() if k != "listen"}, run_dir=d.run_dir)
    until("the records of the first life", lambda: not set(seen) - {
        r["id"] for r in records(d, "request")})
    assert again.chat("m").status_code == 200
    assert all(n == 1 for n in ids(d).values())
    d.stopped = True


def test_a_change_of_folder_loses_and_doubles_nothing(daemon, tmp_path):
    """For a moment there are two recorders, for two folders but the same rings."""
    d = daemon(CONFIG)
    folders = [d.home / "state", tmp_path / "other"]
    changes = 8

    def change(seen):
        for i in range(changes):
            before = len(d.log())
            d.reload(state_dir=str(folders[(i + 1) % 2]))
            d.wait_log("worker_ended role=recorder", after=before)
    seen = under_load(d, change)

    def stored():
        return Counter(r["id"] for f in folders for path in (f / "journal").glob("*.jsonl")
                       for r in map(json.loads, path.read_bytes().rpartition(b"\n")[0].splitlines())
                       if r["kind"] == "request")
    until("every request has its record", lambda: set(seen) <= set(stored()), 10)
    assert set(stored().values()) == {1}


def test_a_full_disk_is_loud_and_loses_nothing(daemon, tmp_path):
    """The state folder lies on a file system of 64 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k,mode=700 none {small} 2>/dev/null") != 0:
        pytest.skip("may not mount a small file system here")
    try:
        d = daemon({**CONFIG, "state_dir": str(small / "state"),
                    "journal": {"file_bytes": 1 << 20, "spill_bytes": "1MiB"}})
        d.allow("journal_unwritable")
        seen, c = [], d.client()

        def fill():
            seen.append(ask(c).headers["x-shunt-request-id"])
            return "journal_unwritable" in d.log()
        until("the disk is full", fill, 30, 0)
        for _ in range(20):
            fill()
        path = next((small / "state" / "journal").glob("*.jsonl"))
        room = path.read_bytes()
        os.system(f"mount -o remount,size=4m {small}")
        until("it is writable again", lambda: "journal_writable" in d.log(), 20)
        assert path.read_bytes().startswith(room), "the log was changed, not added to"
        found = until("all records", lambda: (lambda c: c if not set(seen) - set(c) else None)(
            Counter(json.loads(x)["id"] for x in path.read_bytes().splitlines()
                    if json.loads(x)["kind"] == "request")), 20)
        assert all(n == 1 for n in found.values())
        c.close()
        d.stop()
    finally:
        os.system(f"umount -l {small}")


def test_refusing_instead_of_losing(daemon, tmp_path):
    d = daemon({**CONFIG, "heartbeat_ms": 600000, "journal": {
        "ring_bytes": 65536, "spill_bytes": 0, "refuse_when_full": True}})
    w = one(d, "recorder")
    os.kill(w.pid, signal.SIGSTOP)
    try:
        seen, c = [], d.client()

        def fill():
            r = ask(c)
            if r.status_code == 503:
                return r
            seen.append(r.headers["x-shunt-request-id"])
            return None
        r = until("a refusal", fill, 60, 0)
        assert "journal is full" in r.text and r.headers["retry-after"] == "1"
        c.close()
    finally:
        os.kill(w.pid, signal.SIGCONT)
    until("it serves again", lambda: d.chat("m").status_code == 200)
    all_written(d, seen)


def shunt(*arguments):
    return subprocess.run([BUILD / "shunt", "journal", *map(str, arguments)], capture_output=True,
                          text=True, timeout=30)


def test_the_command_shows_and_verifies(daemon):
    d = daemon(CONFIG)
    wanted = [d.chat("m").headers["x-shunt-request-id"] for _ in range(5)]
    wait_record(d, wanted[-1])
    done = shunt("-c", d.config_path, "--json", "--last", 4)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(x) for x in done.stdout.splitlines()]
    assert len(rows) == 4 and rows[-1]["id"] == wanted[-1]
    done = shunt(folder(d), "--request", wanted[2], "--json")
    assert [json.loads(x)["kind"] for x in done.stdout.splitlines()] == ["attempt", "request"]
    assert wanted[2] in shunt(folder(d), "--request", wanted[2]).stdout
    done = shunt(folder(d), "--verify", "--json")
    assert json.loads(done.stdout) == {"files": 1, "records": 10, "damaged": 0, "twice": 0,
                                       "ok": True}


def test_the_command_finds_damage(daemon, tmp_path):
    d = daemon(CONFIG)
    wait_record(d, d.chat("m").headers["x-shunt-request-id"])
    path = tmp_path / "journal-00000001.jsonl"
    good = b"\n".join(lines(d)) + b"\n"
    path.write_bytes(good.replace(b'"status":200', b'"status":500') + good.splitlines()[0] + b"\n")
    done = shunt(tmp_path, "--verify")
    assert done.returncode == 1 and "1 damaged lines, 1 records twice" in done.stdout
    assert f"{path}:2" in done.stderr
    assert shunt(tmp_path / "nowhere").returncode == 1
    assert shunt(tmp_path, "--last", "none").returncode == 2
