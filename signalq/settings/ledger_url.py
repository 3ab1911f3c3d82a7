"""ledger.url: a file, or a PostgreSQL with the parameters of libpq's URLs. No error quotes anything of it."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from signalq.amqp.address import UNREADABLE, is_loopback
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.secrets.masking import shown_name, shown_path
from signalq.version import how_to_install

SQLITE_SCHEME = "sqlite+aiosqlite"
SQLITE_SCHEMES = (SQLITE_SCHEME, "sqlite")
POSTGRESQL_SCHEMES = ("postgresql+asyncpg", "postgresql", "postgres")

# https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS
_MAY_BE_PLAIN = ("disable", "allow", "prefer")
_ENCRYPTED = ("require", "verify-ca", "verify-full")
# Clients in other languages write these.
_SSL_WORDS = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_TLS_FILES = ("sslrootcert", "sslcert", "sslkey")
# Passed on to the server, or to asyncpg.
_SERVER_SETTINGS = ("application_name", "options")
_OPTIONS = ("target_session_attrs", "passfile")
_CACHE_SIZES = ("prepared_statement_cache_size", "statement_cache_size")
# Hosted PostgreSQLs and poolers put these into their URLs; all is as well without them: asyncpg binds no channels and
# uses no GSSAPI, and the timeouts and the pool are ours.
_WITHOUT_EFFECT = frozenset({
    *("channel_binding", "client_encoding", "connect_timeout", "connection_limit", "fallback_application_name"),
    *("gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname"),
    *("load_balance_hosts", "pgbouncer", "pool_timeout", "sslcompression", "sslsni", "tcp_user_timeout"),
})  # fmt: skip
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A SQLite file, by its absolute path; `url` is for SQLAlchemy's own driver."""

    file: Path
    url: str


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL server, or several of which one serves, as asyncpg connects to it."""

    hosts: tuple[str, ...]
    ports: tuple[int | None, ...]
    sslmode: str | None
    files: dict[str, str]
    options: Mapping[str, Any] = field(repr=False)
    server_settings: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether the connection stays on this machine."""
        return all(host.startswith("/") or is_loopback(host) for host in self.hosts)

    @property
    def is_encrypted(self) -> bool:
        """Whether the URL insists on TLS."""
        return self.sslmode in _ENCRYPTED

    @property
    def is_checked(self) -> bool:
        """Whether the server has to show a certificate of a trusted authority."""
        root = "sslrootcert" in _from_environment() | self.files
        return self.sslmode in _ENCRYPTED[1:] or (self.sslmode == "require" and root)

    def connect_arguments(self) -> dict[str, Any]:
        """The arguments for asyncpg.connect. Reads files: raises SettingsError that names one that can't be used."""
        arguments = {**self.options, "host": list(self.hosts)}
        if any(self.ports):
            arguments["port"] = [port or 5432 for port in self.ports]
        if self.sslmode is not None:
            arguments["ssl"] = self._context() if self.is_encrypted else self.sslmode
        if self.server_settings:
            arguments["server_settings"] = dict(self.server_settings)
        return arguments

    def _context(self) -> ssl.SSLContext:
        """TLS as libpq has it: `require` alone encrypts; with sslrootcert it checks as verify-ca does."""
        files = _from_environment() | self.files
        root = files.get("sslrootcert")
        try:
            context = ssl.create_default_context(cafile=None if root == "system" else root)
            if "sslcert" in files:
                context.load_cert_chain(files["sslcert"], files.get("sslkey"))
        except OSError as error:
            named = " or ".join(f"{shown_path(path)} ({name})" for name, path in files.items())
            why = error.strerror if not isinstance(error, ssl.SSLError) else None
            raise SettingsError(
                f"ledger.url names {named}, which can't be used for TLS ({why or 'no certificate or key in it'}): "
                "check the path, and what is in the file",
                kind=Kind.TLS_FILES,
            ) from None
        context.check_hostname = self.sslmode == "verify-full"
        if not self.is_checked:
            context.verify_mode = ssl.CERT_NONE
        return context


def _from_environment() -> dict[str, str]:
    """The TLS files that libpq would take where the URL names none: of variables, and of the home folder."""
    files = {name: os.environ[f"PG{name.upper()}"] for name in _TLS_FILES if os.environ.get(f"PG{name.upper()}")}
    root = Path.home() / ".postgresql" / "root.crt"
    return {"sslrootcert": str(root)} | files if root.is_file() else files


def read_ledger_url(url: str) -> SqliteFile | PostgresServer:
    """Read a ledger.url. Raises ValueError that says what is wrong with it."""
    scheme, _, rest = url.partition("://")
    if scheme in SQLITE_SCHEMES:
        return _sqlite(rest)
    if scheme in POSTGRESQL_SCHEMES:
        return _postgresql(rest)
    raise ValueError(f"must begin with {SQLITE_SCHEME}:/// or {POSTGRESQL_SCHEMES[0]}://")


def check_ledger_url(url: str, *, allow_plain: bool) -> None:
    """Raise ValueError unless it is a file by its absolute path, or a PostgreSQL that nobody can listen in on."""
    read = read_ledger_url(url)
    if isinstance(read, SqliteFile):
        return
    if not read.is_local and not read.is_encrypted and not allow_plain:
        raise ValueError(
            "goes to another machine and may go in plain text: add sslmode=require (encrypted), verify-ca or "
            "verify-full (checked against the system's authorities, or sslrootcert's) to it, or set ledger.allow_plain"
        )
    if find_spec("asyncpg") is None:
        raise ValueError(f"needs the package asyncpg: {how_to_install('postgres')}")


def _sqlite(rest: str) -> SqliteFile:
    path = rest.removeprefix("/").partition("?")[0]
    if not rest.startswith("/") or not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"must be a file by its absolute path, such as {SQLITE_SCHEME}:////var/lib/signalq/signalq.db")
    return SqliteFile(Path(path), f"sqlite+pysqlite://{rest}")


def _postgresql(rest: str) -> PostgresServer:
    before, _, query_text = rest.partition("?")
    login, _, address = before.rpartition("@")
    if "@" in login:
        raise ValueError("has an @ in its password: there it is written %40")
    hosts_text, _, database = address.partition("/")
    user, _, password = login.partition(":")
    query = parse_qs(query_text, keep_blank_values=True)
    if "password" in query:
        raise ValueError("must have the password before the host (user:password@host), where it is never shown")
    hosts, ports = _addresses(hosts_text, query)
    options: dict[str, Any] = {name: query.pop(name)[-1] for name in _OPTIONS if name in query}
    options |= {name: _whole(name, query.pop(name)[-1]) for name in _CACHE_SIZES if name in query}
    if query.pop("sslnegotiation", ["postgres"])[-1] == "direct":
        options["direct_tls"] = True
    login_options = {
        "user": unquote(user) or query.pop("user", [None])[-1],
        "password": unquote(password),
        "database": unquote(database) or query.pop("dbname", [None])[-1],
    }
    read = PostgresServer(
        hosts=hosts,
        ports=ports,
        sslmode=_sslmode(query),
        files={name: query.pop(name)[-1] for name in _TLS_FILES if name in query},
        options=options | {name: value for name, value in login_options.items() if value},
        server_settings={name: query.pop(name)[-1] for name in _SERVER_SETTINGS if name in query},
    )
    unknown = sorted(query.keys() - _WITHOUT_EFFECT)
    if unknown:
        known = ", ".join(("sslmode", *_TLS_FILES, *_OPTIONS, *_SERVER_SETTINGS, *_CACHE_SIZES))
        raise ValueError(f"has the query parameter {shown_name(unknown[0])}, which is not taken: take it out ({known})")
    return read


def _sslmode(query: dict[str, list[str]]) -> str | None:
    given = [query.pop(name)[-1] for name in ("sslmode", "ssl") if name in query]
    modes = {_SSL_WORDS.get(mode.casefold(), mode) for mode in given}
    if not modes:
        return None
    mode = modes.pop()
    if modes or mode not in (*_MAY_BE_PLAIN, *_ENCRYPTED):
        raise ValueError(f"must have one sslmode, of {', '.join((*_MAY_BE_PLAIN, *_ENCRYPTED))}")
    return mode


def _addresses(text: str, query: dict[str, list[str]]) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """The hosts and ports that stand before the path, else in `host` and `port` of the query."""
    given = text.split(",") if text else [one for value in query.pop("host", []) for one in value.split(",")]
    ports_text = [one for value in query.pop("port", []) for one in value.split(",")]
    pairs = [_address(one) for one in given if one]
    if not pairs:
        raise ValueError("must name a host")
    ports = tuple(port for _, port in pairs)
    if ports_text and not any(ports):
        ports = tuple(_port(one) for one in ports_text) * (len(pairs) if len(ports_text) == 1 else 1)
    if len(ports) != len(pairs):
        raise ValueError("must have as many ports as hosts")
    return tuple(host for host, _ in pairs), ports


def _address(text: str) -> tuple[str, int | None]:
    if text.startswith("/"):
        return text, None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(UNREADABLE)
        return host, _port(rest[1:])
    host, _, port = text.partition(":")
    if not host:
        raise ValueError("must name a host")
    return unquote(host), _port(port)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _PORT_MAX:
        raise ValueError(f"has a port that is no number from 1 to {_PORT_MAX}; {UNREADABLE}")
    return int(text)


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"has a {name} that is no whole number")
    return int(text)
