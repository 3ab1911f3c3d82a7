"""The command `signalq`: its sub-commands by name, each imported when it is called."""

import click

from signalq.ops.terminal.invocation import SignalqGroup
from signalq.version import __version__

# In the order in which a newcomer needs them.
COMMANDS = {
    "demo": "See all of it on this machine, with a private RabbitMQ.",
    "dev": "Run a world of its own on this machine: RabbitMQ, sandbox, consumer, gateway.",
    "init": "Write a commented signalq.toml to begin with.",
    "settings": "Show the settings in force, and where each value comes from.",
    "check": "Say what is right, what is wrong, and what to do about it.",
    "consume": "Run the consumer: orders from RabbitMQ to the webhook.",
    "publish": "Publish one intent from flags, or many from a file.",
    "topology": "Declare or show the exchanges and queues.",
    "dead": "Look at the dead letters, replay or discard them.",
    "orders": "Say what became of each intent.",
    "scheduled": "List or cancel the delayed intents that wait.",
    "lanes": "Look at the lanes; pause connectors, and let them go on.",
    "ledger": "Upgrade the ledger's tables.",
    "outcomes": "Follow what becomes of intents, live.",
    "notify": "Tell people that something needs them: Telegram, Slack, mail, …",
    "console": "Serve the console: pages that a desk keeps open all day.",
    "gateway": "Take orders by HTTP, as the platform's webhook does.",
    "probe": "Ask a consumer or a gateway whether it is well.",
    "sandbox": "Run a stand-in for the platform's webhook.",
    "schema": "Print the JSON Schema of an order intent, or the AsyncAPI document.",
    "completion": "Print the script for completion in bash, zsh or fish.",
    "help": "Explain a command, or a kind of error.",
}


@click.group(
    name="signalq",
    cls=SignalqGroup,
    lazy=COMMANDS,
    no_args_is_help=True,
    example="signalq check\nsignalq --config signalq.toml consume\nsignalq COMMAND --help",
)
@click.version_option(__version__, message="signalq %(version)s")
def cli() -> None:
    """Order intents from RabbitMQ to the Crypto-Arsenal webhook: never lost, never twice, exactly on time.

    All commands use the same settings: a TOML file (--config, SIGNALQ_CONFIG, or signalq.toml in the
    working folder, which is said), and the environment on top (SIGNALQ_BROKER__URL sets broker.url).
    An error is one sentence on standard error; signalq help KIND says more of the kind that ends it. The
    exit status is 0 for done, 1 for failed, 2 for wrong usage or settings.
    """
