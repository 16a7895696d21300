# SPDX-License-Identifier: Apache-2.0
"""paths.py - where things lie."""
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("SHUNT_BUILD", ROOT / "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
DATA = ROOT.parent / "shared/data"
NODE = ROOT / "build/node"
# Installed, or unpacked by tests/run_all.py; None: neither.
NGINX = shutil.which("nginx") or shutil.which(ROOT / "build/nginx/usr/sbin/nginx")
SANITIZED = "ASAN_OPTIONS" in os.environ
# Deadlines stretch where everything is slower; no test waits this long for a passing condition.
SLOW = 3.0 if SANITIZED else 1.0
