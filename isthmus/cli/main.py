"""The `isthmus` command: finds the part that is asked for, and ends every failure in words and an exit code.

Parts are imported when they are used, so that `isthmus --help` answers at once.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from isthmus import __version__
from isthmus.cli.connection import ConnectionOptions

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 failed or refused for what was asked; 2 wrong command line; 3 denied by policy; "
    "4 unavailable now, trying again may help."
)


@dataclass(frozen=True, slots=True)
class Part:
    """A subcommand: where it is (`app` in the module, or a function of the command's own name) and what it does."""

    module: str
    help: str


PARTS: Final = {
    "query": Part("isthmus.cli.exchange", "Ask for facts about one subject under a contract."),
    "verify": Part("isthmus.cli.exchange", "Ask whether something is true of one subject; no data leave."),
    "stream": Part("isthmus.cli.stream", "Receive a whole dataset, or part of it, into a file."),
    "batch": Part("isthmus.cli.batch", "Ask for facts about many subjects, from a CSV file."),
    "explain": Part("isthmus.cli.exchange", "Say how an exchange would be decided, without performing it."),
    "catalog": Part("isthmus.cli.catalog", "What departments offer: list, show, publish, retire."),
    "contract": Part("isthmus.cli.contract", "Contracts: propose, sign, suspend, end, show, list."),
    "consent": Part("isthmus.cli.consent", "Consents: grant, withdraw, pause, resume, show, list."),
    "emergency": Part("isthmus.cli.emergency", "What was released in an emergency: list, review."),
    "audit": Part(
        "isthmus.cli.audit", "The audit service and its trail: serve, search, prove, verify offline."
    ),
    "report": Part("isthmus.cli.report", "Who shares with whom, and how well: draw it, recompute it."),
    "witness": Part("isthmus.cli.witness", "Vouch for the logs of others; serve, make a key."),
    "dataset": Part("isthmus.cli.dataset", "From data to a manifest: load CSV files, draft, check."),
    "department": Part("isthmus.cli.department", "Serve a department's datasets behind its manifest."),
    "gateway": Part("isthmus.cli.gateway", "Serve the gateway; make its keys; deny certificates."),
    "pki": Part("isthmus.cli.pki", "A development certification authority."),
    "demo": Part("isthmus.cli.demo", "All of it on this machine, with invented citizens."),
}


class LazyGroup(TyperGroup):
    """The root command. Its parts are names and help texts until one is invoked."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, part in PARTS.items():
            self.add_command(TyperCommand(name, help=part.help, callback=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Imports the part that `args` begins with; anything else is typer's complaint."""
        if args and args[0] in PARTS:
            return args[0], load_part(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the part; whatever it raises becomes a block on standard error and an exit code."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            from isthmus.cli.failures import exit_code_of, report

            code = exit_code_of(error)
            if code is None:
                raise
            report(error)
            # Not "from error": a traceback tells the caller nothing that the block does not.
            raise typer.Exit(code) from None


def load_part(name: str) -> Any:
    """Returns the command behind one name of `PARTS`."""
    module = importlib.import_module(PARTS[name].module)
    found = getattr(module, "app", None) or getattr(module, name)
    outer = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        outer.add_typer(found, name=name)
        group: Any = typer.main.get_command(outer)
        return group.commands[name]
    outer.command(name, epilog=EXIT_CODES)(found)
    return typer.main.get_command(outer)


app = typer.Typer(
    name="isthmus",
    cls=LazyGroup,
    no_args_is_help=True,
    # Plain help: the coloured kind takes twice the time to start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(envvar="ISTHMUS_ADDRESS", help="The gateway, host:port.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(envvar="ISTHMUS_CERT", help="Your certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(envvar="ISTHMUS_KEY", help="Its private key, PEM.")] = None,
    ca: Annotated[
        Path | None, typer.Option(envvar="ISTHMUS_CA", help="The authority's certificate, PEM.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(envvar="ISTHMUS_SERVER", help="Who must answer there; gateway/main unless given."),
    ] = None,
    audit_address: Annotated[
        str | None, typer.Option(envvar="ISTHMUS_AUDIT_ADDRESS", help="The audit service, host:port.")
    ] = None,
    audit_server: Annotated[
        str | None,
        typer.Option(envvar="ISTHMUS_AUDIT_SERVER", help="Who must answer there; audit/main unless given."),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(envvar="ISTHMUS_DEADLINE", help="Seconds a call may take.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(envvar="ISTHMUS_PROFILE", help="The [profile.NAME] of the configuration to use."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Use other departments' facts under contract, consent and proof.

    How to connect comes from these options, else the environment (ISTHMUS_ADDRESS, ISTHMUS_CERT, …), else a profile
    in ~/.config/isthmus/config.toml. Options stand before the command: isthmus --profile school query …
    """
    context.obj = ConnectionOptions(
        address=address,
        cert=cert,
        key=key,
        ca=ca,
        server=server,
        audit_address=audit_address,
        audit_server=audit_server,
        deadline=deadline,
        profile=profile,
    )


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    sys.exit(app())
