"""The images: signalq's own, by its Dockerfile, and what stands in for those that only a registry has.

Each stand-in takes the same user, environment, files, folders and command as the public image does, for compose.yaml
speaks of these. Grafana is in no Debian, so nothing stands in for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.image.build import IMAGE, Workshop

RABBITMQ, POSTGRES, PROMETHEUS = (f"localhost/{name}:stand-in" for name in ("rabbitmq", "postgres", "prometheus"))
STAND_INS = {"rabbitmq": RABBITMQ, "postgres": POSTGRES, "prometheus": PROMETHEUS}
"""The image for each service of compose.yaml that is not signalq's own."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# As postgres:15-bookworm has it; what the image does at its start is in the script.
POSTGRES_VERSION = "15"
POSTGRES_ENTRY = Path(__file__).with_name("postgres-entry")
# The users of the public images, whatever number Debian gave them; and what Debian's packages made for another use.
TAKE_RABBITMQ = """
root=$1
chroot "$root" usermod --non-unique --uid 999 rabbitmq
chroot "$root" groupmod --non-unique --gid 999 rabbitmq
rm -rf "$root/var/lib/rabbitmq" "$root/etc/rabbitmq/rabbitmq-env.conf"
install --directory --owner 999 --group 999 "$root/var/lib/rabbitmq" "$root/var/log/rabbitmq" "$root/etc/rabbitmq"
echo '[rabbitmq_management,rabbitmq_prometheus].' >"$root/etc/rabbitmq/enabled_plugins"
install --directory --owner 65534 --group 65534 "$root/prometheus" "$root/etc/prometheus"
rm -rf "$root/etc/prometheus/"*
"""
TAKE_POSTGRES = """
root=$1
chroot "$root" usermod --non-unique --uid 999 postgres
chroot "$root" groupmod --non-unique --gid 999 postgres
rm -rf "$root/var/lib/postgresql"
install --directory --owner 999 --group 999 "$root/var/lib/postgresql" "$root/var/lib/postgresql/data"
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A Debian with the packages of some stand-ins, made once."""

    image: str
    release: str
    packages: tuple[str, ...]
    hook: str


# forky has the RabbitMQ 4.3 and the Prometheus 3.5 that compose.yaml names.
NEWER = Stage("localhost/forky:1", "forky", ("rabbitmq-server", "prometheus", "wget"), TAKE_RABBITMQ)
OLDER = Stage("localhost/postgres-base:1", "bookworm", (f"postgresql-{POSTGRES_VERSION}",), TAKE_POSTGRES)


def build(workshop: Workshop) -> None:
    """All images, a few minutes. Raises CalledProcessError and FetchFailed."""
    for stage in (NEWER, OLDER):
        workshop.bootstrap(stage.image, stage.release, stage.packages, stage.hook)
    # Debian's wrappers in /usr/sbin insist on their own user.
    rabbitmq = {"PATH": f"/usr/lib/rabbitmq/bin:{PATH}", "HOME": "/var/lib/rabbitmq", "RABBITMQ_LOGS": "-"}
    configure(workshop, NEWER.image, RABBITMQ, '["rabbitmq-server"]', rabbitmq, as_command=True)
    configure(workshop, NEWER.image, PROMETHEUS, '["/usr/bin/prometheus"]', {"PATH": PATH})
    postgres = {"PATH": f"/usr/lib/postgresql/{POSTGRES_VERSION}/bin:{PATH}", "PGDATA": "/var/lib/postgresql/data"}
    configure(workshop, OLDER.image, POSTGRES, '["postgres-entry"]', postgres, copied=POSTGRES_ENTRY)
    workshop.build_image()


def are_built(workshop: Workshop) -> bool:
    """Whether they are all there, from an earlier run in this folder."""
    there = workshop.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    return {IMAGE, *STAND_INS.values()} <= set(there)


def configure(
    workshop: Workshop,
    base: str,
    image: str,
    program: str,
    environment: dict[str, str],
    *,
    as_command: bool = False,
    copied: Path | None = None,
) -> None:
    """Make an image of a base: what it runs, and with which environment."""
    container = workshop.buildah("from", base)
    if copied is not None:
        workshop.buildah("copy", "--chmod", "755", container, str(copied), f"/usr/local/bin/{copied.name}")
    variables = {"LANG": "C.UTF-8", **environment}
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    workshop.buildah("config", "--cmd" if as_command else "--entrypoint", program, *words, container)
    workshop.buildah("commit", "--rm", "--format", "docker", container, image)
