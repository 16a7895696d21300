# SPDX-License-Identifier: Apache-2.0
"""dialects.py - an Ollama and an Anthropic server that answer from recordings."""
import json

from .upstream import Upstream


class Recorded(Upstream):
    """`play(path, file, ...)` decides what a path answers; streams come in small pieces."""

    def __init__(self, wire, **options):
        super().__init__(**options)
        self.wire = wire

    def recording(self, file):
        return (self.wire / file).read_bytes()

    def play(self, path, file, status=200, headers=(), piece=61):
        body = file if isinstance(file, bytes) else self.recording(file)
        kind = "application/json" if isinstance(file, bytes) else {
            "ndjson": "application/x-ndjson", "sse": "text/event-stream"}.get(
                file.rsplit(".")[-1], "application/json")

        def script(x):
            if kind == "application/json":
                return x.reply(body, status, headers)
            x.begin_stream(kind, headers)
            for i in range(0, len(body), piece):
                x.piece(body[i:i + piece])
            return x.end_stream()
        self.other[path] = script


class Ollama(Recorded):
    """Lists and shows what the documentation shows; `models` are renamed into it."""

    def __init__(self, wire, models=("llama3.2:latest",), capabilities=None, **options):
        super().__init__(wire, **options)
        self.play("/api/version", "ollama-docs/version.json")
        tags = json.loads(self.recording("ollama-docs/list-local-models.json"))
        row = tags["models"][0]
        self.play("/api/tags", json.dumps(
            {"models": [{**row, "name": m, "model": m} for m in models]}).encode())
        self.play("/api/ps", b'{"models":[]}')
        show = json.loads(self.recording("ollama-docs/show-model-information.json"))
        if capabilities is not None:
            show["capabilities"] = list(capabilities)
        self.play("/api/show", json.dumps(show).encode())


class Anthropic(Recorded):
    def __init__(self, wire, **options):
        super().__init__(wire, **options)
        self.play("/v1/models?limit=1000",
                  "anthropic/200-v1_models-think-anthropic-list-models-bc1cb0.json")
