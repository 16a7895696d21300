# SPDX-License-Identifier: Apache-2.0
"""The official OpenAI client on an Ollama and an Anthropic server that answer from recordings."""
import base64
import json

import openai
import pytest
from harness.dialects import Anthropic, Ollama
from harness.paths import SLOW
from test_openai_python import PIXEL, TOOLS, say

ABLE = ("completion", "vision", "tools", "embedding")
CLAUDE = "claude-opus-5"
LLAMA = "llama3.2:latest"


@pytest.fixture
def serve(daemon, wire):
    """serve(class, ...) -> (client, server, daemon): one backend that lists its models itself."""
    started = []

    def make(kind, **options):
        u = kind(wire, **options)
        started.append(u)
        name = kind.__name__.lower()
        d = daemon({"backends": [{"name": name, "kind": name, "url": u.url, "probe_ms": 200}]})
        return openai.OpenAI(base_url=d.url + "/v1", api_key="any", max_retries=0,
                             timeout=20 * SLOW), u, d
    yield make
    for u in started:
        u.stop()


def ndjson_text(data, field="content"):
    rows = [json.loads(line) for line in data.splitlines()]
    return "".join(r.get("message", {}).get(field) or "" for r in rows), rows[-1]


def streamed(client, model, **more):
    return list(client.chat.completions.create(model=model, messages=say("x"), stream=True,
                                               stream_options={"include_usage": True}, **more))


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def calls_of(chunks):
    """index -> [id, name, arguments], put together as clients do."""
    calls = {}
    for c in chunks:
        for t in (c.choices[0].delta.tool_calls or []) if c.choices else []:
            row = calls.setdefault(t.index, [None, None, ""])
            row[0] = row[0] or t.id
            row[1] = row[1] or (t.function and t.function.name)
            row[2] += (t.function and t.function.arguments) or ""
    return calls


# ---- Ollama


def test_ollama_lists_its_models(serve):
    client, _, d = serve(Ollama, models=(LLAMA, "other:1b"))
    assert {LLAMA, "other:1b"} <= {m.id for m in client.models.list()}
    rows = {m["name"]: m for m in d.status()["models"]}
    assert rows[LLAMA]["context_tokens"] == 8192 and rows[LLAMA]["vision"] is True
    assert rows[LLAMA]["tools"] is False


def test_ollama_chat(serve):
    client, u, _ = serve(Ollama)
    file = "ollama/200-api_chat-think-test-async-chat-c5a631.json"
    u.play("/api/chat", file)
    answer = client.chat.completions.create(model=LLAMA, messages=say("x"))
    want = json.loads(u.recording(file))
    assert answer.choices[0].message.content == want["message"]["content"]
    assert answer.usage.completion_tokens == want["eval_count"]
    assert answer.usage.prompt_tokens == want["prompt_eval_count"]
    assert answer.choices[0].finish_reason == "stop"
    sent = u.chats("/api/chat")[0].json()
    assert sent["model"] == LLAMA and sent["stream"] is False


def test_ollama_stream(serve):
    client, u, _ = serve(Ollama)
    file = "ollama/200-api_chat-plain-testclient-generatechat-ce862e.ndjson"
    u.play("/api/chat", file, piece=7)
    chunks = streamed(client, LLAMA)
    text, last = ndjson_text(u.recording(file))
    assert text and text_of(chunks) == text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == last["done_reason"]
    assert chunks[-1].usage.completion_tokens == last["eval_count"]


def test_ollama_stream_of_thoughts(serve):
    client, u, _ = serve(Ollama)
    file = "ollama/200-api_chat-plain-testclient-generatechatwiththink-be69c0.ndjson"
    u.play("/api/chat", file)
    chunks = streamed(client, LLAMA)
    text, _ = ndjson_text(u.recording(file))
    thoughts, _ = ndjson_text(u.recording(file), "thinking")
    heard = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or ""
                    for c in chunks if c.choices)
    assert text_of(chunks) == text
    assert heard == thoughts


def test_ollama_tools(serve):
    client, u, _ = serve(Ollama, capabilities=ABLE)
    u.play("/api/chat", "ollama/200-api_chat-tool-think-test-chat-with-tool-call-93db5d.json")
    answer = client.chat.completions.create(model=LLAMA, messages=say("x"), tools=TOOLS)
    call = answer.choices[0].message.tool_calls[0]
    assert call.id and call.type == "function"
    assert call.function.name == "get_current_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert u.chats("/api/chat")[0].json()["tools"] == TOOLS


def test_ollama_tools_streamed(serve):
    client, u, _ = serve(Ollama, capabilities=ABLE)
    stem = "ollama-docs/generate-a-chat-completion-chat-request-streaming-with-tools"
    rows = [json.loads(u.recording(stem + end)) for end in (".json", "-1.json")]
    first = rows[0]["message"]["tool_calls"][0]
    two = {**rows[0], "message": {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "second", "arguments": {"n": 2}}}]}}
    data = b"".join(json.dumps(r).encode() + b"\n" for r in (rows[0], two, rows[1]))

    def script(x):
        x.begin_stream("application/x-ndjson")
        for i in range(0, len(data), 50):
            x.piece(data[i:i + 50])
        x.end_stream()
    u.other["/api/chat"] = script
    chunks = streamed(client, LLAMA, tools=TOOLS)
    calls = calls_of(chunks)
    assert sorted(calls) == [0, 1], "two calls of one turn need two indices"
    assert calls[0][1] == "get_weather"
    assert json.loads(calls[0][2]) == first["function"]["arguments"]
    assert calls[1][1] == "second" and json.loads(calls[1][2]) == {"n": 2}
    assert calls[0][0] and calls[1][0] and calls[0][0] != calls[1][0]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


def test_ollama_tool_results_go_back(serve):
    client, u, _ = serve(Ollama, capabilities=ABLE)
    u.play("/api/chat", "ollama/200-api_chat-think-test-async-chat-c5a631.json")
    client.chat.completions.create(model=LLAMA, tools=TOOLS, messages=[
        *say("Oslo?"),
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"}])
    sent = u.chats("/api/chat")[0].json()["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "weather",
                                                    "arguments": {"city": "Oslo"}}
    assert sent[2]["role"] == "tool" and sent[2]["content"] == "rain"


def test_ollama_image(serve):
    client, u, _ = serve(Ollama, capabilities=ABLE)
    u.play("/api/chat", "ollama-docs/generate-a-chat-completion-chat-request-with-images.json")
    answer = client.chat.completions.create(model=LLAMA, messages=[{"role": "user", "content": [
        {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}])
    assert "pig" in answer.choices[0].message.content
    message = u.chats("/api/chat")[0].json()["messages"][0]
    assert message["content"] == "What?"
    assert message["images"] == [PIXEL.partition("base64,")[2]]
    assert base64.b64decode(message["images"][0], validate=True)


def test_ollama_image_to_a_model_that_is_blind(serve):
    client, u, _ = serve(Ollama, capabilities=("completion",))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=LLAMA, messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": PIXEL}}]}])
    assert "vision" in str(caught.value) or "image" in str(caught.value)
    assert u.chats("/api/chat") == []


def test_ollama_embeddings(serve):
    client, u, _ = serve(Ollama, capabilities=ABLE)
    file = "ollama-docs/generate-embeddings-request-multiple-input.json"
    u.play("/api/embed", file)
    want = json.loads(u.recording(file))["embeddings"]
    for options in ({"encoding_format": "float"}, {}):
        answer = client.embeddings.create(model=LLAMA, input=["one", "two"], **options)
        assert [e.index for e in answer.data] == [0, 1]
        for got, row in zip(answer.data, want):
            assert got.embedding == pytest.approx(row, abs=1e-6)
    assert u.chats("/api/embed")[0].json()["input"] == ["one", "two"]


def test_ollama_does_not_have_the_model(serve):
    client, u, _ = serve(Ollama)
    u.play("/api/chat", "ollama/404-api_chat-plain-test-chat-error-records-model-name-e829d5.json",
           404)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=LLAMA, messages=say("x"))
    assert "not found" in str(caught.value)


# ---- Anthropic


def sse_events(data):
    return [json.loads(line[6:]) for line in data.decode().splitlines()
            if line.startswith("data: ")]


def anthropic_text(events):
    return "".join(e["delta"].get("text", "") for e in events
                   if e["type"] == "content_block_delta")


def test_anthropic_lists_its_models(serve):
    client, _, d = serve(Anthropic)
    assert CLAUDE in {m.id for m in client.models.list()}
    row = {m["name"]: m for m in d.status()["models"]}[CLAUDE]
    assert (row["context_tokens"], row["vision"], row["tools"]) == (1000000, True, True)


def test_anthropic_chat(serve):
    client, u, _ = serve(Anthropic)
    file = "anthropic/200-v1_messages-plain-chat-function-calling-anthropic-claude-haiku-4-5-" \
           "e276c4.json"
    u.play("/v1/messages", file)
    answer = client.chat.completions.create(model=CLAUDE, messages=say("x"))
    want = json.loads(u.recording(file))
    assert answer.choices[0].message.content == "".join(
        b["text"] for b in want["content"] if b["type"] == "text")
    assert answer.usage.completion_tokens == want["usage"]["output_tokens"]
    request = u.chats("/v1/messages")[0]
    assert request.header("anthropic-version") and request.json()["max_tokens"] > 0


def test_anthropic_stream(serve):
    client, u, _ = serve(Anthropic)
    file = "anthropic/200-v1_messages-usage-simple-streaming-a7433f.sse"
    u.play("/v1/messages", file, piece=11)
    chunks = streamed(client, CLAUDE)
    events = sse_events(u.recording(file))
    assert anthropic_text(events) and text_of(chunks) == anthropic_text(events)
    assert chunks[-1].usage.completion_tokens == next(
        e for e in reversed(events) if e["type"] == "message_delta")["usage"]["output_tokens"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


@pytest.mark.parametrize("file", [
    "anthropic/200-v1_messages-tool-usage-think-thinking-streaming-7a7c9f.sse",
    "anthropic/200-v1_messages-tool-usage-think-anthropic-completion-tools-stream-a5ec0e.sse"])
def test_anthropic_tools_streamed(serve, file):
    client, u, _ = serve(Anthropic)
    u.play("/v1/messages", file, piece=37)
    chunks = streamed(client, CLAUDE, tools=TOOLS)
    events = sse_events(u.recording(file))
    want = []
    for e in events:
        if e["type"] == "content_block_start" and e["content_block"]["type"] == "tool_use":
            want.append([e["content_block"]["id"], e["content_block"]["name"], ""])
        if e["type"] == "content_block_delta" and e["delta"]["type"] == "input_json_delta":
            want[-1][2] += e["delta"]["partial_json"]
    calls = calls_of(chunks)
    assert want and sorted(calls) == list(range(len(want)))
    for i, (ident, name, arguments) in enumerate(want):
        assert calls[i][:2] == [ident, name]
        assert json.loads(calls[i][2]) == json.loads(arguments or "{}")
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    sent = u.chats("/v1/messages")[0].json()["tools"][0]
    assert sent["name"] == "weather" and sent["input_schema"]["type"] == "object"


def test_anthropic_image(serve):
    client, u, _ = serve(Anthropic)
    u.play("/v1/messages", "anthropic/200-v1_messages-plain-chat-function-calling-anthropic-"
           "claude-haiku-4-5-e276c4.json")
    client.chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": [
        {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}])
    parts = u.chats("/v1/messages")[0].json()["messages"][0]["content"]
    image = next(p for p in parts if p["type"] == "image")
    assert image["source"] == {"type": "base64", "media_type": "image/png",
                               "data": PIXEL.partition("base64,")[2]}


def error(kind, text):
    return json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode()


def test_anthropic_rate_limit(serve):
    client, u, _ = serve(Anthropic)
    u.play("/v1/messages", error("rate_limit_error", "too many tokens"), 429,
           [("Retry-After", "9")])
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=CLAUDE, messages=say("x"))
    assert caught.value.response.headers["retry-after"] == "9"
    assert "too many tokens" in str(caught.value)


def test_anthropic_overloaded(serve):
    client, u, _ = serve(Anthropic)
    u.play("/v1/messages", error("overloaded_error", "Overloaded"), 529)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=CLAUDE, messages=say("x"))
    assert caught.value.status_code in (503, 529)
    assert "verloaded" in str(caught.value)


def test_anthropic_overloaded_within_the_stream(serve):
    client, u, _ = serve(Anthropic)
    file = "anthropic/200-v1_messages-usage-simple-streaming-a7433f.sse"
    head = u.recording(file).split(b"event: content_block_stop")[0]
    data = head + b"event: error\ndata: " + error("overloaded_error", "Overloaded") + b"\n\n"

    def script(x):
        x.begin_stream()
        x.piece(data)
        x.end_stream()
    u.other["/v1/messages"] = script
    with pytest.raises(openai.APIError) as caught:
        streamed(client, CLAUDE)
    assert "verloaded" in str(caught.value)


def test_anthropic_refuses_the_key(serve):
    client, u, d = serve(Anthropic)
    u.play("/v1/messages",
           "anthropic/401-v1_messages-plain-anthropic-completion-invalid-api-key-9d3270.json", 401)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=CLAUDE, messages=say("x"))
    assert caught.value.status_code != 401, "the client's key is not the one that was refused"


def test_models_that_find_no_room_are_told(daemon, upstream):
    """More than one backend may list, and then more than the table of deployments holds."""
    many = upstream(models=[f"m{i}" for i in range(300)])
    few = upstream(models=[f"few{i}" for i in range(10)])
    rows = [{"name": "few", "url": few.url, "probe_ms": 200},
            {"name": "many", "url": many.url, "probe_ms": 200}]
    d = daemon({"backends": rows[1:]})
    d.wait_log(r"model_list_cut models=256 models_not_served=44")
    d = daemon({"backends": rows})
    d.wait_log(r"profile_table_full backend=\w+ rows=256 models_not_served=10")
