# SPDX-License-Identifier: Apache-2.0
"""upstream.py - a model server that does exactly what a test scripts, and remembers every byte.

A script is a function of one Exchange; it sends what it likes through it. Without a script an
upstream behaves as a small OpenAI-compatible server.
"""
import json
import select
import socket
import threading
from dataclasses import dataclass, field

from .paths import SLOW
from .wait import until


@dataclass
class Request:
    method: str
    path: str
    headers: list  # (name as sent, value)
    body: bytes
    connection: int

    def header(self, name):
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def json(self):
        return json.loads(self.body)


class PeerGone(Exception):
    pass


@dataclass
class Exchange:
    """One request and the connection to answer it on."""

    request: Request
    socket: socket.socket
    stopping: threading.Event
    sent: int = 0
    chunked: bool = False
    peer_closed: threading.Event = field(default_factory=threading.Event)

    def send(self, data):
        try:
            self.socket.sendall(data)
            self.sent += len(data)
        except OSError:
            self.peer_closed.set()
            raise PeerGone from None

    def head(self, status=200, headers=(), content_type="application/json"):
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Type: {content_type}"]
        lines += [f"{n}: {v}" for n, v in headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def reply(self, body, status=200, headers=(), content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, [*headers, ("Content-Length", len(data))], content_type)
        self.send(data)

    def begin_stream(self, content_type="text/event-stream", headers=()):
        self.chunked = True
        self.head(200, [*headers, ("Transfer-Encoding", "chunked")], content_type)

    def piece(self, data):
        """One chunk of a stream."""
        if data:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, value):
        text = value if isinstance(value, str) else json.dumps(value)
        self.piece(f"data: {text}\n\n".encode())

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def gone(self):
        """Whether the peer has closed its side."""
        if self.peer_closed.is_set():
            return True
        try:
            ready, _, _ = select.select([self.socket], [], [], 0)
            if ready and self.socket.recv(1, socket.MSG_PEEK) == b"":
                self.peer_closed.set()
        except OSError:
            self.peer_closed.set()
        return self.peer_closed.is_set()

    def wait_gone(self, seconds=30):
        """Hang until the peer leaves; True if it did."""
        for _ in range(int(seconds * SLOW * 50)):
            if self.gone() or self.stopping.wait(0.02):
                break
        return self.peer_closed.is_set()

    def hang(self):
        self.wait_gone(120)
        raise PeerGone

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()
        raise PeerGone

    def cut(self):
        """Close in the middle."""
        raise PeerGone


def chunk(delta, finish=None, model="m", **more):
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def completion(text, model="m", **more):
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                         "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, **more}


def answer(text="hello from upstream"):
    """Script: answer a chat with the text, streamed word by word where that is asked for."""
    def script(x):
        body = x.request.json()
        if not body.get("stream"):
            return x.reply(completion(text, body.get("model")))
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": ""}, model=body.get("model")))
        for word in text.split(" "):
            x.event(chunk({"content": word + " "}, model=body.get("model")))
        x.event(chunk({}, "stop", model=body.get("model")))
        if (body.get("stream_options") or {}).get("include_usage"):
            x.event({**chunk({}), "choices": [], "usage": completion("")["usage"]})
        x.event("[DONE]")
        return x.end_stream()
    return script


def fail(status, kind="server_error", message="scripted failure", headers=(), code=None):
    """Script: an OpenAI-shaped error."""
    return lambda x: x.reply({"error": {"message": message, "type": kind, "param": None,
                                        "code": code}}, status, headers)


class Upstream:
    """`tls` is an ssl.SSLContext of a server; `host` may be an IPv6 address."""

    def __init__(self, models=("m",), chat=None, tls=None, host="127.0.0.1", port=0):
        self.models = list(models)
        self.tls = tls
        self.host = host
        self.chat = chat or answer()
        self.other = {}  # path -> script
        self.requests = []
        self.exchanges = []
        self.connections = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=256)
        self.port = self.listener.getsockname()[1]
        self.open = set()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    # ---- what tests ask

    def chats(self, path="/v1/chat/completions"):
        with self.lock:
            return [r for r in self.requests if r.path == path and r.method == "POST"]

    def chat_exchanges(self, path="/v1/chat/completions"):
        with self.lock:
            return [x for x in self.exchanges if x.request.path == path]

    def wait_chats(self, n, seconds=10, path="/v1/chat/completions"):
        until(f"{n} requests reached the upstream", lambda: len(self.chats(path)) >= n, seconds)
        return self.chats(path)

    # ---- serving

    def _accept(self):
        while not self.stopping.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            if self.tls:
                peer = self.tls.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
            with self.lock:
                self.connections += 1
                number = self.connections
                self.open.add(peer)
            threading.Thread(target=self._serve, args=(peer, number), daemon=True).start()

    def _serve(self, peer, number):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls:
                peer.do_handshake()
            pending = b""
            while not self.stopping.is_set():
                request, pending = self._read_request(peer, pending, number)
                if request is None:
                    break
                x = Exchange(request, peer, self.stopping)
                with self.lock:
                    self.requests.append(request)
                    self.exchanges.append(x)
                self._script(request)(x)
        except (PeerGone, OSError):
            pass
        finally:
            with self.lock:
                self.open.discard(peer)
            peer.close()

    @staticmethod
    def _read_request(peer, pending, number):
        def more():
            nonlocal pending
            piece = peer.recv(1 << 20)
            pending += piece
            return bool(piece)
        while b"\r\n\r\n" not in pending:
            if not more():
                return None, b""
        head, _, pending = pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [tuple(s.strip() for s in line.split(":", 1)) for line in lines]
        names = {n.lower(): v for n, v in headers}
        if names.get("expect", "").lower() == "100-continue":
            peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if names.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                while b"\r\n" not in pending:
                    if not more():
                        return None, b""
                size, _, pending = pending.partition(b"\r\n")
                size = int(size, 16)
                while len(pending) < size + 2:
                    if not more():
                        return None, b""
                body, pending = body + pending[:size], pending[size + 2:]
                if size == 0:
                    break
        else:
            length = int(names.get("content-length", 0))
            pieces, have = [pending], len(pending)
            while have < length:
                piece = peer.recv(1 << 20)
                if not piece:
                    return None, b""
                pieces.append(piece)
                have += len(piece)
            whole = b"".join(pieces)
            body, pending = whole[:length], whole[length:]
        method, path, _ = first.split(" ", 2)
        return Request(method, path, headers, body, number), pending

    def _script(self, request):
        if request.path in self.other:
            return self.other[request.path]
        if request.method == "GET" and request.path == "/v1/models":
            rows = [{"id": m, "object": "model", "created": 1, "owned_by": "tests"}
                    for m in self.models]
            return lambda x: x.reply({"object": "list", "data": rows})
        if request.method == "GET" and request.path == "/health":
            return lambda x: x.reply({"status": "ok"})
        if request.method == "POST" and request.path == "/v1/chat/completions":
            return self.chat
        if request.method == "POST" and request.path == "/v1/embeddings":
            return lambda x: x.reply({
                "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]})
        return fail(404, "invalid_request_error", "no such path")

    def stop(self):
        self.stopping.set()
        self.listener.close()
        with self.lock:
            left = list(self.open)
        for peer in left:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
