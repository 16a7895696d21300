# SPDX-License-Identifier: Apache-2.0
"""A client that leaves or stops reading is felt by the upstream."""
import threading

import pytest
from harness.daemon import model, openai
from harness.http import Raw, chat_bytes, simple_chat
from harness.upstream import chunk
from harness.wait import until


@pytest.fixture
def single(daemon, upstream):
    def make(script, **config):
        u = upstream(chat=script)
        return daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")],
                       **config}), u
    return make


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_answer_ends_the_upstream_call(single, how, stream):
    d, u = single(lambda x: x.hang())
    raw = Raw(d)
    raw.send(chat_bytes(simple_chat("m", stream=stream)))
    u.wait_chats(1)
    raw.reset() if how == "reset" else raw.socket.close()
    assert u.chat_exchanges()[0].wait_gone(10), "the upstream still works for nobody"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_mid_stream_ends_the_upstream_call(single, how):
    def script(x):
        x.begin_stream()
        for _ in range(100000):
            x.event(chunk({"content": "more "}))
            if x.stopping.wait(0.005):
                return
    d, u = single(script)
    raw = Raw(d)
    raw.send(chat_bytes(simple_chat("m", stream=True)))
    assert raw.read_head()[0] == 200
    raw.read_chunk()
    raw.reset() if how == "reset" else raw.socket.close()
    assert u.chat_exchanges()[0].wait_gone(10)
    until("nothing is in flight", lambda: d.get("/metrics").text.count("shunt_requests_in_flight")
          and all(line.endswith(" 0") for line in d.get("/metrics").text.splitlines()
                  if line.startswith("shunt_requests_in_flight")))


def test_a_client_that_does_not_read_stops_the_reading_upstream(single):
    total = 64 << 20
    sent = threading.Event()

    def script(x):
        x.begin_stream()
        text = "x" * 8000
        while x.sent < total:
            x.event(chunk({"content": text}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
        sent.set()
    d, u = single(script, limits={"write_ms": 60000})
    raw = Raw(d, receive_buffer=65536, seconds=60)
    raw.send(chat_bytes(simple_chat("m", stream=True)))
    raw.read_head()
    x = u.chat_exchanges()[0]
    # It settles: what left the upstream no longer grows although it never stops writing.
    seen = []

    def settled():
        seen.append(x.sent)
        return len(seen) > 60 and seen[-1] == seen[-50]
    until("the upstream's output settles", settled, 20, step=0.02)
    assert x.sent < total / 2, "shunt swallowed the stream for a client that does not read"
    assert not sent.is_set()
    # And goes on, with nothing lost, once the client reads.
    length = 0
    for piece in iter(raw.read_chunk, b""):
        length += piece.count(b"x")
    assert sent.is_set()
    assert length >= total * 0.9


def test_a_client_that_never_reads_is_given_up(single):
    def script(x):
        x.begin_stream()
        while True:
            x.event(chunk({"content": "y" * 8000}))
    d, u = single(script, limits={"write_ms": 700})
    raw = Raw(d, receive_buffer=65536)
    raw.send(chat_bytes(simple_chat("m", stream=True)))
    u.wait_chats(1)
    assert u.chat_exchanges()[0].wait_gone(15)
    raw.socket.close()


def test_one_slow_client_does_not_slow_another(single):
    def script(x):
        x.begin_stream()
        if "endless" in x.request.body.decode():
            while True:
                x.event(chunk({"content": "z" * 8000}))
        x.event(chunk({"content": "quick"}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    d, u = single(script, limits={"write_ms": 60000})
    with Raw(d, receive_buffer=65536) as slow:
        slow.send(chat_bytes(simple_chat("m", "endless", stream=True)))
        u.wait_chats(1)
        for _ in range(10):
            r, events = d.stream("m", "short")
            assert r.status_code == 200 and events[-1] == "[DONE]"
