"""`isthmus department`: serves a department's datasets behind its manifest.

Exit codes: 0 stopped as asked; 1 it cannot start, and standard error says why; 2 wrong command line.
"""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.packaging_guard import ForeignPackageError
from services.main import run
from services.manifest import ManifestError
from services.node import NodeError

EXIT_REFUSED = 1


def department(
    config: Annotated[
        Path,
        typer.Option("--config", help="The manifest; `isthmus dataset draft` writes one.", dir_okay=False),
    ] = Path("department.toml"),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve a department's datasets to the gateway, until SIGTERM."""
    try:
        run(config, log_level=log_level)
    except (ManifestError, NodeError, ForeignPackageError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from error
