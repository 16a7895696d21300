# SPDX-License-Identifier: Apache-2.0
"""proxy.py - an HTTP proxy: forwards absolute URLs, tunnels CONNECT, remembers what was asked."""
import select
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    def __init__(self, refuse=None):
        self.refuse = refuse  # status line to answer everything with
        self.seen = []  # (method, target, headers)
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def methods(self):
        with self.lock:
            return [m for m, _, _ in self.seen]

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            head, rest = self._read_head(peer)
            if head is not None:
                self._pass_on(peer, head, rest)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(peer)
            peer.close()

    @staticmethod
    def _read_head(peer, data=b""):
        while b"\r\n\r\n" not in data:
            piece = peer.recv(65536)
            if not piece:
                return None, b""
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.decode("latin-1"), rest

    def _pass_on(self, peer, head, rest):
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        with self.lock:
            self.seen.append((method, target, lines))
        if self.refuse:
            peer.sendall(f"HTTP/1.1 {self.refuse}\r\nContent-Length: 0\r\n"
                         "Connection: close\r\n\r\n".encode())
            return
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as up:
                peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pump(peer, up, rest)
            return
        self._forward(peer, head, rest)

    def _forward(self, peer, head, rest):
        """Request after request of one connection to one server."""
        server = urlsplit(head.split(" ")[1])
        with socket.create_connection((server.hostname, server.port or 80)) as up:
            threading.Thread(target=self._pump_back, args=(up, peer), daemon=True).start()
            while head is not None:
                first, *lines = head.split("\r\n")
                method, target, _ = first.split(" ")
                url = urlsplit(target)
                assert url.netloc == server.netloc, f"not for {server.netloc}: {first}"
                path = url.path + ("?" + url.query if url.query else "")
                kept = [line for line in lines if not line.lower().startswith("proxy-")]
                up.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *kept]).encode("latin-1")
                           + b"\r\n\r\n")
                length = next((int(line.split(":")[1]) for line in lines
                               if line.lower().startswith("content-length:")), 0)
                while length > len(rest):
                    up.sendall(rest)
                    length -= len(rest)
                    rest = peer.recv(1 << 16)
                    if not rest:
                        return
                up.sendall(rest[:length])
                head, rest = self._read_head(peer, rest[length:])
                if head is not None:
                    with self.lock:
                        self.seen.append((*head.split(" ")[:2], head.split("\r\n")[1:]))
            up.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pump_back(up, peer):
        try:
            while data := up.recv(1 << 16):
                peer.sendall(data)
            peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    @staticmethod
    def _pump(a, b, first):
        b.sendall(first)
        while True:
            ready, _, _ = select.select([a, b], [], [], 60)
            if not ready:
                return
            for s in ready:
                data = s.recv(1 << 16)
                if not data:
                    return
                (b if s is a else a).sendall(data)

    def stop(self):
        self.listener.close()
        with self.lock:
            left = list(self.open)
        for peer in left:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
