# SPDX-License-Identifier: Apache-2.0
"""Classifiers, the weights that they share, and the embeddings that they make.

Invariants: one copy of the weights for any number of processes, loaded once however many ask, kept
across any crash, given back when idle, replaced without a failed request; a model that can't be
loaded is told in status and log and hurts nobody else.
"""
import base64
import itertools
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
import pytest
from harness import procs
from harness.daemon import sim
from harness.paths import BUILD, DATA, ROOT, SLOW
from harness.wait import until

MODELS = DATA / "models"
GGUF = [ROOT / f"tests/fixtures/encoder/bert-gguf-{kind}/model.gguf" for kind in ("q8", "f16")]
SMALL = MODELS / "tiny-random-BertForSequenceClassification"  # 32 dimensions
LARGER = MODELS / "prompt-domain-bert-tiny"  # 128 dimensions, 17 MB
KILLS = int(os.environ.get("SHUNT_CLASSIFIER_KILLS", "15"))

pytestmark = pytest.mark.skipif(not LARGER.is_dir() or not SMALL.is_dir(),
                                reason=f"no models in {MODELS}")


def copy_model(source, to):
    """The files of a model, writable, put into the folder `to` one by one, each at once."""
    to.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name in ("config.json", "tokenizer.json", "model.safetensors"):
            new = to / f".{path.name}.new"
            shutil.copyfile(path, new)
            os.replace(new, to / path.name)
    return to


def copy_snapshot(source, cache, **more):
    """A model as a hub's cache has it: links, replaced one by one, to files that lie elsewhere."""
    blobs, folder = cache / "blobs", cache / "snapshots" / "main"
    blobs.mkdir(parents=True, exist_ok=True)
    files = {n: (source / n).read_bytes() for n in ("config.json", "tokenizer.json", "model.safetensors")}
    for name, data in {**files, **more}.items():
        blob = blobs / f"blob-{len(list(blobs.iterdir()))}"
        blob.write_bytes(data)
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        new = link.with_name(f".{link.name}.new")
        new.symlink_to(os.path.relpath(blob, link.parent))
        os.replace(new, link)
    return folder


@pytest.fixture
def model(tmp_path):
    return copy_model(LARGER, tmp_path / "model")


def config(folder, more=None, **keys):
    return {"backends": [sim(), {"name": "embed", "kind": "encoder", "encoder": "mini",
                                 "probe_ms": 200}],
            "restart": {"delay_ms": 1, "delay_max_ms": 20, "healthy_ms": 1},
            "encoders": [{"name": "mini", "folder": str(folder), **keys}], **(more or {})}


def start(daemon, settings):
    """A daemon that has found out what its backends serve."""
    d = daemon(settings)
    until("the profiler has seen the encoder", lambda: "mini" in d.models())
    return d


def embed(d, text="A short prompt.", **more):
    return d.post("/v1/embeddings", {"model": "mini", "input": text, **more})


def vectors(r):
    assert r.status_code == 200, r.text
    return [row["embedding"] for row in r.json()["data"]]


def weights(d):
    rows = d.status()["weights"]
    assert len(rows) == 1, rows
    return rows[0]


def wait_loaded(d, generation=1):
    return until(f"generation {generation} is mapped", lambda: next(
        (w for w in [weights(d)] if w["state"] == "loaded" and w["mapped_by"] and
         all(m["generation"] >= generation for m in w["mapped_by"])), None))


def metric(d, name):
    rows = re.findall(rf"^shunt_{name}(?:{{[^}}]*}})? (\d+)$", d.get("/metrics").text, re.M)
    return sum(map(int, rows))


def close(a, b, most=1e-5):
    return len(a) == len(b) and all(abs(x - y) <= most for x, y in zip(a, b))


def segments(pid):
    """(bytes, PSS in bytes) of the mappings of weights in a process."""
    sizes = [0, 0]
    ours = False
    for line in procs.read(pid, "smaps").decode().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = "memfd:shunt-weights" in line
        elif ours and (m := re.match(r"(Size|Pss): +(\d+) kB", line)):
            sizes[m.group(1) == "Pss"] += int(m.group(2)) * 1024
    return sizes


class Load:
    """Clients that ask for embeddings until told to stop; verdicts and dimensions are kept."""

    def __init__(self, d, clients=3):
        self.d = d
        self.seen, self.bad = Counter(), []
        self.stop = threading.Event()
        self.done = [0] * clients
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(clients)]

    def turn_over(self):
        """Wait until each request that is under way now is over, and one more."""
        before = list(self.done)
        until("each client had answers", lambda: all(
            now >= then + 2 for now, then in zip(self.done, before)), 20)

    def run(self, n):
        with self.d.client() as c:
            for i in itertools.count():
                if self.stop.is_set():
                    return
                try:
                    r = c.post("/v1/embeddings", json={
                        "model": "mini", "input": [f"prompt number {i}"] * (1 + i % 3)})
                    body = r.json()
                    sizes = {len(row["embedding"]) for row in body["data"]} \
                        if r.status_code == 200 else {r.status_code}
                    self.seen[tuple(sorted(sizes))] += 1
                    if r.status_code != 200 or len(body["data"]) != 1 + i % 3 or len(sizes) != 1:
                        self.bad.append(r.text)
                except httpx.HTTPError as e:
                    self.bad.append(repr(e))
                self.done[n] += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join(timeout=30 * SLOW)
        assert not any(t.is_alive() for t in self.threads), "a client hangs"


# ---- embeddings


def test_every_form_of_input_and_answer(daemon):
    d = start(daemon, config(LARGER, dtype="f32", isa="blas"))
    r = embed(d, "A short prompt.")
    whole = vectors(r)[0]
    assert len(whole) == 128 and r.json()["model"] == "mini"
    assert r.json()["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert r.headers["x-shunt-backend"] == "embed"
    several = vectors(embed(d, ["A short prompt.", "Another, longer than the first one.", "x"]))
    assert close(several[0], whole) and not close(several[1], whole, 0.1)
    raw = vectors(embed(d, ["A short prompt."], encoding_format="base64"))[0]
    assert close(list(struct.unpack("<128f", base64.b64decode(raw))), whole)
    few = vectors(embed(d, "A short prompt.", dimensions=16))[0]
    length = sum(x * x for x in whole[:16]) ** 0.5
    assert close(few, [x / length for x in whole[:16]])


def test_token_ids_are_taken_as_they_are(daemon):
    row = json.loads((LARGER / "golden.dev.jsonl").read_text().splitlines()[0])
    d = start(daemon, config(LARGER, dtype="f32"))
    by_text = vectors(embed(d, row["text"]))[0]
    assert close(vectors(embed(d, row["ids"]))[0], by_text)
    both = vectors(embed(d, [row["ids"], row["ids"][:3]]))
    assert close(both[0], by_text) and len(both[1]) == 128


def test_many_inputs_come_back_in_order(daemon):
    d = start(daemon, config(LARGER, dtype="f32", batch=8, processes=2))
    texts = [f"prompt number {i} " + "and so on " * (i % 7) for i in range(150)]
    rows = vectors(embed(d, texts))
    assert len(rows) == 150
    for i in (0, 63, 64, 128, 149):
        assert close(rows[i], vectors(embed(d, texts[i]))[0], 1e-4), i


@pytest.mark.parametrize("body, status, says", [
    ({"input": "x", "dimensions": 129}, 400, "the model gives 128"),
    ({"input": ""}, 400, "empty"),
    ({"input": []}, 400, "empty"),
    ({"input": "word " * 600}, 400, "602 tokens, the model takes 512"),
    ({"input": [1, 2, 10 ** 6]}, 400, "1000000"),
    ({"input": {"text": "x"}}, 400, "must be"),
    ({"input": ["x"] * 2049}, 400, "more than 2048"),
    ({"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
])
def test_bad_input_is_told(daemon, body, status, says):
    d = start(daemon, config(LARGER))
    r = d.post("/v1/embeddings", {"model": "mini", **body})
    assert r.status_code == status and says in r.json()["error"]["message"], r.text
    assert r.json()["error"]["type"] == "invalid_request_error"
    assert embed(d).status_code == 200


def test_an_encoder_does_not_chat(daemon):
    d = start(daemon, config(LARGER))
    assert d.chat("mini").status_code == 400
    assert d.chat("auto").headers["x-shunt-backend"] == "sim"
    assert "mini" in d.models()


def test_openai_client(daemon):
    openai = pytest.importorskip("openai")
    d = start(daemon, config(LARGER))
    client = openai.OpenAI(base_url=d.url + "/v1", api_key="none", max_retries=0,
                           http_client=httpx.Client(trust_env=False))
    answer = client.embeddings.create(model="mini", input=["Hello there.", "And again."])
    assert [len(row.embedding) for row in answer.data] == [128, 128]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 10
    plain = client.embeddings.create(model="mini", input="Hello there.", encoding_format="float")
    assert close(plain.data[0].embedding, answer.data[0].embedding, 0.05)
    with pytest.raises(openai.BadRequestError, match="the model gives 128"):
        client.embeddings.create(model="mini", input="x", dimensions=500)


# ---- one copy, one load


def test_ten_first_requests_cause_one_load(daemon):
    d = start(daemon, config(LARGER, processes=3, preload=False))
    assert weights(d)["state"] == "absent" and weights(d)["loads"] == 0
    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda _: embed(d).status_code, range(10)))
    assert codes == [200] * 10
    assert weights(d)["loads"] == 1 and metric(d, "weights_loads_total") == 1
    assert len(d.events("weights_loading")) == 1


@pytest.mark.plain_only
def test_four_processes_hold_one_copy(daemon):
    d = start(daemon, config(LARGER, processes=4))
    until("all four have mapped it", lambda: len(weights(d)["mapped_by"]) == 4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: vectors(embed(d, [f"text {i}"] * 16)), range(64)))
    sizes = [segments(w.pid) for w in d.workers("classifier")]
    assert len(sizes) == 4 and all(size > 0 for size, _ in sizes)
    pss = sum(p for _, p in sizes)
    print(f"segment {weights(d)['bytes']} bytes, PSS of 4 classifiers {pss}")
    assert pss <= 1.15 * weights(d)["bytes"]
    rows = weights(d)["mapped_by"]
    assert {r["worker"] for r in rows} == {f"mini-{i}" for i in range(4)}
    assert all(r["pid"] in {w.pid for w in d.workers("classifier")} for r in rows)


def test_idle_weights_go_and_come_back_once(daemon):
    d = start(daemon, config(LARGER, processes=2, idle_ms=200))
    until("unloaded when idle", lambda: weights(d)["state"] == "absent", 5)
    w = weights(d)
    assert w["bytes"] == 0 and w["mapped_by"] == [] and w["loads"] == 1
    assert not any("shunt-weights" in to for to in procs.fds(d.pid).values())
    assert all(segments(c.pid) == [0, 0] for c in d.workers("classifier"))
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: embed(d).status_code, range(6))) == [200] * 6
    assert weights(d)["loads"] == 2


# ---- crashes


def test_a_killed_classifier_is_back_on_the_same_segment(daemon, model):
    """Its model's files are gone after the first load: not one byte of them can be read again."""
    d = start(daemon, config(model, dtype="f32"))
    first = wait_loaded(d)
    before = vectors(embed(d))[0]
    shutil.rmtree(model)
    with Load(d) as load:
        took = []
        for _ in range(KILLS):
            victim = d.workers("classifier")[0]
            os.kill(victim.pid, signal.SIGKILL)
            killed = time.monotonic()
            assert embed(d).status_code == 200
            took.append((time.monotonic() - killed) * 1000)
            new = d.wait_worker(victim)
            load.turn_over()  # the second death under one request is its end
    assert not load.bad, load.bad[:5]
    assert set(load.seen) == {(128,)} and sum(load.seen.values()) > KILLS
    times = [datetime.fromisoformat(t) for t in re.findall(
        r"(\S+)Z \w+ shuntd worker_(?:died|ready) role=classifier", d.log())][1:]
    back = [(r - k).total_seconds() * 1000 for k, r in zip(times[::2], times[1::2])]
    print(f"death noticed to ready on the same segment: median {statistics.median(back):.1f} ms, "
          f"worst {max(back):.1f} ms")
    print(f"SIGKILL to the next answer: median {statistics.median(took):.1f} ms, "
          f"worst {max(took):.1f} ms, {KILLS} kills")
    assert close(vectors(embed(d))[0], before)
    now = wait_loaded(d)
    assert (now["generation"], now["loads"], now["bytes"]) == (1, 1, first["bytes"])
    read = int(re.search(r"rchar: (\d+)", procs.read(new.pid, "io").decode()).group(1))
    assert read < 2 ** 20, f"the new process read {read} bytes"


def huge(pid):
    """Bytes of weights that huge pages map in a process."""
    total, ours = 0, False
    for line in procs.read(pid, "smaps").decode().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = "memfd:shunt-weights" in line
        elif ours and (m := re.match(r"ShmemPmdMapped: +(\d+) kB", line)):
            total += int(m.group(1)) * 1024
    return total


@pytest.mark.timeout(300)
def test_huge_pages_come_though_the_loader_died_before(daemon, tmp_path):
    d = start(daemon, config(big_model(tmp_path / "big"), dtype="f32"))
    size = wait_loaded(d)["bytes"]
    first = d.workers("classifier")[0]
    os.kill(first.pid, signal.SIGKILL)
    d.wait_worker(first)
    wait_loaded(d)

    refused = []

    def mapped():
        refused.extend(r.text for r in [embed(d)] if r.status_code != 200)
        # the head's page is a small one, and the end of the last may be
        return refused or huge(d.workers("classifier")[0].pid) >= size - 2 * 2 ** 21
    try:
        until("all of it is on huge pages", mapped, 60, step=0.2)
    except AssertionError:
        if huge(d.workers("classifier")[0].pid) == 0:
            pytest.skip("this kernel gives shared memory no huge pages")
        raise
    assert not refused


def test_weights_outlive_all_their_classifiers(daemon, model):
    d = start(daemon, config(model, processes=2))
    until("both have mapped it", lambda: len(weights(d)["mapped_by"]) == 2)
    shutil.rmtree(model)
    old = d.workers("classifier")
    for w in old:
        os.kill(w.pid, signal.SIGKILL)
    for w in old:
        d.wait_worker(w)
    assert embed(d).status_code == 200
    assert weights(d)["loads"] == 1 and weights(d)["generation"] == 1


def test_a_stopped_classifier_is_replaced(daemon):
    d = start(daemon, config(LARGER, {"heartbeat_ms": "700ms"}))
    wait_loaded(d)
    victim = d.workers("classifier")[0]
    os.kill(victim.pid, signal.SIGSTOP)
    r = embed(d)
    assert r.status_code == 200, r.text
    assert d.workers("classifier")[0].pid != victim.pid


# ---- loads that fail


def big_model(folder, layers=4, hidden=768, vocabulary=30000):
    """A BERT of zeroes, large enough that loading it takes a while; a sparse file."""
    copy_model(LARGER, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings.update(hidden_size=hidden, num_hidden_layers=layers, intermediate_size=4 * hidden,
                    num_attention_heads=12)
    (folder / "config.json").write_text(json.dumps(settings))
    with open(LARGER / "model.safetensors", "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    head.pop("__metadata__", None)
    sizes = {128: hidden, 512: 4 * hidden}
    shapes = {}
    for name, row in head.items():
        # 512 is the length of the position table, too
        shape = [n if "position" in name and i == 0 else sizes.get(n, n)
                 for i, n in enumerate(row["shape"])]
        for layer in range(layers if ".layer.0." in name else 1):
            shapes[name.replace(".layer.0.", f".layer.{layer}.")] = shape
    tensors, at = {}, 0
    for name, shape in shapes.items():
        count = 4
        for n in shape:
            count *= n
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
    return folder


def test_a_loader_killed_in_the_middle_is_replaced(daemon, tmp_path):
    d = start(daemon, config(big_model(tmp_path / "big"), processes=2, preload=False))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(embed, d) for _ in range(4)]
        pid = int(d.wait_log(r"weights_loading .*pid=(\d+)").group(1))
        os.kill(pid, signal.SIGKILL)
        assert [a.result().status_code for a in answers] == [200] * 4
    d.allow("weights_failed .*died")
    w = weights(d)
    assert (w["loads"], w["failures"], w["generation"], w["why"]) == (1, 1, 2, "")


def test_processes_that_go_do_not_wait_for_a_model_that_nobody_loads(daemon, tmp_path, model):
    """The config has another model now, and the one of the old processes that was loading dies."""
    d = start(daemon, config(big_model(tmp_path / "big", layers=24), {"heartbeat_ms": "1m"},
                             processes=2, preload=False))
    old = {c.pid for c in d.workers("classifier")}
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(embed, d)]
        loader = int(d.wait_log(r"weights_loading .*pid=(\d+)").group(1))
        os.kill(loader, signal.SIGSTOP)
        answers += [pool.submit(embed, d) for _ in range(3)]
        until("the other one is asked, too", lambda: metric(d, "classifications_waiting") >= 2)
        d.reload(encoders=[{"name": "mini", "folder": str(model), "processes": 2}])
        for pid in old:
            d.wait_log(rf"worker_draining .*pid={pid}\b")
        os.kill(loader, signal.SIGKILL)
        assert [len(vectors(a.result())[0]) for a in answers] == [128] * 4
    until("the old processes are gone", lambda: not old & {c.pid for c in d.workers("classifier")})


def test_loaders_that_keep_dying_are_told_and_tried_again_later(daemon, tmp_path):
    # Preloaded: each new process asks. Without waiting, so that the delay is told and not waited out.
    d = start(daemon, {**config(big_model(tmp_path / "big")), "breaker": {"wait_ms": 0}})
    d.allow("weights_failed .*died")
    for n in range(1, 4):
        pid = int(d.wait_log(rf"weights_loading .*generation={n} .*pid=(\d+)").group(1))
        os.kill(pid, signal.SIGKILL)
        d.wait_log(rf"weights_failed .*failures={n}")
    r = embed(d)  # first of all: it is tried again 4 s after the third failure
    assert r.status_code == 503 and "can't be loaded" in r.json()["error"]["message"], r.text
    assert 1 <= int(r.headers["retry-after"]) <= 4
    w = weights(d)
    assert "died" in w["why"] and w["failures"] == 3
    assert d.chat("sim").status_code == 200
    until("loaded after the delay", lambda: embed(d).status_code == 200, 20, step=0.3)
    assert weights(d)["state"] == "loaded" and weights(d)["loads"] == 1


def put_nan(path):
    """One number of the last layer's norm is none."""
    data = bytearray(path.read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    tensors = json.loads(data[8:8 + size])
    name = max(n for n in tensors if n.endswith("output.LayerNorm.weight"))
    at = 8 + size + tensors[name]["data_offsets"][0]
    data[at:at + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)


@pytest.mark.parametrize("damage, says", [
    (lambda f: os.truncate(f / "model.safetensors", 10 ** 6), "model.safetensors"),
    (lambda f: (f / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}'), "GPT2"),
    (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer.json"),
    (lambda f: (f / "model.safetensors").unlink(), "safetensors"),
    (lambda f: put_nan(f / "model.safetensors"), "holds infinity or NaN"),
])
def test_a_damaged_model_is_told_and_hurts_nobody(daemon, model, damage, says):
    damage(model)
    d = start(daemon, config(model))
    d.allow("weights_failed")
    until("the failure is in status", lambda: weights(d)["state"] == "failed")
    assert says in weights(d)["why"] and weights(d)["loads"] == 0
    told = subprocess.run([BUILD / "shunt", "status"], capture_output=True, text=True, timeout=20,
                          env={**os.environ, "SHUNT_SOCKET": d.socket_path}).stdout
    assert re.search(rf"^\S+ failed: .*{re.escape(says)}", told, re.M), told
    r = embed(d)
    assert r.status_code in (502, 503), r.text
    assert not re.search(rf"{re.escape(str(model))}|{re.escape(says)}", r.text), "log and status say it"
    assert d.chat("sim").status_code == 200
    classifiers = d.workers("classifier")
    copy_model(LARGER, model)
    d.reload()
    until("mended", lambda: embed(d).status_code == 200, step=0.1)
    assert weights(d)["loads"] == 1 and weights(d)["why"] == ""
    assert d.workers("classifier") == classifiers, "nobody was restarted for it"


# ---- another model under the same name


def test_changed_files_become_a_new_generation_without_a_failed_request(daemon, model):
    d = start(daemon, config(model, processes=2))
    wait_loaded(d)
    processes = d.workers("classifier")
    with Load(d) as load:
        until("under load", lambda: load.seen[(128,)] > 20)
        copy_model(SMALL, model)
        d.reload()
        until("answers of the new model", lambda: load.seen[(32,)] > 20)
    assert not load.bad, load.bad[:5]
    assert set(load.seen) == {(128,), (32,)}
    w = wait_loaded(d, 2)
    assert (w["generation"], w["loads"]) == (2, 2)
    assert d.workers("classifier") == processes, "the same processes switched"
    until("the old one is gone", lambda: all(
        sum("shunt-weights" in line for line in procs.read(c.pid, "maps").decode().splitlines())
        <= 1 for c in d.workers("classifier")))
    assert sum("shunt-weights" in to for to in procs.fds(d.pid).values()) == 1


def test_a_damaged_successor_leaves_the_old_model_serving(daemon, model):
    d = start(daemon, config(model))
    wait_loaded(d)
    d.allow("weights_failed")
    (model / "model.safetensors").write_bytes(b"not a model")
    d.reload()
    d.wait_log("weights_failed")
    assert len(vectors(embed(d))[0]) == 128
    w = weights(d)
    assert w["state"] == "loaded" and w["generation"] == 1 and "safetensors" in w["why"]
    copy_model(SMALL, model)
    until("the mended one, without being asked", lambda: len(vectors(embed(d))[0]) == 32, 20)


def test_a_gguf_file_serves_and_is_replaced_by_another_of_its_name(daemon, tmp_path):
    file = tmp_path / "mini.gguf"
    shutil.copyfile(GGUF[0], file)
    d = start(daemon, config(file))
    wait_loaded(d)
    alone = subprocess.run([BUILD / "shunt", "encode", "--model", file, "--dtype", "bf16"], input="The shunt",
                           capture_output=True, text=True, timeout=20, check=True).stdout
    assert close(vectors(embed(d, "The shunt"))[0], json.loads(alone)["embedding"], 1e-2)
    d.allow("weights_failed")
    shutil.copyfile(GGUF[1], tmp_path / "new")
    with open(tmp_path / "new", "r+b") as f:
        f.truncate(5000)
    os.replace(tmp_path / "new", file)
    d.reload()
    d.wait_log(r"weights_failed .*mini\.gguf: tensor ")
    assert len(vectors(embed(d))[0]) == 32, "the old one serves"
    shutil.copyfile(GGUF[1], tmp_path / "new")
    os.replace(tmp_path / "new", file)
    d.reload()
    until("answers of the new model", lambda: len(vectors(embed(d))[0]) == 24)


def test_a_folder_replaced_as_a_whole_is_read_by_new_processes(daemon, model, tmp_path):
    d = start(daemon, config(model))
    wait_loaded(d)
    with Load(d) as load:
        until("under load", lambda: load.seen[(128,)] > 10)
        model.rename(tmp_path / "old")
        copy_model(SMALL, tmp_path / "new").rename(model)
        d.reload()
        until("answers of the new model", lambda: load.seen[(32,)] > 10)
    assert not load.bad, load.bad[:5]


def test_a_snapshot_of_a_hub_cache_is_read_to_its_last_link(daemon, tmp_path):
    """Its modules have folders of their own, with links in them."""
    pooling = {"word_embedding_dimension": 128, "pooling_mode_cls_token": True}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"}
               for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"))]
    folder = copy_snapshot(LARGER, tmp_path, **{"1_Pooling/config.json": json.dumps(pooling).encode(),
                                                "modules.json": json.dumps(modules).encode()})
    d = start(daemon, config(folder))
    assert len(vectors(embed(d))[0]) == 128
    assert (weights(d)["loads"], weights(d)["failures"]) == (1, 0)


def test_a_folder_that_comes_late_needs_no_reload(daemon, tmp_path):
    """The sandbox of a process admits what was there when it started: another one must load."""
    d = start(daemon, config(tmp_path / "late"))
    d.allow("weights_failed")
    d.wait_log("weights_failed")
    copy_model(SMALL, tmp_path / "new").rename(tmp_path / "late")
    until("loaded", lambda: embed(d).status_code == 200, 20, step=0.2)
    assert weights(d)["loads"] == 1
    until("its predecessor is gone", lambda: len(d.workers("classifier")) == 1)


def test_links_that_lead_elsewhere_now_are_read_by_new_processes(daemon, tmp_path):
    d = start(daemon, config(copy_snapshot(LARGER, tmp_path)))
    wait_loaded(d)
    with Load(d) as load:
        until("under load", lambda: load.seen[(128,)] > 10)
        copy_snapshot(SMALL, tmp_path)
        d.reload()
        until("answers of the new model", lambda: load.seen[(32,)] > 10)
    assert not load.bad, load.bad[:5]
    assert weights(d)["failures"] == 0


def test_an_unchanged_folder_is_not_loaded_again(daemon, model):
    d = start(daemon, config(model))
    wait_loaded(d)
    (model / "README.md").write_text("words")
    d.reload()
    d.wait_log("reload_done")
    assert embed(d).status_code == 200
    assert weights(d)["loads"] == 1 and weights(d)["generation"] == 1


def test_reload_adds_and_removes_encoders(daemon, model):
    d = daemon({"backends": [sim()]})
    assert d.status()["weights"] == [] and not d.workers("classifier")
    d.reload(**config(model))
    until("served", lambda: embed(d).status_code == 200, step=0.05)
    d.config.pop("encoders")
    d.reload(backends=[sim()])
    until("no classifier is left", lambda: not d.workers("classifier"))
    until("its weights are gone", lambda: d.status()["weights"] == [])
    assert not any("shunt-weights" in to for to in procs.fds(d.pid).values())


def test_an_encoder_that_becomes_simulated_under_load(daemon, model):
    """Until its successor is there, the old worker answers as the encoder that it is."""
    d = start(daemon, config(model))
    wait_loaded(d)
    old = {w["name"]: w["pid"] for w in d.status()["workers"]}
    with Load(d) as load:
        until("under load", lambda: load.seen[(128,)] > 20)
        subprocess.run([BUILD / "shunt", "fault", "add", "slow_start", "worker=embed", "time=1s"],
                       env={**os.environ, "SHUNT_SOCKET": d.socket_path}, check=True, timeout=20)
        before = len(d.log())
        d.reload(backends=[sim(), sim("embed", models=["mini"])])
        d.wait_log("fault_injected .*kind=slow_start", after=before)
        load.turn_over()
        until("the old worker is gone", lambda: old["embed"] not in {w.pid for w in d.workers()})
        load.turn_over()
    assert not d.events("worker_died"), d.events("worker_died")
    assert {w["name"] for w in d.status()["workers"]} == set(old)
    assert not load.bad, load.bad[:5]


def test_a_fault_that_needs_an_answer_to_spoil_leaves_an_encoder_alone(daemon):
    d = start(daemon, config(LARGER, {"breaker": {"enabled": False}}))
    want = vectors(embed(d))
    admin = httpx.Client(transport=httpx.HTTPTransport(uds=d.socket_path), base_url="http://shunt",
                         timeout=20 * SLOW)

    def met(spec):
        return admin.post("/v1/embeddings", json={"model": "mini", "input": "A short prompt."},
                          headers={"x-shunt-fault": spec})
    for kind in ("delay time=1ms", "drip", "cut", "reset_body", "stall", "bad_json",
                 "wrong_length"):
        before = len(d.log())
        assert close(vectors(met(kind))[0], want[0]), kind
        d.wait_log(rf"fault_unfit kind={kind.split()[0]} backend=embed", after=before)
    r = met("rate_limit retry_after=7s")
    assert r.status_code == 429 and r.headers["retry-after"] == "7", r.text
    until("it answers again", lambda: embed(d).status_code == 200)
    assert close(vectors(embed(d))[0], want[0])


# ---- the process itself


@pytest.mark.plain_only
def test_a_classifier_is_locked_up(daemon, model):
    d = start(daemon, config(model))
    wait_loaded(d)
    pid = d.workers("classifier")[0].pid
    assert procs.status_field(pid, "NoNewPrivs") == "1"
    assert procs.status_field(pid, "Seccomp") == "2"
    sockets = {to for to in procs.fds(pid).values() if to.startswith("socket:")}
    internet = "".join(procs.read(pid, f"net/{name}").decode()
                       for name in ("tcp", "tcp6", "udp", "udp6"))
    assert not any(re.search(rf"\b{s[8:-1]}\b", internet) for s in sockets)


def test_check_tells_what_is_wrong_with_a_folder(daemon, tmp_path, model):
    d = daemon()
    (tmp_path / "empty").mkdir()
    modules = tmp_path / "modules"  # sentence-transformers may keep the transformer in a folder, too
    modules.mkdir()
    (modules / "modules.json").write_text("[]")
    rows = [{"name": "good", "folder": str(model)}, {"name": "none", "folder": "nowhere"},
            {"name": "good-modules", "folder": str(modules)},
            {"name": "empty", "folder": str(tmp_path / "empty")},
            {"name": "gguf", "folder": str(GGUF[0])}, {"name": "file", "folder": __file__}]
    path = tmp_path / "check.yaml"
    path.write_text(json.dumps({"backends": [sim()], "encoders": rows}, indent=1))
    done = subprocess.run([BUILD / "shuntd", "-c", path, "--check"], capture_output=True, text=True,
                          timeout=20)
    shunt = subprocess.run([BUILD / "shunt", "check", path], capture_output=True, text=True, timeout=20)
    assert (shunt.returncode, shunt.stdout) == (1, done.stdout)
    assert done.returncode == 1
    assert "nowhere" in done.stdout and "empty: no config.json there" in done.stdout
    assert f"{__file__}: is neither a folder nor a .gguf file" in done.stdout
    assert "good" not in done.stdout and len(done.stdout.splitlines()) == 3
    assert all(re.match(rf"{re.escape(str(path))}:\d+: encoders\[\d\]\.folder: ", line)
               for line in done.stdout.splitlines())
