# SPDX-License-Identifier: Apache-2.0
"""The official Python client of OpenAI, unmodified."""
import openai
import pytest
from harness.daemon import model, openai as openai_backend, sim
from harness.paths import SLOW
from harness.upstream import chunk, fail

PIXEL = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
         "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


def client_of(d, **options):
    options = {"api_key": "any", "max_retries": 0, "timeout": 20 * SLOW, **options}
    return openai.OpenAI(base_url=d.url + "/v1", **options)


@pytest.fixture
def client(daemon):
    with client_of(daemon({"backends": [sim("s", models=["small"])]})) as c:
        yield c


def say(text):
    return [{"role": "user", "content": text}]


def test_chat(client):
    answer = client.chat.completions.create(model="auto", messages=say("Hello"))
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def test_stream(client):
    chunks = list(client.chat.completions.create(
        model="small", messages=say("Hello"), stream=True,
        stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens > 0


def test_models(client):
    assert {"small", "auto"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("small").id == "small"


def test_embeddings(client):
    answer = client.embeddings.create(model="small", input=["one", "two"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 1


def test_embeddings_as_base64(client):
    # The client asks for base64 unless told otherwise, and decodes it; both ways must agree.
    floats = client.embeddings.create(model="small", input="one", encoding_format="float")
    coded = client.embeddings.create(model="small", input="one")
    assert len(coded.data[0].embedding) == len(floats.data[0].embedding)
    assert coded.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)


def test_completions(client):
    assert client.completions.create(model="small", prompt="Once").choices[0].text


def test_vision_message(client):
    answer = client.chat.completions.create(model="small", messages=[{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}}]}])
    assert answer.choices[0].message.content


def test_raw_headers_say_the_decision(client):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=say("Hi"))
    assert raw.headers["x-shunt-model"] == "small"
    assert raw.parse().choices


def tool_script(x):
    call = {"index": 0, "id": "call_1", "type": "function",
            "function": {"name": "weather", "arguments": ""}}
    if not x.request.json().get("stream"):
        message = {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}]}
        return x.reply({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                        "choices": [{"index": 0, "message": message,
                                     "finish_reason": "tool_calls"}]})
    x.begin_stream()
    x.event(chunk({"role": "assistant", "tool_calls": [call]}))
    for piece in ('{"ci', 'ty":"Os', 'lo"}'):
        x.event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    x.event(chunk({}, "tool_calls"))
    x.event("[DONE]")
    return x.end_stream()


@pytest.fixture
def through(daemon, upstream):
    """(client, upstream): one model on a scripted upstream."""
    def make(script, **options):
        u = upstream(chat=script)
        d = daemon({"backends": [openai_backend("up", u.url)], "models": [model("m", "up")]})
        return client_of(d, **options), u, d
    return make


def test_tools(through):
    client, u, _ = through(tool_script)
    answer = client.chat.completions.create(model="m", messages=say("Oslo?"), tools=TOOLS)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Oslo"}')
    assert answer.choices[0].finish_reason == "tool_calls"
    assert u.chats()[0].json()["tools"] == TOOLS


def test_tools_streamed(through):
    client, _, _ = through(tool_script)
    deltas = [c.choices[0].delta.tool_calls[0] for c in client.chat.completions.create(
        model="m", messages=say("Oslo?"), tools=TOOLS, stream=True)
        if c.choices and c.choices[0].delta.tool_calls]
    assert deltas[0].id == "call_1" and deltas[0].function.name == "weather"
    assert "".join(d.function.arguments or "" for d in deltas) == '{"city":"Oslo"}'


def test_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=say("x"))
    assert caught.value.code == "model_not_found"


def test_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="small", messages=[])
    assert caught.value.message


def test_authentication(daemon, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# of the lab\nright-key-0123456789\n")
    keys.chmod(0o600)
    d = daemon({"backends": [sim("s", models=["small"])], "auth": {"keys_file": str(keys)}})
    with pytest.raises(openai.AuthenticationError):
        client_of(d, api_key="wrong").chat.completions.create(model="small", messages=say("x"))
    good = client_of(d, api_key="right-key-0123456789")
    assert good.chat.completions.create(model="small", messages=say("x")).choices


def test_rate_limit(through):
    client, _, _ = through(fail(429, "rate_limit_error", "slow down", [("Retry-After", "7")]))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=say("x"))
    assert caught.value.response.headers["retry-after"] == "7"
    assert "slow down" in caught.value.message


def test_upstream_bad_request(through):
    client, u, _ = through(fail(400, "invalid_request_error", "temperature too hot"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=say("x"))
    assert "temperature too hot" in str(caught.value)
    assert len(u.chats()) == 1


def test_internal_error(through):
    client, _, _ = through(fail(500))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=say("x"))


def test_timeout_of_the_client(through):
    client, u, _ = through(lambda x: x.hang(), timeout=1.0)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="m", messages=say("x"))
    assert u.chat_exchanges()[0].wait_gone(), "the upstream call outlived its client"


def test_connection_error():
    from harness.ports import free_port
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{free_port()}/v1", api_key="x",
                           max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=say("x"))


def test_stream_cut_by_the_upstream_is_an_error(through):
    def script(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "half an ans"}))
        x.cut()
    client, _, _ = through(script)
    with pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(model="m", messages=say("x"), stream=True):
            pass
