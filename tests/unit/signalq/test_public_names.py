"""`import signalq` shows the whole SDK, and loads each part when it is asked for."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import signalq

SOURCE = Path(signalq.__file__)


def imported_for_type_checkers() -> dict[str, str]:
    """The names that a type checker sees imported in signalq/__init__.py, each with its module."""
    tree = ast.parse(SOURCE.read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = {name.name: node.module or "" for node in imports for name in node.names}
    return {name: module for name, module in found.items() if module.startswith("signalq.")}


def test_type_checkers_see_the_same_names_as_programs() -> None:
    seen = imported_for_type_checkers()
    assert sorted(seen) == sorted(signalq.__all__)
    for name, module in seen.items():
        assert getattr(signalq, name) is getattr(sys.modules[module], name)


def test_type_checkers_see_no_getattr_which_would_let_a_misspelt_name_pass() -> None:
    tree = ast.parse(SOURCE.read_text("utf-8"))
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_a_class_says_the_module_that_type_checkers_see() -> None:
    for name, module in imported_for_type_checkers().items():
        if name != "__version__":
            assert getattr(signalq, name).__module__ == module


def test_dir_has_every_public_name_and_the_modules_own() -> None:
    assert {*signalq.__all__, "__file__", "__path__"} <= set(dir(signalq))


def test_an_unknown_name_is_an_attribute_error_and_an_import_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'OrderIntnt'"):
        signalq.OrderIntnt  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="OrderIntnt"):
        from signalq import OrderIntnt  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_a_star_import_brings_every_public_name() -> None:
    module = ModuleType("user")
    exec("from signalq import *", module.__dict__)  # noqa: S102 - our own line
    assert set(signalq.__all__) <= set(vars(module))


def in_a_fresh_process(program: str, data: bytes = b"") -> bytes:
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], cwd=SOURCE.parents[1], input=data, capture_output=True, timeout=60, check=True
    )
    return done.stdout


def test_intents_and_errors_are_unpickled_before_anything_of_signalq_is_imported() -> None:
    intent = signalq.OrderIntent(connector_name="main", action="buy", fixed="1")
    sent = (intent, signalq.Unconfirmed("no confirm", "id-1"), signalq.NotAllConfirmed(1, 0, [], []))
    program = "import pickle, sys; print(repr(pickle.load(sys.stdin.buffer)))"
    assert in_a_fresh_process(program, pickle.dumps(sent)).decode().strip() == repr(sent)


def test_errors_are_there_without_the_librarys_dependencies() -> None:
    program = "import sys, signalq; signalq.errors.NotPermitted; print({'pydantic', 'aio_pika'} & set(sys.modules))"
    assert in_a_fresh_process(program).strip() == b"set()"
