# SPDX-License-Identifier: Apache-2.0
"""Recorded provider traffic, replayed by a scripted upstream through the whole daemon."""
import json

import pytest
from harness.daemon import Daemon, model
from harness.paths import DATA
from harness.upstream import Upstream

CHAT = {"/v1/chat/completions": "openai", "/chat/completions": "openai", "/v1/messages": "anthropic",
        "/api/chat": "ollama", "/openai/v1/chat/completions": "openai",
        "/api/v1/chat/completions": "openai"}


def recordings():
    index = DATA / "wire/index.jsonl"
    if not index.exists():
        return []
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    return [r for r in rows if r["method"] == "POST" and r["path"].split("?")[0] in CHAT]


ROWS = recordings()


@pytest.fixture(scope="module")
def replay():
    """ask(row) -> httpx response; one daemon and one upstream per API kind for all recordings."""
    if not ROWS:
        pytest.skip("no ../shared/data/wire beside the project: recordings are not tested")
    current = {}

    def script(x):
        row = current["row"]
        body = (DATA / "wire" / row["file"]).read_bytes()
        keep = ("retry-after", "x-request-id")
        headers = [(k, v) for k, v in row.get("response_headers", {}).items() if k.lower() in keep]
        if "sse" in row["features"] or "ndjson" in row["features"]:
            x.chunked = True
            x.head(row["status"], [*headers, ("Transfer-Encoding", "chunked")],
                   row["content_type"])
            for i in range(0, len(body), 97):
                x.piece(body[i:i + 97])
            return x.end_stream()
        return x.reply(body, row["status"], headers, row["content_type"])

    u = Upstream(models=["m"], chat=script)
    u.other = {"/v1/messages": script, "/api/chat": script}
    kinds = sorted(set(CHAT.values()))
    d = Daemon({"backends": [{"name": k, "kind": k, "url": u.url, "probe_ms": 60000,
                              "discover": "no"} for k in kinds],
                "models": [model(k, k, upstream="m", tools="yes", vision="yes", json="yes")
                           for k in kinds],
                # recorded errors, one after the other, would take a backend out
                "breaker": {"enabled": False}}, wait_ready=False)
    d.allow(".*")
    from harness.wait import until
    until("it serves", lambda: healthy(d))

    def ask(row, stream):
        current["row"] = row
        name = CHAT[row["path"].split("?")[0]]
        return d, name, stream
    yield ask
    d.stop()
    u.stop()


def healthy(d):
    import httpx
    try:
        return d.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["file"])
def test_recording(replay, row):
    stream = "sse" in row["features"] or "ndjson" in row["features"]
    d, name, stream = replay(row, stream)
    before = d.workers()
    if row["status"] >= 400:
        r = d.chat(name)
        assert 400 <= r.status_code < 600
        error = r.json()["error"]
        # The upstream's own words, in OpenAI's shape whatever shape they came in.
        assert error["message"] and isinstance(error["type"], str), error
        assert "param" in error and (error["code"] is None or isinstance(error["code"], str)), error
        if row["status"] == 429:
            assert r.status_code == 429
    elif stream:
        r, events = d.stream(name)
        assert r.status_code == 200, events
        assert events, "an empty stream"
        values = [json.loads(e) for e in events if e != "[DONE]"]
        broken = [v for v in values if "error" in v]
        if not broken:
            assert events[-1] == "[DONE]"
            assert all("choices" in v for v in values)
    else:
        r = d.chat(name)
        assert r.status_code == 200, r.text
        assert r.json()["choices"] is not None
    assert d.workers() == before, "a worker died of the recording"
