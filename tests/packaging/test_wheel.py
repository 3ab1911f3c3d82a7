"""The wheel that users install: the exact packages, the command, and an SDK that is light to import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.bare import BUILD_TIMEOUT_S, build_wheel

REPOSITORY = Path(__file__).parents[2]
# At the top of the repository, and each a part of the package by a link.
PARTS = ("consumer", "producers", "ops", "local")
HEAVY = ["aiohttp", "structlog", "click", "rich", "pydantic_settings", "prometheus_client", "sqlalchemy"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is built now."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def files(wheel: Path) -> list[str]:
    """The names of the files in it."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path, files: list[str]) -> Message:
    """The metadata in the wheel."""
    (name,) = [name for name in files if name.endswith(".dist-info/METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


def test_the_distribution_owns_one_top_level_name(files: list[str]) -> None:
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"signalq"}
    assert len(tops) == 2


def test_folders_of_the_names_of_our_parts_disturb_nothing(wheel: Path, tmp_path: Path) -> None:
    """A trading repository has its own `consumer.py` and `ops/`, in the working folder and on PYTHONPATH."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for name in ("consumer", "producers", "ops", "deploy", "local"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')\n", "utf-8")
    for arguments in (
        ["-m", "signalq", "--help"],
        ["-m", "signalq", "schema"],
        ["-m", "signalq", "help", "connection-refused"],
        ["-c", "import signalq.ops.demo.run, signalq.ops.gateway, signalq.consumer.__main__, signalq.ops.probe"],
    ):
        ran = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{tmp_path / 'site'}", "PATH": "", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")


def test_no_test_no_cache_and_no_secret_is_in_the_wheel(files: list[str]) -> None:
    assert not [name for name in files if "test_" in name or "__pycache__" in name or name.endswith((".pyc", ".env"))]


def test_every_module_is_in_it_but_the_strategies_to_copy(files: list[str]) -> None:
    for part in ("", *PARTS):
        folder = REPOSITORY / "signalq" / part
        modules = {f"signalq/{part}/{path.relative_to(folder)}".replace("//", "/") for path in folder.rglob("*.py")}
        assert modules
        assert {name for name in modules if "/strategies/" not in name} <= set(files)
    assert not [name for name in files if "/strategies/" in name]


def test_files_that_are_no_modules_are_in_it(files: list[str]) -> None:
    scripts = {f"signalq/ops/completion/scripts/signalq.{shell}" for shell in ("bash", "zsh", "fish")}
    others = {"ops/commands/init.toml", "ops/terminal/errors.md", "ops/completion/commands.json"}
    assert scripts | {f"signalq/{name}" for name in others} <= set(files)


def test_the_console_has_its_templates_and_all_that_a_browser_loads(files: list[str]) -> None:
    folder = REPOSITORY / "ops" / "console"
    wanted = {file for name in ("templates", "static") for file in (folder / name).rglob("*") if file.is_file()}
    assert {".html", ".js", ".css"} <= {file.suffix for file in wanted}
    assert {f"signalq/ops/console/{file.relative_to(folder)}" for file in wanted} <= set(files)


def test_each_library_that_the_console_holds_has_its_licence_beside_it(files: list[str]) -> None:
    vendored = [name for name in files if name.startswith("signalq/ops/console/static/vendor/")]
    libraries = {Path(name).name.split(".")[0] for name in vendored if name.endswith((".js", ".css"))}
    licensed = {Path(name).name.split(".")[0] for name in vendored if "licen" in name.lower()}
    assert libraries
    assert libraries <= licensed, f"licences beside are those of {sorted(licensed)}"


def test_type_checkers_are_told_that_it_is_typed(files: list[str]) -> None:
    assert "signalq/py.typed" in files


def test_the_command_is_signalq(wheel: Path, files: list[str]) -> None:
    (name,) = [name for name in files if name.endswith(".dist-info/entry_points.txt")]
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(name).decode().split("\n")
    assert [line for line in lines if line] == ["[console_scripts]", "signalq = signalq.ops.__main__:main"]


def test_the_sdk_needs_exactly_aio_pika_and_pydantic(metadata: Message) -> None:
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = sorted(line.split("<")[0].split(">")[0].split("=")[0] for line in needed)
    assert names == ["aio-pika", "aiormq", "pamqp", "pydantic"]


def test_the_extras_are_those_that_the_documentation_names(metadata: Message) -> None:
    assert {"consumer", "ops", "all"} <= set(metadata.get_all("Provides-Extra", []))


def test_name_version_and_license_are_there(metadata: Message, files: list[str]) -> None:
    assert metadata["Name"] == "signalq"
    version = {}
    exec((REPOSITORY / "signalq/version.py").read_text("utf-8"), version)  # noqa: S102 - our own file
    assert metadata["Version"] == version["__version__"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert [name for name in files if name.endswith("licenses/LICENSE")]


def loaded_by(statement: str, *, depth: int = 1) -> set[str]:
    """The modules that a fresh interpreter holds after a statement, down to so many levels of their names."""
    names = f"{{'.'.join(name.split('.')[:{depth}]) for name in sys.modules}}"
    program = f"import sys, json; {statement}; print(json.dumps(sorted({names})))"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("statement", ["from signalq import *", "import signalq.testing"])
def test_importing_the_sdk_loads_nothing_that_only_the_consumer_or_the_commands_need(statement: str) -> None:
    loaded = loaded_by(statement)
    assert {"signalq", "aio_pika", "pydantic"} <= loaded
    assert not loaded & set(HEAVY)
    assert not loaded_by(statement, depth=2) & {f"signalq.{part}" for part in PARTS}


def test_the_private_broker_needs_the_standard_library_alone() -> None:
    before, after = loaded_by("pass"), loaded_by("import signalq.local")
    assert after - before - {"signalq"} <= set(sys.stdlib_module_names)


def brought_by(extra: str) -> set[str]:
    """The top-level modules of what an extra installs, and of what that needs in turn."""
    found: set[str] = set()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    # As pyproject.toml has it now; what is installed may be older.
    waiting = [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"][extra]]]
    found.update(one.name for one in waiting)
    while waiting:
        wanted = waiting.pop()
        for line in requires(wanted.name) or ():
            needed = Requirement(line)
            marker = needed.marker
            is_wanted = marker is None or any(marker.evaluate({"extra": one}) for one in wanted.extras or {""})
            if is_wanted and needed.name not in found:
                found.add(needed.name)
                waiting.append(needed)
    names = {name.lower().replace("_", "-") for name in found}
    return {
        module
        for module, owners in packages_distributions().items()
        if names & {owner.lower().replace("_", "-") for owner in owners}
    }


def test_the_extra_of_the_gateway_is_enough_to_run_its_command() -> None:
    """Without a connector it says so, which is after everything was imported."""
    others = set(packages_distributions()) - brought_by("gateway") - {"signalq"}
    assert {"alembic", "hypothesis"} <= others
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {sorted(others)!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "sys.argv = ['signalq', 'gateway']\n"
        "from signalq.ops.__main__ import main; main()"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "", "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert (ran.returncode, "no connector is named" in ran.stderr) == (2, True), ran.stderr


def test_nothing_advises_to_install_by_a_name_that_is_on_no_index() -> None:
    """From the project's folder or from a wheel; Dockerfile and ./run install from folders of their own."""
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "examples").rglob("*.md")]
    code = [file for name in ("signalq", "consumer", "producers", "ops") for file in (REPOSITORY / name).rglob("*.py")]
    advice = re.compile(r"pip install +(-\S+ +)*['\"]?signalq\b")
    assert [str(file) for file in [*pages, *code] if advice.search(file.read_text("utf-8"))] == []
