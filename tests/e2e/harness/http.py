# SPDX-License-Identifier: Apache-2.0
"""http.py - HTTP/1.1 by hand, for bytes that a proper client would never send."""
import json
import socket

from .paths import SLOW


class Raw:
    """One connection. Every read has a deadline."""

    def __init__(self, daemon=None, path=None, seconds=10, receive_buffer=None):
        family = socket.AF_UNIX if path else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds * SLOW)
        self.socket.connect(path or ("127.0.0.1", daemon.port))
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def fill(self):
        piece = self.socket.recv(65536)
        self.pending += piece
        return bool(piece)

    def read_all(self):
        """Everything until the peer closes."""
        try:
            while self.fill():
                pass
        except ConnectionResetError:
            pass
        data, self.pending = self.pending, b""
        return data

    def closed(self):
        """True once the peer has closed and nothing is unread; fails at the deadline."""
        return self.read_all() == b""

    def read_head(self):
        """(status, headers with lower-case names)."""
        while b"\r\n\r\n" not in self.pending:
            if not self.fill():
                raise AssertionError(f"closed within the head: {self.pending!r}")
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        assert first.startswith("HTTP/1.1 "), first
        return int(first.split()[1]), headers

    def read_exact(self, n):
        while len(self.pending) < n:
            if not self.fill():
                raise AssertionError(f"closed after {len(self.pending)} of {n} bytes")
        data, self.pending = self.pending[:n], self.pending[n:]
        return data

    def read_line(self):
        while b"\r\n" not in self.pending:
            if not self.fill():
                raise AssertionError("closed within a line")
        line, _, self.pending = self.pending.partition(b"\r\n")
        return line

    def read_chunk(self):
        """One chunk of a chunked body; b"" is the last."""
        size = int(self.read_line().split(b";")[0], 16)
        data = self.read_exact(size)
        if size:
            assert self.read_exact(2) == b"\r\n"
        else:
            while self.read_line():
                pass  # trailers
        return data

    def read_body(self, status, headers, method="GET"):
        if method == "HEAD" or status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self.read_chunk, b""))
        if "content-length" in headers:
            return self.read_exact(int(headers["content-length"]))
        return self.read_all()

    def response(self, method="GET"):
        """(status, headers, body) of the next answer; interim 1xx answers are skipped."""
        status, headers = self.read_head()
        while status < 200:
            status, headers = self.read_head()
        return status, headers, self.read_body(status, headers, method)


def chat_bytes(body, path="/v1/chat/completions", headers=()):
    """A whole chat request as bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: shunt", "Content-Type: application/json",
            f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def simple_chat(model="auto", text="Hi.", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def get_bytes(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: shunt", *headers, "", ""]).encode()


def error_of(body):
    """The error object of an OpenAI-shaped error body, its shape checked."""
    value = json.loads(body)
    error = value["error"]
    assert set(value) == {"error"}, value
    assert isinstance(error["message"], str) and error["message"], error
    assert isinstance(error["type"], str) and error["type"], error
    assert "code" in error and "param" in error, error
    return error
