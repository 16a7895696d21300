# SPDX-License-Identifier: Apache-2.0
"""What is measured: how each proxy is configured, installed and started."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys

from . import proc

PORTKEY = "@portkey-ai/gateway@1.15.2"
LITELLM = "litellm[proxy]==1.106.2"


class Skip(Exception):
    """This peer can't be measured here; the text says why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, headers, model="bench"):
    """One chat request; True when the mock's answer comes back."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request("POST", "/v1/chat/completions",
                  json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}),
                  {"Content-Type": "application/json", "Authorization": "Bearer bench", **headers})
        r = c.getresponse()
        return r.status == 200 and b"pong-1k" in r.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        c.close()


def http_status(port, path):
    """Of a GET; 0: no answer."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request("GET", path)
        return c.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        c.close()


class Peer:
    """One proxy in front of the mock upstream."""
    name = "?"
    start_limit_s = 20
    low_rates = (500,)      # requests/s of the open-loop run
    streams = 200
    cold_starts = 5
    config = ""             # one line for people
    env = {}

    def __init__(self, bench):
        self.bench = bench
        self.child = None
        self.port = None
        self.dir = os.path.join(bench.dir, self.name)
        os.makedirs(self.dir)

    def prepare(self):
        """Find or install it; Skip where that can't be."""

    def version(self):
        return ""

    def argv(self, port):
        """Write the configuration for this port and return the command."""
        raise NotImplementedError

    def headers(self):
        return {}

    def load_args(self):
        return [a for k, v in self.headers().items() for a in ("-H", f"{k}: {v}")]

    def start(self):
        self.port = free_port()
        log = os.path.join(self.dir, "log")
        self.child = proc.start(self.argv(self.port), log, self.env, self.dir)

        def answers():
            if self.child.poll() is not None:
                with open(log, errors="replace") as f:
                    raise Skip(f"{self.name} ended by itself: {f.read()[-600:].strip()}")
            return ask(self.port, self.headers())

        try:
            proc.wait_for(answers, self.start_limit_s, f"first answer of {self.name}")
        except TimeoutError as e:
            raise Skip(str(e)) from e

    def pids(self):
        return proc.tree(self.child.pid) if self.child else {}

    def stop(self):
        if self.child:
            proc.stop(self.child)
            self.child = None

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path


class Direct(Peer):
    name = "direct"
    low_rates = (500, 100)
    cold_starts = 0
    config = "no proxy: the load generator on the mock upstream"

    def start(self):
        self.port = self.bench.upstream_port


def _program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Skip(f"{name} is not installed")
    return path


def _output(argv):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return p.stdout.strip()


class Nginx(Peer):
    name = "nginx"
    config = "worker_processes auto, upstream keepalive, proxy_buffering off"

    def prepare(self):
        self.bin = _program("nginx")

    def version(self):
        return _output([self.bin, "-v"]).rpartition("/")[2]

    def argv(self, port):
        path = self.write(f"{port}.conf", f"""
user root;
worker_processes auto;
daemon off;
pid {self.dir}/{port}.pid;
error_log {self.dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {self.dir}/body;
    proxy_temp_path {self.dir}/proxy;
    fastcgi_temp_path {self.dir}/fastcgi;
    uwsgi_temp_path {self.dir}/uwsgi;
    scgi_temp_path {self.dir}/scgi;
    keepalive_requests 100000000;
    upstream mock {{
        server 127.0.0.1:{self.bench.upstream_port};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
""")
        return [self.bin, "-p", self.dir, "-c", path]


class Haproxy(Peer):
    name = "haproxy"
    config = "nbthread auto, http-reuse always, http-no-delay"

    def prepare(self):
        self.bin = _program("haproxy")

    def version(self):
        return _output([self.bin, "-v"]).split()[2]

    def argv(self, port):
        path = self.write(f"{port}.cfg", f"""
global
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-no-delay
    http-reuse always
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server mock 127.0.0.1:{self.bench.upstream_port}
""")
        return [self.bin, "-db", "-f", path]


class Shunt(Peer):
    name = "shunt"
    config = "2 gateways, 3 backends, profiler"
    settings = {}   # extra top-level keys, from --set

    def prepare(self):
        self.bin = os.path.join(self.bench.build, "shuntd")
        if not os.access(self.bin, os.X_OK):
            raise Skip(f"{self.bin} is not built (./bootstrap build, or --build DIR)")

    def version(self):
        return _output([self.bin, "--version"]).split()[-1]

    def argv(self, port):
        url = f"http://127.0.0.1:{self.bench.upstream_port}"
        run_dir = os.path.join(self.dir, f"run{port}")
        settings = {"gateways": 2, "discover_local": "no", **self.settings}
        lines = [f"run_dir: {run_dir}", "log:", "  level: warn", "listen:", f"  - 127.0.0.1:{port}"]
        lines += [f"{k}: {v}" for k, v in settings.items()]
        lines += ["backends:"]
        for name in ("first", "second", "third"):
            lines += [f"  - name: {name}", "    kind: openai", f"    url: {url}",
                      "    discover: no", "    max_in_flight: 1000"]
        lines += ["models:", "  - name: bench", "    deployments:"]
        for name in self.bench.shunt_backends:
            lines += [f"      - backend: {name}", "        model: bench"]
        lines += ["routes:", "  - name: auto", "    models: [bench]"]
        return [self.bin, "-c", self.write(f"{port}.yaml", "\n".join(lines) + "\n")]


class Portkey(Peer):
    name = "portkey"
    config = f"{PORTKEY}, node, one process"
    low_rates = (500, 100)
    cold_starts = 3
    # Stock 1.15.2 answers 500 to every stream on node 20 ("TypeError: immutable"): it changes the
    # headers of a fetch() response. The patch gives streams a response that may be changed.
    stock = "this.updateHeaders(i,n.cacheStatus,o)"
    patched = ("this.updateHeaders(i=this.context.isStreaming?new Response(i.body,i):i,"
               "n.cacheStatus,o)")

    def prepare(self):
        node, npm = _program("node"), _program("npm")
        home = os.path.join(self.bench.peers, "portkey")
        build = os.path.join(home, "node_modules/@portkey-ai/gateway/build")
        if not os.path.exists(os.path.join(build, "start-server.js")):
            os.makedirs(home, exist_ok=True)
            self.bench.say(f"installing {PORTKEY}")
            _install([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix",
                      home, PORTKEY], home)
        with open(os.path.join(build, "start-server.js")) as f:
            text = f.read()
        if text.count(self.stock) != 1:
            raise Skip(f"{PORTKEY} does not look as expected: no place for the streaming patch")
        self.script = os.path.join(build, "start-server-bench.js")
        with open(self.script, "w") as f:
            f.write(text.replace(self.stock, self.patched))
        self.node = node

    def version(self):
        return f"{PORTKEY.rpartition('@')[2]} (streams patched), node {_output([self.node, '-v'])}"

    def argv(self, port):
        return [self.node, self.script, f"--port={port}", "--headless"]

    def headers(self):
        return {"x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{self.bench.upstream_port}/v1"}


class Litellm(Peer):
    name = "litellm"
    config = "litellm[proxy], one worker, no database, no keys"
    low_rates = (50,)       # 100/s is close to what one worker can do
    streams = 20
    cold_starts = 1
    start_limit_s = 60
    env = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
           "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION",
           "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}

    def prepare(self):
        home = os.path.join(self.bench.peers, "litellm")
        self.bin = os.path.join(home, "bin/litellm")
        if not os.path.exists(self.bin):
            self.bench.say(f"installing {LITELLM} (a minute)")
            _install([sys.executable, "-m", "venv", home], self.bench.peers)
            _install([os.path.join(home, "bin/pip"), "install", "-q", LITELLM], home)

    def version(self):
        return LITELLM.rpartition("=")[2]

    def argv(self, port):
        path = self.write(f"{port}.yaml", f"""
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{self.bench.upstream_port}/v1
      api_key: bench
litellm_settings:
  telemetry: false
  num_retries: 0
""")
        return [self.bin, "--config", path, "--host", "127.0.0.1", "--port", str(port),
                "--telemetry", "False"]


def _install(argv, cwd):
    try:
        p = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Skip(f"can't install: {e}") from e
    if p.returncode != 0:
        raise Skip(f"can't install: {p.stdout.strip()[-300:]}")


ALL = (Direct, Nginx, Haproxy, Shunt, Portkey, Litellm)
