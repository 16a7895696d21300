# SPDX-License-Identifier: Apache-2.0
"""Engines of the classifier benchmark: start, time in turn, cold start, memory."""
import contextlib
import glob
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# name: what starts it; shunt's are (dtype, isa), isa None: as --isa says
ENGINES = {
    "shunt f32 blas": ("f32", "blas"),
    "shunt f32": ("f32", None),
    "shunt bf16": ("bf16", None),
    "shunt i8": ("i8", None),
    "ORT f32": "onnx-f32",
    "ORT i8": "onnx-i8",
    "torch f32": "torch-f32",
}
FOUR = 4
RUNS = {"bert-base": 3, "minilm-l6": 9, "bert-tiny": 99}  # of each length in a round


class Engine:
    """A process that answers "TOKENS RUNS" lines; `ready` is what it said first."""

    def __init__(self, argv, env=None):
        start = time.monotonic()
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True,
                                      env={**os.environ, **(env or {})})
        self.ready = self._read()
        self.start_ms = (time.monotonic() - start) * 1e3

    def _read(self):
        line = self.child.stdout.readline()
        if not line:
            said = self.child.stderr.read().strip().splitlines() or ["ended"]
            self.stop()
            raise RuntimeError(said[-1])
        return json.loads(line.removeprefix("ready "))

    def cpu_ms(self):
        """On a CPU so far, all threads."""
        tasks = glob.glob(f"/proc/{self.child.pid}/task/*/schedstat")
        return sum(int(open(t).read().split()[0]) for t in tasks) / 1e6

    def time(self, tokens, runs, on_cpu=False):
        """Milliseconds a pass: the median by the clock, or the mean on the CPU (warm-up included)."""
        before = self.cpu_ms()
        self.child.stdin.write(f"{tokens} {runs}\n")
        self.child.stdin.flush()
        answer = self._read()
        if on_cpu:
            return (self.cpu_ms() - before) / (runs + 1)
        return statistics.median(answer["ms"] if isinstance(answer, dict) else answer)

    def memory_mb(self):
        """{Rss, Pss, ...} from smaps_rollup."""
        out = {}
        with open(f"/proc/{self.child.pid}/smaps_rollup") as f:
            for line in f:
                words = line.split()
                if len(words) == 3 and words[2] == "kB":
                    out[words[0].rstrip(":")] = int(words[1]) / 1024
        return out

    def stop(self):
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Run:
    def __init__(self, build, python, folder, images, isa, notes):
        self.shunt = os.path.join(os.path.abspath(build), "shunt")
        self.python, self.folder, self.images = python, folder, images
        self.isa, self.notes = isa, notes

    def say(self, text):
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def prepare(self, model):
        self.say(f"making {model} with random weights")
        done = subprocess.run([self.python, os.path.join(HERE, "classifier_models.py"),
                               self.folder, model], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    def engine(self, name, model, threads):
        how, at = ENGINES[name], os.path.join(self.folder, model)
        if isinstance(how, str):
            return Engine([self.python, os.path.join(HERE, "classifier_peer.py"), how, at,
                           str(threads)])
        dtype, isa = how
        image = os.path.join(self.images, f"{model}-{dtype}-{isa or self.isa}")
        return Engine([self.shunt, "bench", "--model", at, "--dtype", dtype, "--isa",
                       isa or self.isa, "--threads", str(threads), "--image", image, "--json",
                       "classifier", "-"])

    @contextlib.contextmanager
    def engines(self, names, model, threads):
        started = {}
        try:
            for name in names:
                try:
                    started[name] = self.engine(name, model, threads)
                except (RuntimeError, OSError) as e:
                    self.notes.append(f"{name}, {model}: {e}")
                    self.say(self.notes[-1])
            yield started
        finally:
            for engine in started.values():
                engine.stop()

    def measure(self, result, model, names, threads, rounds, lengths):
        """times[model][threads][engine][tokens]: one figure per round; see Engine.time. One thread's time
        on the CPU is what it would take alone, whoever else wants the CPU; with more, threads wait
        for each other, and only the clock tells."""
        times = result["times"].setdefault(model, {}).setdefault(threads, {})
        with self.engines(names, model, threads) as started:
            self.compare_logits(result, model, started)
            for i in range(rounds):
                self.say(f"{model}, {threads} thread(s), round {i + 1} of {rounds}")
                for tokens in lengths:
                    for name, engine in started.items():
                        ms = engine.time(tokens, RUNS[model], on_cpu=threads == 1)
                        times.setdefault(name, {}).setdefault(tokens, []).append(ms)
            for name, engine in started.items():
                result["memory"].setdefault(model, {})[name] = {
                    "rss_mb": round(engine.memory_mb()["Rss"], 1)}

    def compare_logits(self, result, model, started):
        """All engines run the same weights: their first answers must agree."""
        wanted = {n: e.ready["logits"] for n, e in started.items()}
        reference = wanted.get("ORT f32") or wanted.get("shunt f32 blas")
        for name, logits in wanted.items():
            off = max(abs(a - b) for a, b in zip(logits, reference)) if reference else None
            result.setdefault("logits_off", {}).setdefault(model, {})[name] = off
            if off is not None and name.endswith("f32") and off > 1e-3:
                self.notes.append(f"{name}, {model}: logits differ by {off:.2g}")

    def cold(self, result, model, times):
        """Exec to first answer of each; for shunt also attach to first answer, packed already."""
        for _ in range(times):
            for name in ("shunt bf16", "shunt i8", "ORT f32", "ORT i8"):
                try:
                    engine = self.engine(name, model, 1)
                except (RuntimeError, OSError) as e:
                    self.notes.append(f"cold start of {name}: {e}")
                    continue
                row = result["starts"].setdefault(name, {})
                row.setdefault("exec_to_first_ms", []).append(engine.start_ms)
                row.setdefault("exec_to_first_cpu_ms", []).append(engine.cpu_ms())
                for key in {"attach_first_ms", "attach_first_cpu_ms"} & set(engine.ready):
                    row.setdefault(key, []).append(engine.ready[key])
                engine.stop()

    def memory(self, result, model):
        """PSS of four classifiers that share one image, against one copy of the weights."""
        for name in ("shunt bf16", "shunt i8", "ORT f32", "ORT i8"):
            with contextlib.ExitStack() as stack:
                try:
                    four = [self.engine(name, model, 1) for _ in range(FOUR)]
                except (RuntimeError, OSError) as e:
                    self.notes.append(f"four of {name}: {e}")
                    continue
                for engine in four:
                    stack.callback(engine.stop)
                    engine.time(128, 1)
                row = {"pss_of_four_mb": round(sum(e.memory_mb()["Pss"] for e in four), 1)}
                if "image_bytes" in four[0].ready:
                    row["image_mb"] = round(four[0].ready["image_bytes"] / 2**20, 1)
                result["memory"][model].setdefault(name, {}).update(row)


