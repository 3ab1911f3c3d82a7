"""The table of every command: one right use, which tests/integration/commands/test_every_command.py runs, and three
wrong ones, with the beginning of the sentence that a person gets.

Words in braces are of the world in which the right uses run, or `{tmp}`, the folder with the files of FILES.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Right:
    """The words behind `signalq`, and a part of its standard output, or of its standard error where that says it.

    `ends_on_sigterm`: the command goes on until then, and ends with status 0.
    """

    words: str
    shows: str
    ends_on_sigterm: bool = False


@dataclass(frozen=True)
class Elsewhere:
    """A test that runs the command; it takes a RabbitMQ of its own."""

    test: str


@dataclass(frozen=True)
class Wrong:
    """The words behind `signalq`, the beginning of the sentence on standard error, and the exit status."""

    words: str
    says: str
    status: int = 2


@dataclass(frozen=True)
class Row:
    """A command; of a group, which does nothing by itself, there is no right use."""

    right: Right | Elsewhere | None
    wrong: tuple[Wrong, Wrong, Wrong]


# Nobody listens at this address, and there is no such ledger: the settings of the wrong uses.
NOWHERE = {
    "SIGNALQ_BROKER__URL": "amqp://user:topsecret@127.0.0.1:1/",
    "SIGNALQ_LEDGER__URL": "sqlite:///{tmp}/none.db",
    "SIGNALQ_WEBHOOK__URL": "http://127.0.0.1:1/",
}
SECRET = "topsecret"
FILES = {
    "misspelt.toml": '[brokr]\nurl = "amqp://127.0.0.1/"\n',
    "broken.toml": "[broker\n",
    "orders.csv": "connectorName,action,fixed\nmain,buy,1\n",
    "orders.txt": "main buy 1\n",
}

NO_BROKER = "no connection to RabbitMQ at amqp://user:***@127.0.0.1:1/ (connection refused"
NO_LEDGER = "there is no ledger at {tmp}/none.db: start `signalq consume` with it once"
MISSPELT = "brokr is not a setting, the nearest is broker"
BROKEN = "the settings file {tmp}/broken.toml is not TOML"
NO_FILE = "the settings file {tmp}/none.toml can't be read: No such file or directory"
WHICH_LETTERS = "say which letters: --id, --reason, --connector, --strategy, or --all"
WHICH_CONNECTOR = "say which: one CONNECTOR, or --all"
REASONS = "it is one of invalid, unauthorized, forbidden, expired, superseded, rejected, exhausted, outcome-unknown"


def group(name: str, near: str, meant: str) -> Row:
    """A group: a command of it that is misspelt, one that is like none, and an option that it lacks."""
    return Row(
        None,
        (
            Wrong(f"{name} {near}", f"there is no command {near}, the nearest is {meant} (see signalq {name} --help)"),
            Wrong(f"{name} xyzzy", f"there is no command xyzzy (see signalq {name} --help)"),
            Wrong(f"{name} --al", "No such option '--al'"),
        ),
    )


# The right uses are run in this order.
TABLE: dict[str, Row] = {
    "": Row(
        Right("--version", "signalq "),
        (
            Wrong("dedd", "there is no command dedd, the nearest is dead (see signalq --help)"),
            Wrong("--config", "Option '--config' requires an argument (see signalq --help)"),
            Wrong("--config {tmp}/none.toml check", NO_FILE),
        ),
    ),
    "demo": Row(
        Elsewhere("tests/integration/commands/test_every_command.py::test_the_demo_shows_orders_and_ends_by_itself"),
        (
            Wrong("demo --fast", "No such option '--fast' (see signalq demo --help)"),
            Wrong("demo now", "there is an argument too many: now (see signalq demo --help)"),
            Wrong("demo --json=yes", "Option '--json' does not take a value (see signalq demo --help)"),
        ),
    ),
    "dev": Row(
        Elsewhere(
            "tests/integration/commands/test_dev.py"
            "::test_orders_of_each_way_in_are_told_and_the_same_folder_again_is_the_same_world"
        ),
        (
            Wrong("dev --port 0", "Invalid value for '--port': 0 is not in the range 1<=x<=65517"),
            Wrong("dev --config {tmp}/orders.txt", "--config is not for dev: a world has its settings in its folder"),
            Wrong("dev --folder {tmp}/orders.txt", "Invalid value for '--folder': Directory '{tmp}/orders.txt' is a"),
        ),
    ),
    "init": Row(
        Right("--config {tmp}/made.toml init", "wrote {tmp}/made.toml: say in it what differs"),
        (
            Wrong("init {tmp}/x.toml", "there is an argument too many: {tmp}/x.toml (see signalq init --help)"),
            Wrong("init --config {tmp}/broken.toml", "{tmp}/broken.toml is there already, and stays as it is", 1),
            Wrong("init --config {tmp}/no/x.toml", "{tmp}/no/x.toml can't be written: No such file or directory", 1),
        ),
    ),
    "settings": Row(
        Right("settings broker.prefix", "{prefix}"),
        (
            Wrong("settings webhok.url", "webhok.url is no setting here, the nearest is webhook.url"),
            Wrong("settings --config {tmp}/misspelt.toml", MISSPELT),
            Wrong("settings --josn", "No such option '--josn'. Did you mean '--json'?"),
        ),
    ),
    "check": Row(
        Right("check", "nothing is wrong"),
        (
            Wrong("check --jsno", "No such option '--jsno'. Did you mean '--json'? (see signalq check --help)"),
            Wrong("check everything", "there is an argument too many: everything (see signalq check --help)"),
            Wrong("check --config {tmp}/broken.toml", BROKEN),
        ),
    ),
    "consume": Row(
        Right("consume", "service.started", ends_on_sigterm=True),
        (
            Wrong("consume --config {tmp}/misspelt.toml", MISSPELT),
            Wrong("consume --config {tmp}/none.toml", NO_FILE),
            Wrong("consume now", "there is an argument too many: now (see signalq consume --help)"),
        ),
    ),
    "publish": Row(
        Right("publish --connector main --action buy --fixed 1 --message-id by-hand --wait", "delivered"),
        (
            Wrong("publish --connector main --action bye", "--action must be one of buy, sell, openLong, closeLong"),
            Wrong("publish {tmp}/orders.csv --fixed 1", "--fixed describes one intent: leave it out, or leave FILE"),
            Wrong("publish {tmp}/orders.csv", NO_BROKER, 1),
        ),
    ),
    "topology": group("topology", "shwo", "show"),
    "topology apply": Row(
        Right("topology apply", "exchanges and queues under {prefix} were there already"),
        (
            Wrong("topology apply --force", "No such option '--force' (see signalq topology apply --help)"),
            Wrong("topology apply --config {tmp}/misspelt.toml", MISSPELT),
            Wrong("topology apply", NO_BROKER, 1),
        ),
    ),
    "topology adopt-ledger": Row(
        Right("topology adopt-ledger", "the lanes belong to "),
        (
            Wrong("topology adopt-ledger this", "there is an argument too many: this"),
            Wrong("topology adopt-ledger --config {tmp}/broken.toml", BROKEN),
            Wrong("topology adopt-ledger", NO_LEDGER, 1),
        ),
    ),
    "topology show": Row(
        Right("topology show", "{prefix}.delay.* ("),
        (
            Wrong("topology show this", "there is an argument too many: this (see signalq topology show --help)"),
            Wrong("topology show --josn", "No such option '--josn'. Did you mean '--json'?"),
            Wrong("topology show", NO_BROKER, 1),
        ),
    ),
    "topology manifests": Row(
        Right("topology manifests --cluster mine", "kind: Queue"),
        (
            Wrong("topology manifests --clustr x", "No such option '--clustr'. Did you mean '--cluster'?"),
            Wrong("topology manifests --vhost", "Option '--vhost' requires an argument (see signalq topology manif"),
            Wrong("topology manifests --config {tmp}/misspelt.toml", MISSPELT),
        ),
    ),
    "dead": group("dead", "shwo", "show"),
    "dead list": Row(
        Right("dead list --reason rejected", "shown-letter"),
        (
            Wrong("dead list --reason rejectd", "Invalid value for '--reason': rejectd is no reason, the nearest is"),
            Wrong("dead list --all --limit 3", "--all and --limit contradict each other (see signalq dead list"),
            Wrong("dead list", NO_LEDGER, 1),
        ),
    ),
    "dead show": Row(
        Right("dead show shown-letter", '"connectorToken":"***"'),
        (
            Wrong("dead show", "Missing argument 'ID' (see signalq dead show --help)"),
            Wrong("dead show --rwa ID", "No such option '--rwa'. Did you mean '--raw'? (see signalq dead show --help)"),
            Wrong("dead show ID", NO_BROKER, 1),
        ),
    ),
    "dead replay": Row(
        Right("dead replay --id replayed-letter", "replayed: 1 of 1 dead letter"),
        (
            Wrong("dead replay", WHICH_LETTERS),
            Wrong("dead replay --reason foo", f"Invalid value for '--reason': foo is no reason: {REASONS}"),
            Wrong("dead replay --all", NO_LEDGER, 1),
        ),
    ),
    "dead discard": Row(
        Right("dead discard --id discarded-letter", "discarded: 1 of 1 dead letter"),
        (
            Wrong("dead discard --force", WHICH_LETTERS),
            Wrong("dead discard --id", "Option '--id' requires an argument (see signalq dead discard --help)"),
            Wrong("dead discard --all", NO_LEDGER, 1),
        ),
    ),
    "orders": group("orders", "lst", "list"),
    "orders list": Row(
        Right("orders list --status delivered", "by-hand"),
        (
            Wrong("orders list --status foo", "Invalid value for '--status': foo is no status: it is one of received,"),
            Wrong("orders list --json --columns status", "--json has all fields: take --columns out"),
            Wrong("orders list", NO_LEDGER, 1),
        ),
    ),
    "orders show": Row(
        Right("orders show by-hand", "delivered"),
        (
            Wrong("orders show", "Missing argument 'ID' (see signalq orders show --help)"),
            Wrong("orders show one two", "there is an argument too many: two (see signalq orders show --help)"),
            Wrong("orders show ID", NO_LEDGER, 1),
        ),
    ),
    "orders stats": Row(
        Right("orders stats --since 1h", "main"),
        (
            Wrong("orders stats --since soon", "Invalid value for '--since': soon is neither a duration like 15m, 2h"),
            Wrong("orders stats main", "there is an argument too many: main (see signalq orders stats --help)"),
            Wrong("orders stats", NO_LEDGER, 1),
        ),
    ),
    "scheduled": group("scheduled", "lst", "list"),
    "scheduled list": Row(
        Right("scheduled list", "waiting"),
        (
            Wrong("scheduled list --all --connector main", "--all and a filter contradict each other"),
            Wrong("scheduled list --sort foo", "Invalid value for '--sort': foo is no column: it is one of due_at,"),
            Wrong("scheduled list", NO_LEDGER, 1),
        ),
    ),
    "scheduled cancel": Row(
        Right("scheduled cancel --id waiting", "canceled"),
        (
            Wrong("scheduled cancel", "say which: --id, --connector, --strategy, or --all"),
            Wrong("scheduled cancel waiting", "there is an argument too many: waiting"),
            Wrong("scheduled cancel --all", NO_LEDGER, 1),
        ),
    ),
    "lanes": group("lanes", "puase", "pause"),
    "lanes list": Row(
        Right("lanes list", "{prefix}.orders.main"),
        (
            Wrong("lanes list main", "there is an argument too many: main (see signalq lanes list --help)"),
            Wrong("lanes list --columns foo", "Invalid value for '--columns': foo is no column: it is one of conn"),
            Wrong("lanes list", NO_LEDGER, 1),
        ),
    ),
    "lanes pause": Row(
        Right("lanes pause alt --why 'odd fills'", "alt is paused now; 1 consumer has taken it up"),
        (
            Wrong("lanes pause", WHICH_CONNECTOR),
            Wrong("lanes pause ' main'", "CONNECTOR must not begin or end with white space"),
            Wrong("lanes pause main", NO_LEDGER, 1),
        ),
    ),
    "lanes close-only": Row(
        Right("lanes close-only alt", "alt is close-only now; 1 consumer has taken it up"),
        (
            Wrong("lanes close-only main --all", WHICH_CONNECTOR),
            Wrong("lanes close-only main alt", "there is an argument too many: alt"),
            Wrong("lanes close-only --all", NO_LEDGER, 1),
        ),
    ),
    "lanes resume": Row(
        Right("lanes resume alt", "alt is open now; 1 consumer has taken it up"),
        (
            Wrong("lanes resume", WHICH_CONNECTOR),
            Wrong("lanes resume --why", "Option '--why' requires an argument (see signalq lanes resume --help)"),
            Wrong("lanes resume --all", NO_LEDGER, 1),
        ),
    ),
    "ledger": group("ledger", "upgrad", "upgrade"),
    "ledger upgrade": Row(
        Right("ledger upgrade", "already"),
        (
            Wrong("ledger upgrade --if-ther", "No such option '--if-ther'. Did you mean '--if-there'?"),
            Wrong("ledger upgrade --config {tmp}/misspelt.toml", MISSPELT),
            Wrong("ledger upgrade", "there is no ledger at sqlite:///{tmp}/none.db yet: `signalq consume` makes it", 1),
        ),
    ),
    "outcomes": Row(
        Right("outcomes --since 1h", "by-hand", ends_on_sigterm=True),
        (
            Wrong("outcomes --status foo", "Invalid value for '--status': 'foo' is not one of 'delivered', 'dead',"),
            Wrong("outcomes --since soon", "Invalid value for '--since': soon is neither a duration like 15m, 2h or"),
            Wrong("outcomes main", "there is an argument too many: main (see signalq outcomes --help)"),
        ),
    ),
    "notify": Row(
        Right("notify --dry-run", "rejected"),
        (
            Wrong("notify", "notify.urls is not set: name the services to send to"),
            Wrong("notify --dryrun", "No such option '--dryrun'. Did you mean '--dry-run'? (see signalq notify"),
            Wrong("notify --config {tmp}/misspelt.toml --dry-run", MISSPELT),
        ),
    ),
    "console": Row(
        Right("console", "console.started", ends_on_sigterm=True),
        (
            Wrong("console --port 1", "No such option '--port' (see signalq console --help)"),
            Wrong("console now", "there is an argument too many: now (see signalq console --help)"),
            Wrong("console --config {tmp}/misspelt.toml", MISSPELT),
        ),
    ),
    "gateway": Row(
        Right("gateway", "gateway.started", ends_on_sigterm=True),
        (
            Wrong("gateway", 'gateway.connectors is "named", and no connector is named, so that nobody could order'),
            Wrong("gateway --port 1", "No such option '--port' (see signalq gateway --help)"),
            Wrong("gateway --config {tmp}/broken.toml", BROKEN),
        ),
    ),
    "probe": Row(
        Right("probe --url http://127.0.0.1:{ops_port}/readyz", "/readyz answered 200"),
        (
            Wrong("probe --url nonsense", "--url must be an http:// or https:// URL with a host"),
            Wrong("probe --ready --path /metrics", "of --ready and --path give at most one (see signalq probe --help)"),
            Wrong(
                "probe --url http://127.0.0.1:1/", "http://127.0.0.1:1/ gives no answer (connection refused: nothing", 1
            ),
        ),
    ),
    "sandbox": Row(
        Right("sandbox --port 0", "sandbox ready, POST orders to http://127.0.0.1:", ends_on_sigterm=True),
        (
            Wrong("sandbox --fail 99", "Invalid value for '--fail': 99 is not in the range 300<=x<=599"),
            Wrong("sandbox --fail 503 --hang 3", "of --fail, --hang, --cut and --throttle give at most one"),
            Wrong("sandbox --host 192.0.2.1 --port 0", "can't listen on 192.0.2.1:0 (", 1),
        ),
    ),
    "schema": Row(
        Right("schema", '"connectorName"'),
        (
            Wrong("schema --asyncapi --openapi", "--asyncapi and --openapi are two documents: ask for one"),
            Wrong("schema this", "there is an argument too many: this (see signalq schema --help)"),
            Wrong("schema --config {tmp}/misspelt.toml", MISSPELT),
        ),
    ),
    "help": Row(
        Right("help dead replay", "Usage: signalq dead replay "),
        (
            Wrong("help dedd", "no command and no kind of error is dedd, the nearest is dead"),
            Wrong("help xyzzy", "no command and no kind of error is xyzzy"),
            Wrong("help --all", "No such option '--all'"),
        ),
    ),
    "completion": Row(
        Right("completion bash", "complete -o nosort -F _signalq signalq"),
        (
            Wrong("completion", "Missing argument 'SHELL'. Choose from: bash, zsh, fish (see signalq comp"),
            Wrong("completion tcsh", "Invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'"),
            Wrong("completion bash zsh", "there is an argument too many: zsh (see signalq completion --help)"),
        ),
    ),
}
