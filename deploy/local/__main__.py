"""`python -m signalq.local`: run a private RabbitMQ in the foreground, or only fetch a server."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from signalq.local.errors import BrokerFailed, PrivateBrokerError
from signalq.local.install import Installation, ensure_installed
from signalq.local.node import MANAGEMENT, keep_port
from signalq.local.postgres_install import ensure_postgres_installed
from signalq.local.rabbitmq import PrivateRabbitMQ
from signalq.local.versions import RELEASES, ensure_version

_WATCH_INTERVAL_S = 1.0
_PORT_MAX = 65_535


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; 0, or 1 with one sentence on standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run" and options.port is not None and options.folder is None:
        parser.error("--port goes with --folder, which keeps it")
    try:
        if options.command == "install":
            sys.stdout.write(f"{_install(options.server, options.version)}\n")
        else:
            _run(options)
    except PrivateBrokerError as error:
        _say(str(error))
        return 1
    return 0


def _install(server: str, version: str | None) -> Path:
    if server == "postgres":
        return ensure_postgres_installed(_say).programs
    return _rabbitmq(version).scripts


def _rabbitmq(version: str | None) -> Installation:
    return ensure_version(version, _say) if version else ensure_installed(_say)


def _run(options: argparse.Namespace) -> None:
    asked_to_stop = threading.Event()
    # Before the start, which takes seconds: a signal in those is obeyed right after them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    installation = _rabbitmq(options.version)
    if options.port is not None:
        options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep_port(options.folder, options.port)
    with PrivateRabbitMQ(
        installation, folder=options.folder, configuration=options.config, plugins=options.plugin
    ) as broker:
        _announce(broker, has_management=MANAGEMENT in options.plugin, as_json=options.json)
        while not asked_to_stop.wait(_WATCH_INTERVAL_S):
            if not broker.is_running:
                raise BrokerFailed("the private RabbitMQ node died")


def _announce(broker: PrivateRabbitMQ, *, has_management: bool, as_json: bool) -> None:
    facts = {"url": broker.url, "port": broker.port, "pid": broker.pid, "log": str(broker.log_path)}
    if has_management:
        facts["management_url"] = broker.management_url
    urls = "\n".join(str(facts[name]) for name in ("url", "management_url") if name in facts)
    sys.stdout.write(f"{json.dumps(facts) if as_json else urls}\n")
    sys.stdout.flush()
    if not as_json:
        _say(f"to use it in another terminal: export SIGNALQ_BROKER__URL={broker.url}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m signalq.local",
        description="A private RabbitMQ node on this machine: its own ports, folders and name, on 127.0.0.1 only.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    install = commands.add_parser("install", help="fetch a server if there is none, and print where it is")
    install.add_argument("server", nargs="?", choices=("rabbitmq", "postgres"), default="rabbitmq")
    run = commands.add_parser("run", help="run a node and print its URL; SIGTERM or Ctrl-C stops it")
    for command in (install, run):
        command.add_argument("--version", choices=RELEASES, help="RabbitMQ of this version (default: the system's own)")
    run.add_argument("--json", action="store_true", help="print one JSON object: url, port, pid, log, management_url")
    run.add_argument(
        "--folder", type=Path, help="keep its messages and its port here (default: a temporary folder, and a free port)"
    )
    run.add_argument("--port", type=_port_number, metavar="PORT", help="with --folder: its port for AMQP, from now on")
    run.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="LINE",
        help="a further line for rabbitmq.conf, may be repeated",
    )
    run.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="NAME",
        help=f"run with this plugin, may be repeated; {MANAGEMENT} prints the URL of its HTTP API, too",
    )
    return parser


def _port_number(text: str) -> int:
    port = int(text)
    if not 1 <= port <= _PORT_MAX:
        raise argparse.ArgumentTypeError(f"must be 1 to {_PORT_MAX}")
    return port


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
