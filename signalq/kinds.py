"""The kinds of errors: each has an entry of its name in docs/errors.md, which `signalq help KIND` shows."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of an error, in the order of the page."""

    # ---- usage and settings ----
    WRONG_USAGE = "wrong-usage"
    WRONG_SETTING = "wrong-setting"
    SETTINGS_FILE = "settings-file"
    PACKAGE_MISSING = "package-missing"
    CANNOT_LISTEN = "cannot-listen"

    # ---- connections ----
    UNKNOWN_HOST = "unknown-host"
    CONNECTION_REFUSED = "connection-refused"
    NO_ANSWER = "no-answer"
    NO_ROUTE = "no-route"
    HUNG_UP = "hung-up"
    OTHER_PROTOCOL = "other-protocol"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105 - the name of a kind

    # ---- TLS ----
    CERTIFICATE_NAME = "certificate-name"
    CERTIFICATE_TIME = "certificate-time"
    CERTIFICATE_AUTHORITY = "certificate-authority"
    NO_TLS = "no-tls"
    TLS_EXPECTED = "tls-expected"
    TLS_REFUSED = "tls-refused"
    TLS_FILES = "tls-files"

    # ---- RabbitMQ ----
    BROKER_UNREACHABLE = "broker-unreachable"
    UNKNOWN_VHOST = "unknown-vhost"
    VHOST_FORBIDDEN = "vhost-forbidden"
    NOT_PERMITTED = "not-permitted"
    WRONG_TOPOLOGY = "wrong-topology"
    UNROUTABLE = "unroutable"
    UNCONFIRMED = "unconfirmed"
    LETTERS_BUSY = "letters-busy"

    # ---- the ledger ----
    NO_LEDGER = "no-ledger"
    LEDGER_VERSION = "ledger-version"
    ANOTHER_LEDGER = "another-ledger"
    LEDGER_LOCKED = "ledger-locked"
    LEDGER_DAMAGED = "ledger-damaged"
    LEDGER_UNAVAILABLE = "ledger-unavailable"
    UNKNOWN_DATABASE = "unknown-database"
    DATABASE_REFUSED = "database-refused"
    DATABASE_BUSY = "database-busy"

    # ---- the webhook ----
    PROXY_REFUSED = "proxy-refused"

    # ---- files and streams ----
    FILE_MISSING = "file-missing"
    PERMISSION_DENIED = "permission-denied"
    READ_ONLY = "read-only"
    DISK_FULL = "disk-full"
    FILE_UNUSABLE = "file-unusable"
    FILE_CHANGED = "file-changed"
    OUTPUT_LOST = "output-lost"

    # ---- orders and outcomes ----
    INVALID_INTENT = "invalid-intent"
    UNKNOWN_ID = "unknown-id"
    OUTCOME_TIMEOUT = "outcome-timeout"
    OUTCOMES_UNAVAILABLE = "outcomes-unavailable"
    INVALID_EVENT = "invalid-event"

    # ---- commands ----
    COMMAND_FAILED = "command-failed"
    NOT_TAKEN_UP = "not-taken-up"
    PRIVATE_SERVER = "private-server"
    UNEXPECTED = "unexpected"
