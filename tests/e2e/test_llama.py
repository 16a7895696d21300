# SPDX-License-Identifier: Apache-2.0
"""A real llama.cpp server with a tiny real model behind shunt."""
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from harness.daemon import model, openai, sim
from harness.http import Raw, chat_bytes, simple_chat
from harness.paths import BUILD, DATA, ROOT
from harness.ports import free_port
from harness.wait import until

GGUF = DATA / "models/stories260K/stories260K.gguf"


@contextlib.contextmanager
def llama_server(*what):
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("no llama.cpp wheel for this machine (tests/e2e/requirements-llama.txt)")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "llama_server.py", what[0], str(port), *what[1:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def up():
        assert process.poll() is None, f"llama.cpp ended with {process.returncode}"
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        except httpx.HTTPError:
            return False
    try:
        until("llama.cpp is up", up, 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def llama():
    if not GGUF.exists():
        pytest.skip("no ../shared/data/models/stories260K beside the project")
    with llama_server(GGUF) as url:
        yield url


@pytest.fixture
def served(daemon, llama):
    return daemon({"backends": [openai("llama", llama)], "models": [
        model("stories", "llama", upstream="stories")]})


def test_an_answer_of_a_real_model(served):
    r = served.chat("stories", "Once upon a time", max_tokens=16, temperature=0)
    assert r.status_code == 200, r.text
    assert r.json()["choices"][0]["message"]["content"]
    assert r.json()["usage"]["completion_tokens"] == 16
    assert "timings" in r.json(), "a field of llama.cpp's own was lost"


def test_a_stream_of_a_real_model_is_its_answer(served):
    whole = served.chat("stories", "Once", max_tokens=24, temperature=0, seed=1).json()
    r, events = served.stream("stories", "Once", max_tokens=24, temperature=0, seed=1)
    assert r.status_code == 200 and events[-1] == "[DONE]"
    parts = [json.loads(e)["choices"] for e in events[:-1]]
    text = "".join(c[0]["delta"].get("content") or "" for c in parts if c)
    assert text == whole["choices"][0]["message"]["content"]


def test_what_it_serves_is_found(daemon, llama):
    d = daemon({"backends": [openai("llama", llama)]})
    until("its model is listed", lambda: "stories" in d.models())
    assert d.chat("auto", "Once", max_tokens=4).headers["x-shunt-backend"] == "llama"


def test_a_client_that_leaves_frees_the_slot(served, llama):
    raw = Raw(served)
    raw.send(chat_bytes(simple_chat("stories", "Once", stream=True, max_tokens=64)))
    assert raw.read_head()[0] == 200
    raw.read_chunk()
    raw.reset()
    until("the slot is free", lambda: not any(
        s.get("is_processing") for s in httpx.get(llama + "/slots").json()))


def test_a_context_overflow_is_told(served):
    r = served.chat("stories", "word " * 3000, max_tokens=4)
    assert r.status_code == 400, r.text
    assert r.json()["error"]["message"]


def test_an_encoder_in_a_gguf_file_gives_the_embeddings_of_llama_cpp():
    """But for GELU, which llama.cpp approximates."""
    file = ROOT / "tests/fixtures/encoder/bert-gguf-f16/model.gguf"
    texts = ["The shunt router", "a b c routers!", "", "[MASK] shunting."]
    ours = subprocess.run([BUILD / "shunt", "encode", "--model", file], input="\n".join(texts) + "\n",
                          capture_output=True, text=True, timeout=60, check=True).stdout
    with llama_server(file, "embeddings") as url:
        for text, line in zip(texts, ours.splitlines(), strict=True):
            if text:  # which llama.cpp refuses
                r = httpx.post(f"{url}/v1/embeddings", json={"input": text})
                assert r.status_code == 200, r.text
                theirs = r.json()["data"][0]["embedding"]
                assert json.loads(line)["embedding"] == pytest.approx(theirs, abs=2e-3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_real_model_says_how_sure_it_is(daemon, llama, stream):
    """Of its own most probable words surely more than of nothing, and less than of everything."""
    d = daemon({"backends": [openai("llama", llama), sim("strong")],
                "models": [model("stories", "llama", upstream="stories", quality=0.1),
                           model("strong", "strong", quality=0.9),
                           model("twin", "llama", upstream="stories", quality=0.8)],
                "routes": [{"name": "auto", "models": ["stories", "strong"],
                            "scorer": "cascade", "threshold": 0.5, "hold": 8},
                           {"name": "twins", "models": ["stories", "twin"],
                            "scorer": "cascade", "threshold": 0.001}]})
    plain = httpx.post(llama + "/v1/chat/completions", timeout=60, json={
        "model": "stories", "messages": [{"role": "user", "content": "Once"}],
        "max_tokens": 24, "temperature": 0, "seed": 1}).json()["choices"][0]["message"]["content"]
    ask = {"max_tokens": 24, "temperature": 0, "seed": 1}
    for threshold, who in [(0.001, "stories"), (1.0, "strong")]:
        if stream:
            r, events = d.stream(f"router-cascade-{threshold}", "Once", **ask)
            got = [json.loads(e)["choices"] for e in events[:-1]]
            text = "".join(c[0]["delta"].get("content") or "" for c in got if c)
            assert all(not c[0].get("logprobs") for c in got if c)
        else:
            r = d.chat(f"router-cascade-{threshold}", "Once", **ask)
            text = r.json()["choices"][0]["message"]["content"]
            assert not r.json()["choices"][0].get("logprobs")
        assert r.headers["x-shunt-model"] == who, r.headers
        assert "confidence 0." in r.headers["x-shunt-reason"]
        assert (text == plain) == (who == "stories")
    r = d.post("/v1/completions", {"model": "twins", "prompt": "Once", "stream": stream, **ask})
    assert "stories is sure, confidence 0." in r.headers["x-shunt-reason"]
