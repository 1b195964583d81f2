"""`isthmus audit new-epoch` and `destroy-epoch`: the keys of the subject tokens, from their making to their end."""

from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.audit_keeper import Certificate, Config, Key, Why, in_words, keeper, stated
from isthmus.cli.output import Json, print_facts, print_json

_SECRET: Final = 0o600


def new_epoch(
    epoch: Annotated[int, typer.Argument(min=1, max=999_999_999, help="Its number; one more than the last.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where the key goes.", file_okay=False)] = Path(
        "secrets"
    ),
) -> None:
    """Make the key of a new epoch of subject tokens, `subject-N.key`; never over a file that is there."""
    from audit.retention.epochs import new_subject_key
    from isthmus.cli.keys import write_new

    path = directory / f"subject-{epoch}.key"
    with in_words():
        write_new(path, new_subject_key(), _SECRET)
    typer.echo(str(path))


def destroy_epoch(
    epoch: Annotated[int, typer.Argument(help="The epoch's number; never the current one.")],
    reason: Why,
    config: Config = Path("audit.toml"),
    certificate: Certificate = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Destroy the key of an old epoch: nobody can link its records to a person any more, and every proof holds.

    Refused while a record of the epoch is younger than the legal minimum. Other copies of the key, on gateways and in
    backups, are for their keepers to destroy.
    """
    from audit.retention.epochs import destroy_epoch as destroy
    from audit.retention.rule import RetentionRefused

    with keeper(config, certificate, key) as own:
        settings = own.config.subjects
        if epoch == settings.current:
            raise RetentionRefused(f"epoch {epoch} is the current one; new tokens need its key. Rotate first")
        path = settings.keys.get(str(epoch))
        if path is None:
            raise RetentionRefused(f"the configuration names no key of epoch {epoch}")
        done = destroy(own.ledger, epoch, path, reason=stated(reason), actor=own.actor, rule=own.rule)
    facts = {
        "epoch": epoch,
        "records": done.records,
        "recorded": f"records/{done.position}",
        "file": str(path),
    }
    print_json(facts) if as_json else print_facts(facts)
