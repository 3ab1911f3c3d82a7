"""`signalq probe`."""

import click

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation

TIMEOUT_S = 3.0


@click.command(
    cls=SignalqCommand,
    example="signalq probe\nsignalq probe --ready\nsignalq probe --gateway --ready\n"
    "signalq probe --url http://127.0.0.1:8090/behaviour",
)
@click.option("--ready", is_flag=True, help="Ask /readyz instead of /healthz.")
@click.option("--path", metavar="PATH", help="Ask this path instead.")
@click.option("--gateway", "section", flag_value="gateway", help="Ask the gateway at gateway.host and gateway.port.")
@click.option("--url", metavar="URL", help="Ask this URL; then no settings are read.")
@click.option(
    "--timeout",
    "timeout_s",
    default=TIMEOUT_S,
    show_default=True,
    type=click.FloatRange(0, 600, min_open=True),
    metavar="SECONDS",
    help="How long the whole answer may take.",
)
@pass_invocation
def command(
    invocation: Invocation, *, ready: bool, path: str | None, section: str | None, url: str | None, timeout_s: float
) -> int:
    """Ask a consumer or a gateway on this machine whether it is well: for a container's health check.

    It finds the address in the same settings, ops.host and ops.port, and exits 0 if the answer is a 2xx,
    else 1 with a sentence. If the address stands for all interfaces, it asks on loopback. It loads nothing
    that it does not need, so that it may run every few seconds.
    """
    # Here, not above: the help needs none of it.
    from signalq.ops.probe import ask, base_url  # noqa: PLC0415

    if url is not None and (ready or path is not None or section is not None):
        raise click.UsageError("--url is the whole address: give it without --ready, --path and --gateway")
    if ready and path is not None:
        raise click.UsageError("of --ready and --path give at most one")
    if path is not None and not path.startswith("/"):
        raise click.UsageError("--path must begin with /")
    if url is None:
        invocation.say_found_file()
        url = base_url(section or "ops", invocation.config) + (path or ("/readyz" if ready else "/healthz"))
    answer = ask(url, timeout_s=timeout_s)
    click.echo(answer.sentence, err=not answer.is_well)
    return 0 if answer.is_well else 1
