"""What the audit service reports besides the log: the control state, which the gateway's package knows how to read.

The command may import both; `audit` may not import `gateway`, and so is handed it.
"""

from audit.config import AuditConfig
from audit.main import Extension, StartError
from gateway.emergency.overdue import OverdueCollector
from gateway.rulebook import Rulebook
from gateway.state.schema import METADATA
from gateway.state_metrics import StateCollector
from isthmus.config import ConfigError


def control_state(config: AuditConfig) -> Extension:
    """Returns what reports on contracts, consents, datasets, quotas and reviews.

    Raises:
        StartError: the rule packs or calendars of `[rules]` cannot be used.
    """
    try:
        rulebook = Rulebook.load(folder=config.rules.folder, calendars=config.rules.calendars)
    except ConfigError as error:
        raise StartError(str(error)) from error
    return Extension(
        METADATA,
        lambda ledger, clock: (
            StateCollector(ledger, clock, rulebook=rulebook),
            OverdueCollector(ledger, clock),
        ),
    )
