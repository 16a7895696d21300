# SPDX-License-Identifier: Apache-2.0
"""A model server that breaks on purpose: OpenAI's API over raw sockets, the lines of `shunt fault`
carried out on its n-th call. What it says depends on the prompt alone."""
import hashlib
import json
import random
import re
import socket
import struct
import threading
import time

WORDS = ("amber birch cedar delta ember fjord grove heath inlet jetty knoll larch marsh north ocean "
         "pearl quartz reef shoal tide umber vale wharf yarrow zephyr").split()
TOKENS = 16
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def pieces(prompt):
    """What is said to a prompt, token by token."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return [WORDS[b % len(WORDS)] + (" " if i + 1 < TOKENS else "") for i, b in
            enumerate(digest[:TOKENS])]


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h|)", text).groups()
    return float(number) * UNITS[unit or "ms"]


class Rule:
    """One line of a scenario: when it meets a call, and how."""

    def __init__(self, line, now, stretch):
        self.line = line
        self.kind, *rest = line.split()
        self.says = dict(r.split("=", 1) for r in rest)
        self.until = now + seconds(self.says["for"]) * stretch if "for" in self.says else None
        self.calls = 0

    def is_over(self):
        return self.until is not None and time.monotonic() > self.until

    def meets(self):
        """Draw for a call: the n-th draw depends on seed and n alone."""
        if self.is_over():
            return False
        self.calls += 1
        if "every" in self.says:
            return self.calls % int(self.says["every"]) == 0
        share = float(self.says.get("probability", 1))
        return random.Random(f"{self.says.get('seed', 1)}-{self.calls}").random() < share

    def count(self, name, default):
        return int(self.says.get(name, default))

    def time(self, name, default):
        return seconds(self.says.get(name, default))


class Dead(Exception):
    """The connection is to be left as it is."""


class Server:
    """One upstream on a port of its own."""

    def __init__(self, name):
        self.name = name
        self.rules, self.by_prompt = [], {}
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.listener = self.listen(0)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    @staticmethod
    def listen(port):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen(128)
        s.settimeout(0.02)
        return s

    def reset(self):
        with self.lock:
            self.rules, self.by_prompt = [], {}

    def add(self, line, stretch):
        with self.lock:
            self.rules.append(Rule(line, time.monotonic(), stretch))

    def refuses(self):
        with self.lock:
            return any(r.kind == "refuse" and not r.is_over() for r in self.rules)

    def accept(self):
        while not self.stopped.is_set():
            if self.refuses() and self.listener is not None:
                self.listener.close()
                self.listener = None
            if self.listener is None:
                time.sleep(0.01)
                if not self.refuses():
                    self.listener = self.listen(self.port)
                continue
            try:
                conn, _ = self.listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def stop(self):
        self.stopped.set()
        self.thread.join()
        if self.listener is not None:
            self.listener.close()

    # ---- one call

    def serve(self, conn):
        conn.settimeout(30)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            head, body = self.read(conn)
            if head.startswith("GET "):
                self.answer(conn, 200, json.dumps({"object": "list", "data": [
                    {"id": "m", "object": "model"}]}).encode())
            else:
                Call(conn, json.loads(body)).play(self.fault(json.loads(body)))
        except (OSError, Dead, ValueError):
            pass
        finally:
            conn.close()

    @staticmethod
    def read(conn):
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                raise Dead
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.I)
        while length and len(body) < int(length.group(1)):
            body += conn.recv(65536)
        return head.decode(), body

    @staticmethod
    def answer(conn, status, body, extra=""):
        conn.sendall(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     f"{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def fault(self, body):
        prompt = next(m["content"] for m in body["messages"] if m["role"] == "user")
        with self.lock:
            own = self.by_prompt.get(prompt)
            if own is not None:
                return own
            for rule in self.rules:
                if rule.kind != "refuse" and rule.meets():
                    return rule
        return None


class Call:
    """One completion, whole or as a stream, as far as a fault lets it through."""

    def __init__(self, conn, body):
        self.conn = conn
        self.stream = body.get("stream", False)
        messages = body["messages"]
        self.said = pieces(next(m["content"] for m in messages if m["role"] == "user"))
        if body.get("continue_final_message") and messages[-1]["role"] == "assistant":
            begun = messages[-1]["content"]
            text = "".join(self.said)
            if text.startswith(begun):
                self.said = re.findall(r"\S+\s*|\s+", text[len(begun):])
        self.step = None  # (bytes, seconds) of a drip

    def play(self, rule):
        kind = rule.kind if rule else ""
        act = getattr(self, "do_" + kind, None)
        if kind and act is None:
            raise SystemExit(f"no such fault here: {rule.line}")
        if act is not None:
            act(rule)
        self.send_all(rule)

    def send(self, data):
        if self.step is None:
            self.conn.sendall(data)
            return
        for i in range(0, len(data), self.step[0]):
            self.conn.sendall(data[i:i + self.step[0]])
            time.sleep(self.step[1])

    def abort(self):
        self.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Dead

    def wait_for_client(self):
        self.conn.settimeout(30)
        try:
            while self.conn.recv(4096):
                pass
        except OSError:
            pass
        raise Dead

    # ---- before the answer

    def do_status(self, rule):
        self.refuse(rule.count("status", 503), "")

    def do_rate_limit(self, rule):
        self.refuse(429, f"Retry-After: {int(rule.time('retry_after', '1s'))}\r\n")

    def refuse(self, status, extra):
        error = {"error": {"message": "broken on purpose", "type": "server_error", "code": "fault"}}
        Server.answer(self.conn, status, json.dumps(error).encode(), extra)
        raise Dead

    def do_reset(self, _):
        self.abort()

    def do_garbage(self, _):
        self.conn.sendall(bytes(range(128, 256)) * 2)
        raise Dead

    def do_hang(self, _):
        self.wait_for_client()

    def do_delay(self, rule):
        time.sleep(max(0, random.gauss(rule.time("time", "0"), rule.time("spread", "0"))))

    def do_drip(self, rule):
        self.step = (rule.count("bytes", 64), rule.time("time", "5ms"))

    # those within the answer act in break_stream and break_whole
    do_cut = do_reset_body = do_stall = do_bad_json = do_bad_event = do_wrong_length = \
        do_duplicate_event = lambda self, _: None

    # ---- the answer

    def send_all(self, rule):
        time.sleep(0.002)
        if self.stream:
            self.send_stream(rule)
        else:
            self.send_whole(rule)

    def chunk(self, delta, finish=None):
        data = json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                           "model": "m", "choices": [{"index": 0, "delta": delta,
                                                      "finish_reason": finish}]})
        return f"data: {data}\n\n".encode()

    def event(self, data):
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def send_stream(self, rule):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        after = rule.count("tokens", 1) if rule else None
        for i, piece in enumerate(self.said):
            if i == after:
                self.break_stream(rule, piece)
            self.event(self.chunk({"role": "assistant", "content": piece}))
            time.sleep(0.0005)
        self.event(self.chunk({}, "stop"))
        self.event(b"data: [DONE]\n\n")
        self.send(b"0\r\n\r\n")

    def break_stream(self, rule, piece):
        if rule.kind == "cut":
            raise Dead
        if rule.kind == "reset_body":
            self.abort()
        if rule.kind == "stall":
            self.wait_for_client()
        if rule.kind == "bad_json":
            self.event(self.chunk({"content": piece})[:40] + b"\n\n")
        if rule.kind == "bad_event":
            self.event(b"<html><body>502 Bad Gateway</body></html>\n\n")
            raise Dead
        if rule.kind == "duplicate_event":
            self.event(self.chunk({"content": piece}))

    def send_whole(self, rule):
        body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
                           "choices": [{"index": 0, "finish_reason": "stop", "message": {
                               "role": "assistant", "content": "".join(self.said)}}],
                           "usage": {"prompt_tokens": 9, "completion_tokens": TOKENS,
                                     "total_tokens": 9 + TOKENS}}).encode()
        kind = rule.kind if rule else ""
        at = rule.count("bytes", 4 * rule.count("tokens", 5)) if rule else 0
        length = len(body)
        if kind == "wrong_length":
            length -= at
        if kind in ("bad_json", "bad_event"):
            body = body[:at] if kind == "bad_json" else b"<html><body>502 Bad Gateway</body></html>"
            length = len(body)
        self.send(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                  f"Content-Length: {length}\r\n\r\n".encode())
        self.send(body[:at] if kind in ("cut", "reset_body", "stall") else body)
        if kind == "reset_body":
            self.abort()
        if kind == "stall":
            self.wait_for_client()
