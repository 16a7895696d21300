# SPDX-License-Identifier: Apache-2.0
"""Learned scorers and encoders in the daemon's routes: what they decide, reload, what goes wrong."""
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
from harness.daemon import model, openai, sim
from harness.paths import BUILD, DATA, ROOT, SLOW
from harness.upstream import fail
from harness.wait import until

EASY = ["what is the capital of", "name the colour of", "say hello to", "spell the word"]
HARD = ["prove the theorem about", "derive the integral of", "implement a lock free queue for",
        "show the complexity bound of"]
NOUNS = ["france", "graphs", "rivers", "banach spaces", "cars", "lists", "trees", "numbers"]
BERT = DATA / "models/prompt-domain-bert-tiny"


def shunt(*args, **options):
    return subprocess.run([BUILD / "shunt", *map(str, args)], capture_output=True, text=True,
                          timeout=60 * SLOW, cwd=ROOT, **options)


def train(folder, name, swapped=False):
    """A scorer file: of two models one fails at hard prompts; swapped: at easy ones."""
    rows, rng = [], random.Random(1)
    for i in range(400):
        hard = i % 2 == 1
        prompt = f"{rng.choice(HARD if hard else EASY)} {rng.choice(NOUNS)} {i}"
        rows.append({"id": str(i), "dataset": "made", "prompt": prompt,
                     "scores": {"weak-1b": 0.05 if hard != swapped else 0.95, "strong-70b": 0.95}})
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)) + "\n")
    out = folder / f"{name}.linear"
    done = shunt("train", "--data", data, "--scorer", "linear", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scorers")
    return {"good": train(folder, "good"), "swapped": train(folder, "swapped", swapped=True)}


@pytest.fixture
def scorer(files, tmp_path):
    """A copy of the good file, in a folder of its own, that a test may replace."""
    folder = tmp_path / "scorers"
    folder.mkdir()
    return shutil.copy(files["good"], folder / "pair.linear")


def replace(path, source):
    new = f"{path}.new"
    shutil.copy(source, new)
    os.replace(new, path)


def config(scorer=None, routes=None, **more):
    auto = {"name": "auto", "models": ["small", "large"]}
    if scorer is not None:
        auto["scorer"] = f"linear:{scorer}"
    return {"backends": [sim("s", models=["small", "large"])],
            "models": [model("small", "s", quality=0.4, input_usd=0.05, output_usd=0.1,
                             scorer_name="weak-1b"),
                       model("large", "s", quality=0.9, input_usd=2.5, output_usd=10,
                             scorer_name="strong-70b")],
            "routes": routes or [auto], **more}


def route(d, text, name="auto", **more):
    messages = more.pop("messages", None) or [{"role": "user", "content": text}]
    headers = more.pop("headers", {})
    r = d.post("/v1/route", {"model": name, "messages": messages, **more}, headers=headers)
    assert r.status_code == 200, r.text
    return r.json()


def counter(d, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in d.get("/metrics").text.splitlines()
               if line.startswith(f"shunt_{name}{{"))


def hangup(d, event=r"reload_done"):
    before = len(d.log())
    d.signal(signal.SIGHUP)
    d.wait_log(event, after=before)


# ---- a scorer file decides


def test_a_trained_scorer_decides_by_what_it_expects_of_each_model(daemon, scorer):
    d = daemon(config(scorer))
    hard, easy = route(d, "prove the theorem about graphs"), route(d, "say hello to cars")
    assert hard["model"] == "large" and easy["model"] == "small"
    assert hard["scorer"] == "linear" and hard["judged"] and not hard["abstained"]
    by_model = {c["model"]: c for c in hard["candidates"]}
    assert by_model["small"]["quality"] < 0.4 < 0.6 < by_model["large"]["quality"]
    assert by_model["large"]["error"] >= 0
    assert abs(sum(hard["terms"].values()) - hard["score"]) < 1e-9
    assert hard["decision_us"] > 0
    r = d.chat("auto", "prove the theorem about graphs")
    assert r.headers["x-shunt-model"] == "large"
    assert "linear expects quality" in r.headers["x-shunt-reason"]


def test_routellms_form_takes_a_trained_scorer(daemon, scorer):
    d = daemon(config(scorer))
    want = route(d, "derive the integral of trees", "router-linear-0.5")["difficulty"]
    assert 0.7 < want <= 1
    for threshold, wanted in ((want - 0.01, "large"), (min(1, want + 0.01), "small")):
        e = route(d, "derive the integral of trees", f"router-linear-{threshold:.4f}")
        assert e["model"] == wanted, e["reason"]
    r = d.post("/v1/route", {"model": "router-knn-0.5", "prompt": "x"})
    assert r.status_code == 404 and "linear" in r.json()["error"]["message"]


def test_a_threshold_on_a_route_decides_alike(daemon, scorer):
    d = daemon(config(routes=[{"name": "auto", "models": ["small", "large"],
                               "scorer": f"linear:{scorer}", "threshold": 0.75}]))
    assert route(d, "show the complexity bound of lists")["model"] == "large"
    assert route(d, "spell the word numbers")["model"] == "small"


def test_follow_ups_are_judged_with_the_turns_before(daemon, scorer):
    turns = [{"role": "user", "content": "prove the theorem about banach spaces"},
             {"role": "assistant", "content": "Done."}, {"role": "user", "content": "commit it"}]
    both = [{"name": name, "models": ["small", "large"], "scorer": f"linear:{scorer}",
             "text": name, "session_ms": 0, "strategy": "quality_first"}
            for name in ("last", "turns", "all")]
    d = daemon(config(routes=both))
    quality = {}
    for r in both:
        e = route(d, "", r["name"], messages=turns)
        quality[r["name"]] = {c["model"]: c["quality"] for c in e["candidates"]}["small"]
    assert quality["turns"] < quality["last"]
    assert quality["all"] != quality["turns"]


def test_a_judgement_is_remembered_until_the_file_changes(daemon, scorer, files):
    d = daemon(config(scorer))
    text = "prove the theorem about rivers"
    assert not route(d, text)["cached"]
    again = route(d, text)
    assert again["cached"] and again["model"] == "large"
    replace(scorer, files["swapped"])
    hangup(d, "scorer_loaded")
    fresh = route(d, text)
    assert not fresh["cached"] and fresh["model"] == "small"


def test_why_this_one_and_what_else_could_be(daemon, scorer):
    d = daemon(config(scorer))
    text = "prove the theorem about rivers"
    e = route(d, text)
    assert [r["dial"] for r in e["dials"]] == [0, 0.25, 0.5, 0.75, 1]
    assert e["dials"][0]["model"] == "small" and e["dials"][-1]["model"] == "large"
    assert e["dials"][0]["cost_usd"] < e["dials"][-1]["cost_usd"]
    assert e["thresholds"][0]["model"] == "large"
    assert route(d, "say hello to rivers")["thresholds"][-1]["model"] == "small"
    assert e["candidates"][1]["behind"].startswith("-")
    assert e["cost_usd"] == e["candidates"][0]["cost_usd"] > 0
    done = shunt("route", "--explain", text, env={**os.environ, "SHUNT_SOCKET": d.socket_path})
    assert done.returncode == 0, done.stderr
    for part in ("Why not the others", "With another dial", "With another threshold", "USD"):
        assert part in done.stdout


def test_the_shipped_scorer_decides_without_a_file_being_named(daemon):
    if not (ROOT / "share/scorer/default.linear").exists():
        pytest.skip("no share/scorer/default.linear: the shipped scorer is not there")
    d = daemon(config(routes=[{"name": "auto", "models": ["small", "large"],
                               "scorer": "linear"}]))
    assert route(d, "Prove that there are infinitely many primes.")["scorer"] == "linear"
    assert not d.events("scorer_refused")


# ---- files that come, change and are no good


def test_new_content_is_read_at_a_reload_without_a_restart(daemon, scorer, files):
    d = daemon(config(scorer))
    pids = {w.pid for w in d.workers()}
    assert route(d, "say hello to trees")["model"] == "small"
    replace(scorer, files["swapped"])
    hangup(d, "scorer_loaded")
    assert route(d, "say hello to trees")["model"] == "large"
    assert {w.pid for w in d.workers()} == pids


@pytest.mark.parametrize("break_file", [
    lambda data: b"", lambda data: b"not a scorer at all", lambda data: data[:len(data) // 2],
    lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
], ids=["empty", "foreign", "cut", "flipped"])
def test_a_bad_file_is_refused_and_the_old_one_stays(daemon, scorer, break_file):
    d = daemon(config(scorer))
    d.allow("scorer_refused")
    text = "prove the theorem about lists"
    assert route(d, text)["model"] == "large"
    with open(scorer, "rb") as f:
        data = break_file(f.read())
    with open(f"{scorer}.new", "wb") as f:
        f.write(data)
    os.replace(f"{scorer}.new", scorer)
    hangup(d, "scorer_refused")
    (_, _, _, rest), = d.events("scorer_refused")
    assert str(scorer) in rest and "use=old" in rest and "route auto" in rest
    e = route(d, text)
    assert e["model"] == "large" and e["scorer"] == "linear"
    for command in ([BUILD / "shuntd", "-c", d.config_path, "--check"],
                    [BUILD / "shunt", "check", d.config_path]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20 * SLOW)
        assert done.returncode == 1, done.stdout
        assert str(scorer) in done.stdout and f"{d.config_path}:" in done.stdout


def test_a_daemon_starts_with_a_bad_file_and_takes_it_when_it_is_mended(daemon, scorer, files):
    with open(scorer, "wb") as f:
        f.write(b"nothing")
    d = daemon(config(scorer))
    d.allow("scorer_refused")
    assert route(d, "prove the theorem about lists")["scorer"] == "heuristic"
    replace(scorer, files["good"])
    hangup(d, "scorer_loaded")
    assert route(d, "prove the theorem about lists")["scorer"] == "linear"


def test_a_missing_file_and_a_wrong_name_are_told_by_check(tmp_path):
    path = tmp_path / "c.yaml"
    for scorer, said in (("linear:gone.linear", f"{tmp_path}/gone.linear: No such file"),
                         ("linaer:x", "did you mean `linear`?"),
                         ("encoder", "there are no `encoders`")):
        path.write_text(json.dumps(config(routes=[{"name": "auto", "scorer": scorer}]), indent=1))
        done = subprocess.run([BUILD / "shuntd", "-c", path, "--check"], capture_output=True,
                              text=True, timeout=20 * SLOW)
        assert done.returncode == 1 and said in done.stdout, done.stdout


def test_a_folder_that_is_new_brings_new_gateways(daemon, scorer, files, tmp_path):
    d = daemon(config(scorer))
    other = tmp_path / "elsewhere"
    other.mkdir()
    shutil.copy(files["swapped"], other / "pair.linear")
    d.reload(routes=[{"name": "auto", "models": ["small", "large"],
                      "scorer": f"linear:{other}/pair.linear"}])
    until("the new file decides", lambda: route(d, "say hello to trees")["model"] == "large")


def test_a_link_is_followed_also_when_it_leads_elsewhere(daemon, files, tmp_path):
    for name in ("scorers", "good", "swapped"):
        (tmp_path / name).mkdir()
    for name in ("good", "swapped"):
        shutil.copy(files[name], tmp_path / name / "pair.linear")
    link = tmp_path / "scorers/current.linear"
    link.symlink_to(tmp_path / "good/pair.linear")
    d = daemon(config(link))
    assert route(d, "prove the theorem about graphs 5")["model"] == "large"
    link.unlink()
    link.symlink_to(tmp_path / "swapped/pair.linear")
    d.allow("scorer_refused")  # by the gateway that goes
    d.signal(signal.SIGHUP)
    until("a new gateway reads it", lambda: route(d, "prove the theorem about graphs 5")["model"] == "small")


def test_a_name_that_leads_nowhere_leaves_the_old_file_at_work(daemon, scorer):
    d = daemon(config(scorer))
    d.allow("scorer_refused")
    before = len(d.log())
    d.reload(routes=[{"name": "auto", "models": ["small", "large"],
                      "scorer": f"linear:{scorer}.gone"}])
    d.wait_log("scorer_refused", after=before)
    e = route(d, "prove the theorem about lists")
    assert e["scorer"] == "linear" and e["model"] == "large"


# ---- conversations, experiments, shadows


def conversation(*texts):
    out = []
    for text in texts:
        out += [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return out[:-1]


def asked(d, messages, **more):
    r = d.post("/v1/chat/completions", {"model": "auto", "messages": messages}, **more)
    assert r.status_code == 200, r.text
    return r.headers["x-shunt-model"], r.headers["x-shunt-reason"]


def test_a_conversation_rises_at_once_and_falls_slowly(daemon, scorer):
    d = daemon(config(routes=[{"name": "auto", "models": ["small", "large"], "text": "last",
                               "scorer": f"linear:{scorer}", "session_falls": 2}]))
    texts = ["say hello to cars", "prove the theorem about cars", "spell the word lists",
             "name the colour of trees"]
    got = [asked(d, conversation(*texts[:i + 1])) for i in range(4)]
    assert [m for m, _ in got] == ["small", "large", "large", "small"], got
    assert got[2][1].startswith("session: stays on large, turn 1 of 2")
    assert counter(d, "route_session_total") == 1


def test_a_session_is_what_the_client_says(daemon, scorer):
    d = daemon(config(scorer))
    mine = {"headers": {"x-shunt-session": "one"}}
    hard, easy = conversation("prove the theorem about cars"), conversation("say hello to cars")
    assert asked(d, hard, **mine)[0] == "large"
    assert asked(d, easy, **mine)[0] == "large"
    assert asked(d, easy, headers={"x-shunt-session": "two"})[0] == "small"
    assert asked(d, easy)[0] == "small"
    before = asked(d, easy, **mine)
    assert "turn 2 of 3" in before[1]
    for _ in range(3):
        route(d, "say hello to cars", headers={"x-shunt-session": "one"})
    assert asked(d, easy, **mine)[0] == "small", "questions count as no turns"


def test_a_conversation_keeps_its_model_at_a_gateway_that_never_saw_it(daemon, scorer):
    d = daemon(config(routes=[{"name": "auto", "models": ["small", "large"], "text": "last",
                               "scorer": f"linear:{scorer}", "session_falls": 3}]))
    d.allow(".*")
    texts = ["say hello to cars", "prove the theorem about cars", "spell the word lists",
             "name the colour of trees", "say hello to rivers"]
    assert asked(d, conversation(*texts[:2]))[0] == "large"
    for n, wanted in ((3, "large"), (4, "large"), (5, "small")):
        (w,) = d.workers("gateway")
        os.kill(w.pid, signal.SIGKILL)
        d.wait_worker(w)
        got = asked(d, conversation(*texts[:n]))
        assert got[0] == wanted, got
        if wanted == "large":
            assert got[1].startswith(f"session: stays on large, turn {n - 2} of 3"), got


def test_a_session_is_its_clients_own(daemon, scorer):
    d = daemon(config(scorer))
    one, two = ({"x-shunt-session": "1", "authorization": f"Bearer {k}"} for k in ("a", "b"))
    assert asked(d, conversation("prove the theorem about cars"), headers=one)[0] == "large"
    easy = conversation("say hello to cars")
    assert asked(d, easy, headers=two)[0] == "small"
    assert asked(d, easy, headers=one)[0] == "large"


def test_an_experiment_deals_users_and_keeps_them(daemon, scorer):
    d = daemon(config(routes=[
        {"name": "auto", "models": ["small", "large"], "strategy": "cost_first",
         "experiment": {"route": "best", "share": 0.5}},
        {"name": "best", "models": ["small", "large"], "strategy": "quality_first"}]))
    arms = {u: route(d, "say hello to cars", user=f"user-{u}") for u in range(40)}
    inside = [u for u, e in arms.items() if e["experiment"] == "best"]
    assert 8 <= len(inside) <= 32
    for u, e in arms.items():
        assert e["route"] == "auto" and e["model"] == ("large" if u in inside else "small")
        assert route(d, "something else", user=f"user-{u}")["experiment"] == e["experiment"]


def test_a_shadow_decides_silently(daemon, scorer):
    d = daemon(config(log={"level": "debug"}, routes=[
        {"name": "auto", "models": ["small", "large"], "strategy": "cost_first",
         "shadow": "learned"},
        {"name": "learned", "models": ["small", "large"], "scorer": f"linear:{scorer}"}]))
    for text in ("say hello to cars", "prove the theorem about cars", "spell the word trees"):
        assert d.chat("auto", text).headers["x-shunt-model"] == "small"
    assert counter(d, "shadow_agree_total") == 2 and counter(d, "shadow_differ_total") == 1
    rows = [rest for _, _, _, rest in d.events("shadow_decision")]
    assert len(rows) == 3 and "shadow_model=large agree=no" in rows[1]


def test_a_shadow_decides_what_is_refused_too(daemon, upstream, scorer):
    """A request that is refused at once is over before its shadow reads the prompt (it was freed by
    then: the sanitized build shows it)."""
    up = upstream(models=["small", "large"], chat=fail(429, headers=[("Retry-After", "60")]))
    d = daemon(config(backends=[openai("s", up.url, probe_ms=60000)], routes=[
        {"name": "auto", "models": ["small", "large"], "strategy": "cost_first",
         "shadow": "learned"},
        {"name": "learned", "models": ["small", "large"], "text": "all",
         "scorer": f"linear:{scorer}"}]))
    turns = [{"role": "user", "content": "derive the integral of rivers"},
             {"role": "assistant", "content": "an answer of some length " * 2000},
             {"role": "user", "content": "prove the theorem about cars"}]
    for n, status in enumerate((429, 503), 1):
        r = d.post("/v1/chat/completions", {"model": "auto", "messages": turns})
        assert r.status_code == status, r.text
        until("its shadow decided", lambda: counter(d, "shadow_agree_total") +
              counter(d, "shadow_differ_total") == n)
    assert len(up.chats()) == 2, "each model once, by the first request"


# ---- prompts that are written down, where the config asks


def prompt_files(d):
    return sorted((d.home / "state/prompts").glob("*"))


def test_prompts_are_written_down_nowhere_unless_asked(daemon):
    d = daemon(config(log={"level": "debug"}))
    assert d.chat("auto", "my secret zebra").status_code == 200
    assert route(d, "my secret zebra")["model"]
    assert not prompt_files(d) and "zebra" not in d.log()
    for path in d.home.rglob("*"):
        if path.is_file():
            assert b"zebra" not in path.read_bytes(), path


def test_logged_prompts_calibrate(daemon, scorer):
    d = daemon(config(scorer, prompt_log_bytes="64KiB"))
    d.allow("prompts_are_logged")
    texts = [f"prove the theorem about {n}" for n in NOUNS] + [f"say hello to {n}" for n in NOUNS]
    for text in texts:
        assert d.chat("auto", text).status_code == 200
    route(d, "only a question")
    (path,) = prompt_files(d)
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["prompt"] for r in rows] == texts
    assert {r["dataset"] for r in rows} == {"log/auto"}
    done = shunt("calibrate", "--scorer", f"linear:{scorer}", "--weak", "weak-1b", "--strong",
                 "strong-70b", "--strong-pct", "50", "--data", path, "--json")
    assert done.returncode == 0, done.stderr
    assert abs(json.loads(done.stdout)["share"] - 0.5) < 0.01


def test_a_prompt_without_text_does_not_spoil_the_log(daemon, scorer):
    d = daemon(config(scorer, prompt_log_bytes="64KiB"))
    d.allow("prompts_are_logged")
    for text in ("", "hello there", ""):
        assert d.chat("auto", text).status_code == 200
    (path,) = prompt_files(d)
    done = shunt("calibrate", "--scorer", f"linear:{scorer}", "--weak", "weak-1b", "--strong",
                 "strong-70b", "--strong-pct", 50, "--data", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 1


def test_the_prompt_log_ends_at_its_size(daemon):
    d = daemon(config(prompt_log_bytes=1000))
    d.allow("prompts_are_logged")
    for _ in range(12):
        assert d.chat("auto", "x" * 100).status_code == 200
    (path,) = prompt_files(d)
    assert 800 < path.stat().st_size <= 1000
    assert all(json.loads(line)["prompt"] for line in path.read_text().splitlines())
    assert len(d.events("prompt_log_full")) == 1


# ---- scorers that learned from an encoder's embeddings


needs_bert = pytest.mark.skipif(not BERT.exists(), reason="no ../shared/data/models beside the project")
PROSE = ["Ode to", "A letter about", "The story of", "Some thoughts on"]
CODE = ["int main(void) { return", "SELECT name FROM", "for (i = 0; i < n; i++) use", "def f(x): return"]


def learn(folder, name, scorer="linear", swapped=False, model_folder=BERT):
    """A scorer of texts that differ in kind more than in words, trained with embeddings."""
    rows, rng = [], random.Random(2)
    for i in range(200):
        code = i % 2 == 1
        rows.append({"id": str(i), "dataset": "made",
                     "prompt": f"{rng.choice(CODE if code else PROSE)} {rng.choice(NOUNS)} {i}",
                     "scores": {"weak-1b": 0.05 if code != swapped else 0.95, "strong-70b": 0.95}})
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)) + "\n")
    out = folder / f"{name}.{scorer}"
    done = shunt("train", "--data", data, "--scorer", scorer, "--encoder", model_folder, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    return {"good": learn(folder, "good"), "swapped": learn(folder, "swapped", swapped=True),
            "knn": learn(folder, "knn", scorer="knn"), "ensemble": learn(folder, "all", scorer="ensemble")}


@pytest.fixture
def embedded(daemon, learned, tmp_path):
    """A daemon whose route asks a copy of the file, with an encoder; keys are the route's."""
    folder = tmp_path / "scorers"
    folder.mkdir()

    def start(scorer="linear", more=(), **keys):
        path = folder / "pair.scorer"
        replace(path, learned[scorer if scorer != "linear" else "good"])
        d = daemon(config(log={"level": "debug"}, encoders=[
            {"name": "other", "folder": str(BERT.with_name("tiny-random-BertForSequenceClassification"))},
            {"name": "en", "folder": str(BERT), "dtype": "f32"}],
            routes=[{"name": "auto", "models": ["small", "large"], "scorer": f"{scorer}:{path}",
                     "encoder": "en", "cache_ms": 0, "deadline_ms": "5s", "default_model": "small", **keys},
                    *more]))
        until("the classifier answers", lambda: route(d, "Hello there")["phase"] == "score")
        return d, path
    return start


def classifier_of(d, encoder):
    (pid,) = [w["pid"] for w in d.status()["workers"] if w["name"].startswith(f"{encoder}-")]
    return pid


def wants(tmp_path, scorer, text):
    """What shunt's own scorer says of a text, without any daemon."""
    data = tmp_path / "one.jsonl"
    data.write_text(json.dumps({"prompt": text}) + "\n")
    done = shunt("calibrate", "--data", data, "--scorer", scorer, "--encoder", BERT, "--weak", "weak-1b",
                 "--strong", "strong-70b", "--strong-pct", 100, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["threshold"]


@needs_bert
def test_a_scorer_that_learned_from_embeddings_is_asked_with_them(learned, tmp_path):
    data, out = learned["good"].with_name("good.jsonl"), learned["good"]
    alone = shunt("eval", "--data", data, "--scorer", f"linear:{out}")
    assert alone.returncode == 2 and "--encoder DIR is missing" in alone.stderr
    other = shunt("eval", "--data", data, "--scorer", f"linear:{out}", "--encoder",
                  BERT.with_name("tiny-random-BertForSequenceClassification"))
    assert other.returncode == 2 and "--encoder names another model" in other.stderr
    asked = shunt("eval", "--data", data, "--scorer", f"linear:{out}", "--encoder", BERT, "--dtype", "i8", "--json",
                  "--threads", 200)  # more than an encoder takes
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["apgr"] > 0.7
    assert {"case", "whitespace", "typos", "preamble"} <= told["flips"].keys()
    assert told["flips"]["whitespace"] == 0, "the model's tokenizer and the n-grams see none of it"
    assert 0 < told["flips"]["mean"] < 0.3, "the embeddings are those of the noised prompts"
    done = shunt("calibrate", "--data", data, "--scorer", f"linear:{out}", "--strong-pct", 20)
    assert done.returncode == 2 and "--encoder DIR is missing" in done.stderr


@needs_bert
@pytest.mark.parametrize("scorer", ["linear", "knn", "ensemble"])
def test_a_daemon_decides_as_the_scorer_that_it_was_given(embedded, tmp_path, scorer):
    d, path = embedded(scorer)
    long = "for (i = 0; i < n; i++) use lists; " * 200  # more than the model looks at
    for text in ("Ode to rivers 7", "SELECT name FROM trees 8", "?", "What is a graph?", long, long * 3):
        want = wants(tmp_path, f"{scorer}:{path}", text)
        e = route(d, text, f"router-{scorer}-0.5")
        assert e["scorer"] == scorer and e["judged"], e["reason"]
        # beyond 8 KiB the daemon leaves the middle out of the n-grams' text, too
        assert abs(e["difficulty"] - want) < (1e-6 if len(text) <= 8192 else 1e-4)
    greeting = "Hi there! I hope you are doing well.\n\n"
    polite, plain = (route(d, f"{start}What is a graph?", f"router-{scorer}-0.5") for start in (greeting, ""))
    assert abs(polite["difficulty"] - plain["difficulty"]) < 1e-6, "a greeting changes nothing"
    assert route(d, "int main(void) { return cars 3")["model"] == "large"
    assert route(d, "Some thoughts on cars 3")["model"] == "small"
    r = d.chat("auto", "def f(x): return numbers 3")
    assert r.headers["x-shunt-model"] == "large" and f"{scorer} expects quality" in r.headers["x-shunt-reason"]


@needs_bert
def test_an_embeddings_judgement_is_remembered_and_explained(embedded):
    d, _ = embedded(cache_ms="1m")
    text = "What is a graph?"
    first = route(d, text)
    before = counter(d, "judge_asked_total")
    again = route(d, text)
    assert again["cached"] and not first["cached"]
    assert [c["quality"] for c in again["candidates"]] == [c["quality"] for c in first["candidates"]]
    want = route(d, text, "router-linear-0.5")
    assert want["cached"], "the same knowledge, whatever the form"
    for e in (first, again):
        assert {a["model"] for a in e["thresholds"]} == {"small", "large"}
        assert e["dials"][0]["model"] == "small" and e["dials"][-1]["model"] == "large"
    done = shunt("route", "--url", d.url, "--explain", text)
    assert done.returncode == 0 and "With another threshold" in done.stdout, done.stderr
    assert counter(d, "judge_asked_total") == before, "one question was enough for all of it"


@needs_bert
def test_without_an_embedding_in_time_the_default_tier_answers(embedded):
    d, _ = embedded()
    w = classifier_of(d, "en")
    os.kill(w, signal.SIGSTOP)
    got = []
    threads = [threading.Thread(target=lambda: got.append(d.chat("auto", "int main(void) { return lists 4")))
               for _ in range(4)]
    before = counter(d, "judge_asked_total")
    for t in threads:
        t.start()
    until("four questions wait", lambda: counter(d, "judge_asked_total") - before >= 4)
    os.kill(w, signal.SIGKILL)
    for t in threads:
        t.join(20 * SLOW)
    assert [r.status_code for r in got] == [200] * 4
    assert {r.headers["x-shunt-model"] for r in got} == {"small"}
    assert all("the classifier died" in r.headers["x-shunt-reason"] for r in got)
    until("the next life answers", lambda: route(d, "int main(void) { return lists 4")["model"] == "large")


@needs_bert
def test_a_stopped_classifier_costs_an_embeddings_route_no_more_than_its_deadline(embedded):
    d, _ = embedded(deadline_ms=300)
    w = classifier_of(d, "en")
    os.kill(w, signal.SIGSTOP)
    try:
        r = d.chat("auto", "int main(void) { return lists 4")
        assert r.status_code == 200 and r.headers["x-shunt-model"] == "small"
        assert r.headers["x-shunt-reason"].startswith("default: no classifier answered in time")
    finally:
        os.kill(w, signal.SIGCONT)


@needs_bert
def test_a_reload_swaps_a_file_that_needs_embeddings(embedded, learned):
    d, path = embedded(cache_ms="1m")
    pids = {w.pid for w in d.workers()}
    assert route(d, "int main(void) { return lists 4")["model"] == "large"
    replace(path, learned["swapped"])
    hangup(d, "scorer_loaded")
    assert route(d, "int main(void) { return lists 4")["model"] == "small"
    assert route(d, "Ode to lists 4")["model"] == "large"
    assert {w.pid for w in d.workers()} == pids


@needs_bert
def test_shadow_and_experiment_ask_for_embeddings_too(embedded, learned):
    more = [{"name": "plain", "models": ["small", "large"], "strategy": "cost_first", "shadow": "auto"},
            {"name": "split", "models": ["small", "large"], "strategy": "cost_first",
             "experiment": {"route": "auto", "share": 0.5}}]
    d, _ = embedded(more=more, cache_ms="1m")
    text = "int main(void) { return lists 4"
    for i in range(3):
        assert d.chat("plain", f"{text}{i}").headers["x-shunt-model"] == "small"
    until("each was compared", lambda: counter(d, "shadow_agree_total") + counter(d, "shadow_differ_total") == 3)
    assert counter(d, "shadow_differ_total") == 3
    models = {}
    for i in range(40):
        e = route(d, text, "split", user=f"user {i}")
        models.setdefault(e.get("experiment") or "", set()).add(e["model"])
    assert models["auto"] == {"large"} and models[""] == {"small"}, models


@needs_bert
def test_replicas_take_turns_where_a_classifier_is_asked(daemon):
    d = daemon(config(encoders=[{"name": "en", "folder": str(BERT)}],
                      backends=[sim(name, models=["small", "large"]) for name in ("s", "t")],
                      models=[model("small", "s", "t", quality=0.4), model("large", "s", "t", quality=0.9)],
                      routes=[{"name": "auto", "models": ["small", "large"], "scorer": "encoder:en", "cache_ms": 0,
                               "deadline_ms": "5s"}]))
    until("the classifier answers", lambda: route(d, "Hello there")["phase"] == "score")
    got = [route(d, "Hello there")["backend"] for _ in range(6)]
    assert got.count("s") == 3, got


@needs_bert
def test_a_shadow_is_asked_with_all_messages_where_its_route_says_so(embedded):
    d, _ = embedded(text="all", more=[{"name": "plain", "models": ["small", "large"], "strategy": "cost_first",
                                       "shadow": "auto"}])
    for i in range(3):
        d.post("/v1/chat/completions", {"model": "plain", "messages": [
            {"role": "system", "content": "static int f(void) { return 1; }"},
            {"role": "user", "content": f"int main(void) {{ return lists {i}"}]})
    until("each was looked at", lambda: sum(counter(d, f"shadow_{n}_total") for n in ("agree", "differ", "lost")) == 3)
    assert counter(d, "shadow_differ_total") == 3, "not what the default tier says"


@needs_bert
def test_each_file_that_does_not_fit_is_told_once(daemon, learned):
    tiny = BERT.with_name("tiny-random-BertForSequenceClassification")
    d = daemon(config(encoders=[{"name": "en", "folder": str(tiny)}], routes=[
        {"name": name, "models": ["small", "large"], "scorer": f"linear:{learned[file]}", "deadline_ms": "5s",
         "default_model": "small"} for name, file in (("auto", "good"), ("other", "swapped"))]))
    d.allow("scorer_unfit")
    until("the classifier answers", lambda: "is not the model" in route(d, "int main(void)")["reason"])
    for i in range(4):
        for name in ("auto", "other"):
            assert "is not the model" in route(d, f"SELECT {i}", name)["reason"]
    assert len(d.events("scorer_unfit")) == 2


def test_a_gguf_file_is_the_same_model_under_another_name(tmp_path):
    for name in ("mini.gguf", "other.gguf"):
        shutil.copy(ROOT / "tests/fixtures/encoder/bert-gguf-q8/model.gguf", tmp_path / name)
    out = learn(tmp_path, "pair", model_folder=tmp_path / "mini.gguf")
    done = shunt("eval", "--data", tmp_path / "pair.jsonl", "--scorer", f"linear:{out}", "--encoder",
                 tmp_path / "other.gguf")
    assert done.returncode == 0, done.stderr


@needs_bert
def test_both_sides_of_an_experiment_may_ask_a_classifier(embedded):
    d, _ = embedded(experiment={"route": "deep", "share": 0.5}, more=[
        {"name": "deep", "models": ["small", "large"], "scorer": "encoder:en", "cache_ms": 0, "deadline_ms": "5s"}])
    sides = set()
    for i in range(40):
        e = route(d, f"What is graph {i}?")
        assert e["phase"] == "score" and e["judged"], e["reason"]
        sides.add((e.get("experiment") or "", e["scorer"]))
    assert sides == {("", "linear"), ("deep", "encoder")}


@needs_bert
def test_an_encoder_that_is_another_model_is_told_and_means_the_default_tier(daemon, learned, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BERT, folder)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    settings = config(encoders=[{"name": "en", "folder": str(folder), "dtype": "f32"}], routes=[
        {"name": "auto", "models": ["small", "large"], "scorer": f"linear:{learned['good']}",
         "deadline_ms": "5s", "default_model": "small"}])
    d = daemon(settings)
    d.allow("scorer_unfit")
    until("the classifier answers", lambda: "is not the model" in route(d, "int main(void)")["reason"])
    r = d.chat("auto", "int main(void) { return lists 4")
    assert r.status_code == 200 and r.headers["x-shunt-model"] == "small"
    assert d.events("scorer_unfit")
    tiny = BERT.with_name("tiny-random-BertForSequenceClassification")
    for encoders, says in (
            ({}, "the files of encoder en are not that model's"),
            ({"encoders": [{"name": "en", "folder": str(tiny)}]}, "128 numbers each; those of encoder en have 32"),
            ({"encoders": [{"name": "en", "folder": str(tmp_path / "gone")}]}, "gone"),
            ({"encoders": None}, "there are no `encoders` to ask")):
        path = tmp_path / "shunt.json"
        path.write_text(json.dumps({k: v for k, v in {**settings, **encoders}.items() if v is not None}))
        for command in ([BUILD / "shuntd", "-c", path, "--check"], [BUILD / "shunt", "check", path]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=20 * SLOW)
            assert done.returncode == 1 and says in done.stdout, (done.stdout, done.stderr)
            assert all(line.startswith(f"{path}:") for line in done.stdout.splitlines())
    good = tmp_path / "good.json"
    good.write_text(json.dumps({**settings, "encoders": [{"name": "en", "folder": str(BERT)}]}))
    done = shunt("check", good)
    assert done.returncode == 0, done.stdout


def test_what_is_wrong_with_an_encoder_is_told(files, tmp_path):
    data = files["good"].with_name("good.jsonl")
    done = shunt("eval", "--data", data, "--scorer", "encoder")
    assert done.returncode == 1 and "needs an encoder's embeddings: --encoder DIR" in done.stderr
    done = shunt("eval", "--data", data, "--scorer", "linear", "--encoder", tmp_path / "gone")
    assert done.returncode == 1 and "gone" in done.stderr
    done = shunt("eval", "--data", data, "--scorer", "linear", "--encoder", BERT, "--dtype", "q4")
    assert done.returncode == 2 and "must be f32, bf16 or i8" in done.stderr


# ---- encoders


@pytest.fixture
def encoder(daemon):
    if not BERT.exists():
        pytest.skip("no ../shared/data/models beside the project: no classifier to ask")

    def start(**keys):
        d = daemon(config(log={"level": "debug"}, encoders=[{"name": "en", "folder": str(BERT)}],
                          routes=[{"name": "auto", "models": ["small", "large"],
                                   "scorer": "encoder:en", "cache_ms": 0, "deadline_ms": 2000,
                                   "default_model": "small", **keys},
                                  {"name": "plain", "models": ["small", "large"]}]))
        until("the classifier answers", lambda: route(d, "Hello there")["phase"] == "score")
        return d
    return start


def test_an_encoder_decides_by_its_win_rate(encoder):
    d = encoder()
    e = route(d, "Write a quicksort in C.")
    want = e["difficulty"]
    assert e["scorer"] == "encoder" and e["judged"] and 0 <= want <= 1
    text = "Write a quicksort in C."
    for threshold, wanted in ((want - 0.001, "large"), (want + 0.001, "small")):
        if 0 <= threshold <= 1:
            assert route(d, text, f"router-encoder-{threshold:.5f}")["model"] == wanted
    done = shunt("encode", "--model", BERT, "--dtype", "f32", input=text + "\n")
    if done.returncode == 0:
        assert abs(json.loads(done.stdout)["win_rate"] - want) < 0.02
    assert d.chat("auto", text).headers["x-shunt-model"] == e["model"]


def test_an_encoders_answer_is_remembered(encoder):
    d = encoder(cache_ms="1m")
    text = "Which rivers are there?"
    first = route(d, text)
    asked_before = counter(d, "judge_asked_total")
    again = route(d, text)
    assert again["cached"] and again["difficulty"] == first["difficulty"]
    assert counter(d, "judge_asked_total") == asked_before


def test_a_stopped_classifier_costs_no_more_than_the_deadline(encoder):
    d = encoder(deadline_ms=300)
    (w,) = d.workers("classifier")
    os.kill(w.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        r = d.chat("auto", "Prove it.")
        took = time.monotonic() - began
        assert r.status_code == 200 and r.headers["x-shunt-model"] == "small"
        assert r.headers["x-shunt-reason"].startswith("default: no classifier answered in time")
        assert 0.2 < took < 20 * SLOW
        r = d.chat("plain", "Hello")
        assert r.status_code == 200, "others do not wait"
    finally:
        os.kill(w.pid, signal.SIGCONT)
    assert counter(d, "judge_missed_total") >= 1


def test_waiting_requests_are_decided_when_the_classifier_dies(encoder):
    d = encoder(deadline_ms=20000)
    (w,) = d.workers("classifier")
    os.kill(w.pid, signal.SIGSTOP)
    got = []
    threads = [threading.Thread(target=lambda: got.append(d.chat("auto", "Prove it.")))
               for _ in range(4)]
    before = counter(d, "judge_asked_total")
    for t in threads:
        t.start()
    until("four questions wait", lambda: counter(d, "judge_asked_total") - before >= 4)
    began = time.monotonic()
    os.kill(w.pid, signal.SIGKILL)
    for t in threads:
        t.join(20 * SLOW)
    assert time.monotonic() - began < 5 * SLOW, "nobody waited for the deadline"
    assert [r.status_code for r in got] == [200] * 4
    assert {r.headers["x-shunt-model"] for r in got} == {"small"}
    assert all("the classifier died" in r.headers["x-shunt-reason"] for r in got)
    until("the next life answers", lambda: route(d, "Hello")["phase"] == "score")


def test_a_client_that_leaves_while_the_classifier_thinks_leaves_nothing(encoder):
    d = encoder(deadline_ms=5000)
    (w,) = d.workers("classifier")
    os.kill(w.pid, signal.SIGSTOP)
    with pytest.raises(Exception):
        d.chat("auto", "Prove it.", options={"timeout": 0.3})
    until("the request is over", lambda: counter(d, "requests_in_flight") == 0)
    os.kill(w.pid, signal.SIGCONT)
    until("the classifier answers again", lambda: route(d, "Hello")["phase"] == "score")


def test_a_missing_model_folder_means_the_default_tier(daemon, tmp_path):
    d = daemon(config(encoders=[{"name": "en", "folder": str(tmp_path / "gone")}],
                      routes=[{"name": "auto", "models": ["small", "large"],
                               "scorer": "encoder", "deadline_ms": 1000}]), wait_ready=False)
    d.allow(".*")
    until("the daemon is ready", d.is_ready)
    r = d.chat("auto", "Prove it.")
    assert r.status_code == 200
    assert r.headers["x-shunt-reason"].startswith("default: ")
    assert "best single model" in r.headers["x-shunt-reason"]


def test_an_encoders_shadow_waits_for_nobody(daemon):
    if not BERT.exists():
        pytest.skip("no ../shared/data/models beside the project: no classifier to ask")
    d = daemon(config(encoders=[{"name": "en", "folder": str(BERT)}], routes=[
        {"name": "auto", "models": ["small", "large"], "strategy": "cost_first",
         "shadow": "deep"},
        {"name": "deep", "models": ["small", "large"], "scorer": "encoder", "threshold": 0.3,
         "deadline_ms": 5000}]))
    until("the classifier answers", lambda: route(d, "Hello", "deep")["phase"] == "score")
    for text in ("Prove it.", "Hello there", "Write a poem"):
        assert d.chat("auto", text).headers["x-shunt-model"] == "small"
    until("each was compared", lambda: counter(d, "shadow_agree_total") +
          counter(d, "shadow_differ_total") == 3)
