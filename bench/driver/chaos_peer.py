# SPDX-License-Identifier: Apache-2.0
"""The gateways of bench/chaos_peers: how each stands in front of the broken upstreams."""
import json
import os

from . import peers, proc

FIRST_BYTE_S = 1


class _Bench:
    """What a peer of driver/peers.py wants to know of its bench."""

    def __init__(self, build, folder, say):
        self.build, self.dir, self.say = build, folder, say
        self.peers = os.path.join(build, "bench-peers")
        self.upstream_port = 0
        os.makedirs(self.peers, exist_ok=True)


class _ChaosPeer:
    """Mixed into a peer: the same port and process for all scenarios, unless it says otherwise."""
    model = "auto"

    def __init__(self, build, folder, say):
        super().__init__(_Bench(build, folder, say))
        self.plan = None

    def begin(self, plans, upstreams):
        self.plans, self.upstreams = plans, upstreams
        self.run()

    def run(self):
        self.port = peers.free_port()
        log = os.path.join(self.dir, "log")
        self.child = proc.start(self.argv(self.port), log, self.env, self.dir)
        try:
            proc.wait_for(self.is_up, self.start_limit_s, f"a listening {self.name}")
        except TimeoutError as e:
            with open(log, errors="replace") as f:
                raise peers.Skip(f"{e}: {f.read()[-600:].strip()}") from e

    def is_up(self):
        """It takes connections."""
        try:
            peers.socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def enter(self, plan):
        self.plan = plan

    def end(self):
        self.stop()


class Shunt(_ChaosPeer, peers.Shunt):
    config = ("a new daemon for each scenario with its route's options, one gateway, "
              f"first_byte_ms and stall_ms {FIRST_BYTE_S}s")

    def begin(self, plans, upstreams):
        self.plans, self.upstreams = plans, upstreams

    def enter(self, plan):
        self.stop()
        self.plan = plan
        self.run()
        proc.wait_for(lambda: peers.http_status(self.port, "/ready") == 200, 10, "a ready shunt")

    def argv(self, port):
        lines = [f"run_dir: {self.dir}/run{port}", "log: {level: warn}",
                 f"listen: [\"127.0.0.1:{port}\"]", "gateways: 1"]
        if not self.plan.breaker:
            lines.append("breaker: {enabled: no}")
        lines.append("backends:")
        for name, at in self.upstreams.ports(self.plan).items():
            lines.append(f"  - {{name: {name}, url: \"http://127.0.0.1:{at}\", discover: no, probe_ms: 200, "
                         f"prefill: vllm, first_byte_ms: {FIRST_BYTE_S}s, "
                         f"stall_ms: {FIRST_BYTE_S}s}}")
        rows = ", ".join(f"{{backend: {n}}}" for n in self.plan.backends)
        lines += ["models:", f"  - {{name: m, deployments: [{rows}]}}", "routes:",
                  f"  - {{name: auto, models: [m], {self.plan.options}}}"]
        return [self.bin, "-c", self.write(f"{port}.yaml", "\n".join(lines) + "\n")]


class Litellm(_ChaosPeer, peers.Litellm):
    config = (f"{peers.LITELLM}, one worker; num_retries 3, timeout and stream_timeout {FIRST_BYTE_S}s, "
              "allowed_fails 3, cooldown_time 1")

    @property
    def model(self):
        return f"auto-{self.plan.name}"

    def argv(self, port):
        lines = ["model_list:"]
        for plan in self.plans:
            for at in self.upstreams.ports(plan).values():
                lines += [f"  - model_name: auto-{plan.name}", "    litellm_params:",
                          f"      {{model: openai/m, api_base: \"http://127.0.0.1:{at}/v1\", "
                          f"api_key: bench, timeout: {FIRST_BYTE_S}, stream_timeout: {FIRST_BYTE_S}}}"]
        lines += ["litellm_settings: {telemetry: false}",
                  "router_settings: {num_retries: 3, allowed_fails: 3, cooldown_time: 1, "
                  f"timeout: {FIRST_BYTE_S}}}"]
        return [self.bin, "--config", self.write(f"{port}.yaml", "\n".join(lines) + "\n"), "--host",
                "127.0.0.1", "--port", str(port), "--telemetry", "False"]

    def is_up(self):
        return peers.http_status(self.port, "/health/liveliness") == 200


class Portkey(_ChaosPeer, peers.Portkey):
    config = (f"{peers.PORTKEY}, fallback over the upstreams in order, one retry of each, "
              f"request_timeout {FIRST_BYTE_S}s")

    def headers(self):
        targets = [{"provider": "openai", "api_key": "bench", "retry": {"attempts": 1},
                    "custom_host": f"http://127.0.0.1:{at}/v1",
                    "request_timeout": 1000 * FIRST_BYTE_S}
                   for at in self.upstreams.ports(self.plan).values()]
        return {"x-portkey-config": json.dumps({"strategy": {"mode": "fallback"},
                                                "targets": targets})}


ALL = (Shunt, Litellm, Portkey)
