# SPDX-License-Identifier: Apache-2.0
"""nginx.py - nginx with HTTP/2 over TLS in front of a scripted upstream."""
import socket
import subprocess

from .paths import NGINX
from .ports import free_port
from .wait import until

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 1024; }}
http {{
  log_format plain '$connection $connection_requests $server_protocol $status $request_uri';
  access_log {folder}/access.log plain;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  client_max_body_size 64m;
  keepalive_requests 100000;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {pem};
    ssl_certificate_key {key};
    http2_max_concurrent_streams {streams};
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""


class Nginx:
    """Started at once, in front of the port `upstream`; certificate and key are paths."""

    def __init__(self, folder, upstream, certificate, streams=256):
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(CONFIG.format(
            folder=folder, port=self.port, upstream=upstream, streams=streams,
            pem=certificate[0], key=certificate[1], user="user root;"))
        self.process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-e", str(folder / "error.log"),
             "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        until("nginx listens", self._listens)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def _listens(self):
        assert self.process.poll() is None, (self.folder / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def served(self, path="/v1/chat/completions"):
        """(connection, protocol, status) of the requests of a path, in the order they ended."""
        log = self.folder / "access.log"
        rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(int(r[0]), r[2], int(r[3])) for r in rows if r[4] == path]

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
