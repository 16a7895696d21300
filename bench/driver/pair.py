# SPDX-License-Identifier: Apache-2.0
"""Daemons that differ in one thing, measured in interleaved rounds."""
import statistics

from . import peers

# Victim and other have a worker each; requests for `bench` never go to victim.
BACKENDS = ("victim", "other")


class Daemon(peers.Shunt):
    """One gateway, two backends on the mock upstream, models `bench` (other) and `victim`."""
    settings = {}

    def __init__(self, bench, name, build=None):
        self.name = name
        super().__init__(bench)
        self.build = build or bench.build

    def prepare(self):
        self.bin = f"{self.build}/shuntd"

    def argv(self, port):
        url = f"http://127.0.0.1:{self.bench.upstream_port}"
        lines = [f"run_dir: {self.dir}/run", "log: {level: error}", f"listen: [\"127.0.0.1:{port}\"]",
                 "gateways: 1", "heartbeat_ms: 600000", "backends:"]
        for name in BACKENDS:
            lines.append(f"  - {{name: {name}, url: \"{url}\", discover: no, max_in_flight: 1000, "
                         "first_byte_ms: 1s, stall_ms: 1s}")
        lines += ["models:", "  - {name: bench, deployments: [{backend: other}]}",
                  "  - {name: victim, deployments: [{backend: victim, model: bench}]}"]
        lines += [f"{k}: {v}" for k, v in self.settings.items()]
        return [self.bin, "-c", self.write("shunt.yaml", "\n".join(lines) + "\n")]

    def answers(self, model):
        return peers.ask(self.port, {}, model)

    @property
    def socket(self):
        return f"{self.dir}/run/shunt.sock"


def ratios(rounds, name, base, key):
    """Of name to base within each round: (median, least, most) as percent more than base."""
    more = sorted(100 * (r[name][key] / r[base][key] - 1) for r in rounds)
    return statistics.median(more), more[0], more[-1]


def median(rounds, name, key):
    return statistics.median(r[name][key] for r in rounds)
