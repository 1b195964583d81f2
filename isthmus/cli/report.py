"""`isthmus report`: whether departments share, drawn from the audit service's figures or recomputed from the log."""

import typer

from isthmus.cli.main import EXIT_CODES
from isthmus.cli.report_recompute import recompute
from isthmus.cli.report_sharing import sharing

app = typer.Typer(
    help="Who shares with whom, and how well.", no_args_is_help=True, epilog=EXIT_CODES, rich_markup_mode=None
)
app.command()(sharing)
app.command()(recompute)
