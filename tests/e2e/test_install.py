# SPDX-License-Identifier: Apache-2.0
"""What is shipped besides the programs: units, examples, man pages, completion, bootstrap."""
import os
import re
import shutil
import subprocess

import pytest
from harness.paths import BUILD, ROOT


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60,
                          cwd=ROOT, **options)


def unit(tmp_path, name):
    """A copy of a unit whose program exists on this machine."""
    text = (ROOT / "systemd" / name).read_text()
    text = re.sub(r"/usr(/local)?/s?bin/shuntd", str((BUILD / "shuntd").resolve()), text)
    copy = tmp_path / name
    copy.write_text(text)
    return copy


def test_systemd_units_are_valid(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    units = [unit(tmp_path, n) for n in ("shunt.service", "shunt.socket")]
    done = run("systemd-analyze", "verify", "--man=no", *units)
    ours = [line for line in done.stderr.splitlines() if "shunt." in line]
    assert done.returncode == 0 and not ours, done.stderr


def test_the_service_is_hardened(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    done = run("systemd-analyze", "security", "--offline=true", unit(tmp_path, "shunt.service"))
    level = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert level, done.stdout[-500:] + done.stderr
    assert float(level.group(1)) <= 3.0, done.stdout


def test_what_the_service_keeps_outlives_it():
    """systemd clears a runtime folder at each stop and crash unless told otherwise: records wait
    there. And the example for systemd keeps its journal elsewhere, where StateDirectory is."""
    text = (ROOT / "systemd" / "shunt.service").read_text()
    assert "RuntimeDirectoryPreserve=yes" in text.splitlines()
    lab = (ROOT / "config" / "lab.yaml").read_text()
    assert re.search(r"^run_dir: /run/shunt$", lab, re.M)
    assert re.search(r"^state_dir: /var/lib/shunt\b", lab, re.M)
    if "unix:/run/shunt/" in lab:  # for others, who must be able to get there
        assert "RuntimeDirectoryMode=0755" in text.splitlines()


def test_the_socket_unit_is_asked_for_by_hand():
    """Its address is that of few configs; with any other one of the same port nothing would start."""
    assert "Also=" not in (ROOT / "systemd" / "shunt.service").read_text()
    socket = (ROOT / "systemd" / "shunt.socket").read_text()
    listens = re.findall(r"^ListenStream=(.*)$", socket, re.M)
    assert listens == ["127.0.0.1:8787"], "the default of `listen`"


@pytest.mark.parametrize("name", ["status", "route", "models", "check", "version"])
def test_every_command_has_help(name):
    done = run(BUILD / "shunt", name, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower() and name in done.stdout


@pytest.mark.parametrize("program", ["shunt", "shuntd"])
def test_help_and_version(program):
    assert "usage" in run(BUILD / program, "--help").stdout.lower()
    assert re.search(r"\d+\.\d+\.\d+", run(BUILD / program, "--version").stdout)
    bad = run(BUILD / program, "--no-such-option")
    assert bad.returncode == 2 and "no-such-option" in bad.stderr


def test_the_command_line_says_when_no_daemon_runs(tmp_path):
    done = run(BUILD / "shunt", "status", env={
        **os.environ, "SHUNT_SOCKET": str(tmp_path / "none.sock")})
    assert done.returncode not in (0, 2) and done.stderr.strip(), done.stdout
    assert len(done.stderr.splitlines()) <= 6


def test_man_pages_are_clean():
    pages = sorted((ROOT / "man").glob("*.[158]"))
    if not pages:
        pytest.fail("man/ holds no page")
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("no man and groff on this machine")
    for page in pages:
        done = run("groff", "-man", "-Tutf8", "-ww", "-z", page)
        assert done.returncode == 0 and not done.stderr, f"{page.name}: {done.stderr}"


def test_bootstrap_explains_itself():
    assert "Usage" in run("./bootstrap", "--help").stdout
    for command in ("run", "test", "build"):
        done = run("./bootstrap", command, "--help")
        assert done.returncode == 0 and command in done.stdout, done.stderr
    assert run("./bootstrap", "nonsense").returncode == 2
