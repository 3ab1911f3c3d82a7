"""Certificates that nobody but themselves has signed."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str = "localhost", *, days: int = 2) -> Path:
    """A file with the certificate for this name, and its key. With less than no days it has expired."""
    key, request, made = folder / "key.pem", folder / "request.pem", folder / "certificate.pem"
    _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(request))  # fmt: skip
    _openssl("x509", "-req", "-in", str(request), "-signkey", str(key), "-days", str(days), "-copy_extensions", "copy",
             "-out", str(made))  # fmt: skip
    made.write_text(made.read_text("utf-8") + key.read_text("utf-8"), "utf-8")
    return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=20)  # noqa: S603, S607
