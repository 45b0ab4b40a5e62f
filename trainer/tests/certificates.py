"""A certificate for servers that tests start, signed by nobody."""

import shutil
import subprocess
from pathlib import Path

import pytest


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    """Its key and the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key)]
    command += ["-out", str(cert), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert
