# SPDX-License-Identifier: Apache-2.0
"""What shunt does not know goes through untouched, byte for byte, both ways."""
import json
import threading

import pytest
from harness.daemon import model, openai
from harness.http import Raw, chat_bytes, simple_chat
from harness.upstream import answer, chunk, completion, fail
from harness.wait import until

BODY = (b'{ "model" : "alias" ,\n "messages":[{"role":"user","content":"caf\\u00e9 \xc3\xa9",'
        b'"x_extra":1.50}],"temperature":1e0, "seed":9007199254740993,"x_vendor":{"b":1,"a":2},'
        b'"logprobs":true,"top_logprobs":3,"response_format":{"type":"json_object"},'
        b'"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"stop":["\\n"]}')


@pytest.fixture
def served(daemon, upstream):
    def make(script=None, backend=None, **config):
        u = upstream(models=["the/real-name"], **({"chat": script} if script else {}))
        d = daemon({"backends": [openai("up", u.url, **(backend or {}))],
                    "models": [model("alias", "up", upstream="the/real-name", vision="yes")],
                    **config})
        return d, u
    return make


def test_only_the_model_is_replaced(served):
    d, u = served()
    assert d.post("/v1/chat/completions", BODY).status_code == 200
    assert u.chats()[0].body == BODY.replace(b'"alias"', b'"the/real-name"')


def test_a_model_name_elsewhere_in_the_body_stays(served):
    d, u = served()
    body = b'{"messages":[{"role":"user","content":"\\"model\\":\\"alias\\""}],"x":{"model":"alias"},"model":"alias"}'
    assert d.post("/v1/chat/completions", body).status_code == 200
    assert u.chats()[0].body == (
        b'{"messages":[{"role":"user","content":"\\"model\\":\\"alias\\""}],"x":{"model":"alias"},"model":"the/real-name"}')


def test_escaped_model_key_and_value(served):
    d, u = served()
    body = b'{"mod\\u0065l":"al\\u0069as","messages":[{"role":"user","content":"x"}]}'
    assert d.post("/v1/chat/completions", body).status_code == 200
    assert json.loads(u.chats()[0].body)["model"] == "the/real-name"


def test_unknown_fields_of_the_answer_come_back(served):
    sent = json.dumps(completion("hi", x_vendor={"z": 1.50, "a": [1e0]}, timings={"ms": 0.1})).encode()
    sent = sent.replace(b"1.5", b"1.500")
    d, _ = served(lambda x: x.reply(sent))
    got = d.chat("alias").content
    assert b'"z": 1.500' in got and b'"timings": {"ms": 0.1}' in got
    assert json.loads(got)["choices"] == json.loads(sent)["choices"]


def test_unknown_fields_of_a_stream_come_back(served):
    def script(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "reasoning_content": "hm", "x_y": [1]}))
        x.event(chunk({"content": "a"}, x_vendor={"q": 1}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    d, _ = served(script)
    _, events = d.stream("alias")
    chunks = [json.loads(e) for e in events[:-1]]
    assert chunks[0]["choices"][0]["delta"]["reasoning_content"] == "hm"
    assert chunks[0]["choices"][0]["delta"]["x_y"] == [1]
    assert any(c.get("x_vendor") == {"q": 1} for c in chunks)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64])
def test_a_stream_in_pieces_of_any_size_is_the_same(served, cut):
    text = "".join(f"data: {json.dumps(chunk({'content': w}))}\r\n\r\n" for w in ("é", "ß", "𝄞"))
    text += ": a comment\n\nevent: x\ndata: " + json.dumps(chunk({}, "stop")) + "\n\ndata: [DONE]\n\n"
    data = text.encode()

    def script(x):
        x.begin_stream()
        for i in range(0, len(data), cut):
            x.piece(data[i:i + cut])
        x.end_stream()
    d, _ = served(script)
    _, events = d.stream("alias")
    assert events[-1] == "[DONE]"
    parts = [json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1]]
    assert "".join(parts) == "éß𝄞"


def test_the_api_key_of_the_client_does_not_reach_the_upstream(served, tmp_path):
    key = tmp_path / "key"
    key.write_text("upstream-secret\n")
    key.chmod(0o600)
    d, u = served(backend={"key_file": str(key)})
    d.chat("alias", options={"headers": {"authorization": "Bearer client-secret"}})
    assert u.chats()[0].header("authorization") == "Bearer upstream-secret"
    assert b"client-secret" not in repr(u.chats()[0].headers).encode()


def test_no_key_no_authorization(served):
    d, u = served()
    d.chat("alias", options={"headers": {"authorization": "Bearer client-secret"}})
    assert u.chats()[0].header("authorization") is None


def test_a_body_of_the_limit_goes_through_and_one_byte_more_does_not(served):
    limit = 32 << 20
    d, u = served()
    frame = b'{"model":"alias","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,"}}]}]}'
    at = frame.index(b"base64,") + 7
    body = frame[:at] + b"A" * (limit - len(frame)) + frame[at:]
    assert len(body) == limit
    assert d.post("/v1/chat/completions", body).status_code == 200
    got = u.chats()[0].body
    assert got == body.replace(b'"alias"', b'"the/real-name"')
    with Raw(d) as raw:
        raw.send(chat_bytes(b"")[:-2].replace(b"Length: 0", b"Length: %d" % (limit + 1)) + b"\r\n")
        status, _, _ = raw.response()
    assert status == 413
    assert len(u.chats()) == 1


def test_a_connection_to_the_upstream_is_used_again(served):
    d, u = served()
    for _ in range(8):
        assert d.chat("alias").status_code == 200
    # A probe may hold the first connection just when a chat comes: one more, but not one each.
    assert len({r.connection for r in u.chats()}) <= 2


def test_upstream_error_text_and_type_come_back(served):
    d, _ = served(lambda x: x.reply({"error": {"message": "no such tool", "param": "tools",
                                               "type": "invalid_request_error", "code": "t1"}}, 400))
    r = d.chat("alias")
    assert r.status_code == 400
    assert "no such tool" in r.json()["error"]["message"]


@pytest.mark.parametrize("size", [300 << 10, 3 << 20])
def test_a_large_event_goes_through_when_a_little_credit_is_spent(served, size):
    """The gateway gives credit back in large steps: the event must not wait for all of it."""
    go = threading.Event()

    def script(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "small"}))
        go.wait(20)
        x.event(chunk({"content": "A" * size}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    d, _ = served(script, backend={"stall_ms": 3000})
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("alias", stream=True)))
        assert raw.read_head()[0] == 200
        first = raw.read_chunk()
        go.set()
        data = first + b"".join(iter(raw.read_chunk, b""))
    events = [e[6:] for e in data.decode().split("\n\n") if e.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1][:300]
    parts = [json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1]]
    assert "".join(parts) == "small" + "A" * size


def test_a_model_that_was_found_is_asked_by_its_own_name(daemon, upstream):
    """The config says `m` of the upstream's `dated`; it lists an `m` of its own as well, which is
    another deployment."""
    broken = fail(500, "server_error", "broken")
    u = upstream(models=["m", "dated", "late"], chat=lambda x: (
        broken if x.request.json()["model"] == "dated" else answer())(x))
    d = daemon({"backends": [openai("up", u.url, discover=True)],
                "models": [model("m", "up", upstream="dated")]})
    until("the other models are found", lambda: "late" in d.models())
    r = d.chat("m")
    assert r.status_code == 200, r.text
    assert u.chats()[-1].json()["model"] == "m"
