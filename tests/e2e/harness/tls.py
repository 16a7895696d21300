# SPDX-License-Identifier: Apache-2.0
"""tls.py - certificates of an authority that only the tests know."""
import ssl
import subprocess
from pathlib import Path


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr


class Authority:
    """A self-made CA in a folder; `ca` is the path of its certificate."""

    def __init__(self, folder, name="shunt test authority"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key,
                 "-out", self.ca)

    def certificate(self, *names, days=2):
        """(certificate, key) paths; names as in a subjectAltName, e.g. 'IP:127.0.0.1'."""
        stem = self.folder / f"server-{len(list(self.folder.glob('server-*.pem')))}"
        pem, key, request, extra = (stem.with_suffix(s) for s in (".pem", ".key", ".csr", ".ext"))
        extra.write_text(f"subjectAltName={','.join(names)}\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-subj", "/CN=server", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key,
                 "-CAcreateserial", "-days", days, "-extfile", extra, "-out", pem)
        return pem, key

    def server(self, *names):
        """An ssl.SSLContext of a server with such names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate(*(names or ("IP:127.0.0.1", "DNS:localhost"))))
        return context
