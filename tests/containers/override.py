"""What the run changes of compose.yaml: the images, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.containers.images import STAND_INS
from tests.image.build import IMAGE

Json = dict[str, Any]
OWN = "signalq:local"
NOT_RUN = ("grafana",)
"""The services that nothing stands in for."""
# compose.yaml asks for it by COMPOSE_PROFILES, which .env.example sets for a trial: such a service is not started.
NEVER = "without-a-stand-in"


def override(services: Mapping[str, Json]) -> Json:
    """The override file for these services of the resolved compose.yaml."""
    return {"services": {name: _changed(name, service) for name, service in services.items()}}


def _changed(name: str, service: Json) -> Json:
    if name in NOT_RUN:
        return {"profiles": [NEVER]}
    image = IMAGE if service["image"] == OWN else STAND_INS[name]
    # None of them is in any registry.
    return {"image": image, "pull_policy": "never"}
