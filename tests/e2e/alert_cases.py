"""For every alert a case in which it fires and one in which it must not, in promtool's notation of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Series = Mapping[str, str]

SERVICE = 'grpc_service="isthmus.v1.ExchangeService"'
QUERY = f'{SERVICE},grpc_method="Query",instance="g:1"'
EXPIRES = 20 * 86400
"""When certificates end, in seconds since the beginning of a case."""
CERTIFICATE = 'isthmus_certificate_expiry_timestamp_seconds{instance="g:1",role="gateway"}'


@dataclass(frozen=True, kw_only=True)
class Case:
    """What must be told of series, and what must not.

    Attributes:
        alert: its name.
        fires: series by which it fires; minutes apart, or as `every` says.
        quiet: series that are like them, and by which it must not.
        at: when both are looked at; `quiet_at` where the second is looked at later.
        labels: what the alert bears, its severity aside.
        summary: what it says.
    """

    alert: str
    fires: Series
    quiet: Series
    at: str = "30m"
    quiet_at: str = ""
    every: str = "1m"
    labels: Mapping[str, str]
    summary: str


def _handled(**codes: str) -> Series:
    return {
        f'grpc_server_handled_total{{{QUERY},grpc_code="{code}"}}': values for code, values in codes.items()
    }


def _timed(within: str, all_: str) -> Series:
    return {
        f'grpc_server_handling_seconds_bucket{{{QUERY},le="0.5"}}': within,
        f"grpc_server_handling_seconds_count{{{QUERY}}}": all_,
    }


SLO: Sequence[Case] = [
    Case(
        alert="IsthmusErrorBudgetBurnsFast",
        fires=_handled(OK="0+98x120", Internal="0+2x120"),
        # Denials are answers, and half a percent of faults over an hour is not yet worth getting up for.
        quiet=_handled(OK="0+995x120", PermissionDenied="0+5000x120", Unavailable="0+5x120"),
        at="2h",
        labels={},
        summary="Exchanges fail: 2% of the calls of the last 1h, 14.4 times what the objective allows or more",
    ),
    Case(
        alert="IsthmusErrorBudgetBurnsSteady",
        fires=_handled(OK="0+99x144", Unavailable="0+1x144"),
        # One call in a hundred fails, and there are nine of them: nobody is woken for so few.
        quiet=_handled(OK="0 1+1x144", Unavailable="0x120 1+0.375x23"),
        at="12h",
        every="5m",
        labels={},
        summary="Exchanges fail: 1% of the calls of the last 6h, 6 times what the objective allows or more",
    ),
    Case(
        alert="IsthmusErrorBudgetBurnsSlow",
        fires=_handled(OK="0+998x96", DeadlineExceeded="0+2x96"),
        # It was so until a day ago, and is over.
        quiet=_handled(OK="0+998x96", DeadlineExceeded="0+2x72 144x24"),
        at="4d",
        every="1h",
        labels={},
        summary="Exchanges fail: 0.2% of the calls of the last 3d, 1 times what the objective allows or more",
    ),
    Case(
        alert="IsthmusLatencyBudgetBurnsFast",
        fires=_timed("0+80x120", "0+100x120"),
        quiet=_timed("0+90x120", "0+100x120"),
        at="2h",
        labels={},
        summary="Exchanges are slow: 20% of the calls of the last 1h, 14.4 times what the objective allows or more",
    ),
    Case(
        alert="IsthmusLatencyBudgetBurnsSteady",
        fires=_timed("0+90x144", "0+100x144"),
        quiet=_timed("0+95x144", "0+100x144"),
        at="12h",
        every="5m",
        labels={},
        summary="Exchanges are slow: 10% of the calls of the last 6h, 6 times what the objective allows or more",
    ),
    Case(
        alert="IsthmusLatencyBudgetBurnsSlow",
        fires=_timed("0+98x96", "0+100x96"),
        quiet=_timed("0+995x96", "0+1000x96"),
        at="4d",
        every="1h",
        labels={},
        summary="Exchanges are slow: 2% of the calls of the last 3d, 1 times what the objective allows or more",
    ),
]

SHARING: Sequence[Case] = [
    Case(
        alert="IsthmusAnswerOverdue",
        # Two audit services: two answers are late, not four.
        fires={
            'isthmus_contract_answers_overdue{provider="veterans",instance="a:1"}': "2x30",
            'isthmus_contract_answers_overdue{provider="veterans",instance="b:1"}': "2x30",
        },
        quiet={'isthmus_contract_answers_overdue{provider="veterans",instance="a:1"}': "0x30"},
        labels={"provider": "veterans"},
        summary="veterans owes 2 answers that are overdue",
    ),
    Case(
        alert="IsthmusEmergencyReviewOverdue",
        fires={"isthmus_emergency_reviews_overdue": "0x10 1x30"},
        quiet={"isthmus_emergency_reviews_overdue": "0x30"},
        labels={},
        summary="1 emergency uses were not reviewed in time",
    ),
    Case(
        alert="IsthmusSharingUnused",
        fires={'isthmus_sharing_weak{provider="veterans",kind="unused"}': "3x60"},
        quiet={
            'isthmus_sharing_weak{provider="veterans",kind="unused"}': "0x60",
            'isthmus_sharing_weak{provider="veterans",kind="late"}': "3x60",
        },
        at="30h",
        every="30m",
        labels={"provider": "veterans"},
        summary="3 contracts with veterans are in force and nobody used them for 30 days",
    ),
    Case(
        alert="IsthmusQuotaNearlySpent",
        fires={'isthmus_quota_used_ratio{contract="c-1@1"}': "0.95x30"},
        quiet={'isthmus_quota_used_ratio{contract="c-1@1"}': "0.89x30"},
        labels={"contract": "c-1@1"},
        summary="c-1@1 has used 95% of a quota",
    ),
    Case(
        alert="IsthmusDenialBurst",
        # From a consumer of whom nothing was known before, too.
        fires={'isthmus_denials_total{consumer="x",provider="y",reason="CONSENT_MISSING"}': "0+20x15"},
        # Somebody who is denied as often on every day.
        quiet={'isthmus_denials_total{consumer="x",provider="y",reason="CONSENT_MISSING"}': "0+20x1440"},
        quiet_at="2d",
        every="2m",
        labels={"consumer": "x", "provider": "y"},
        summary="x was denied 100 times in ten minutes by y, five times the usual or more",
    ),
]

LOG: Sequence[Case] = [
    Case(
        alert="IsthmusExchangesUnrecorded",
        fires={"isthmus_exchanges_unrecorded_total": "0x20 3x10", "isthmus_streams_unended_total": "0x30"},
        quiet={"isthmus_exchanges_unrecorded_total": "3x30", "isthmus_streams_unended_total": "0x30"},
        at="25m",
        labels={},
        summary="3 exchanges left no record, because the ledger took none",
    ),
    Case(
        alert="IsthmusCheckpointStale",
        fires={"isthmus_checkpoint_age_seconds": "0+60x30", **_handled(Unavailable="0+5x30")},
        # Nobody asks anything: an idle log has an old checkpoint.
        quiet={"isthmus_checkpoint_age_seconds": "0+60x30", **_handled(OK="100x30")},
        labels={},
        summary="The newest checkpoint is 30m 0s old, and exchanges go on",
    ),
    Case(
        alert="IsthmusLedgerSlow",
        fires={
            'isthmus_ledger_commit_seconds_bucket{le="0.5"}': "0x30",
            'isthmus_ledger_commit_seconds_bucket{le="1"}': "0+60x30",
            'isthmus_ledger_commit_seconds_bucket{le="+Inf"}': "0+60x30",
            "isthmus_ledger_commit_seconds_count": "0+60x30",
        },
        quiet={
            'isthmus_ledger_commit_seconds_bucket{le="0.5"}': "0+60x30",
            'isthmus_ledger_commit_seconds_bucket{le="1"}': "0+60x30",
            'isthmus_ledger_commit_seconds_bucket{le="+Inf"}': "0+60x30",
            "isthmus_ledger_commit_seconds_count": "0+60x30",
        },
        labels={},
        summary="The slowest of 100 commits of the ledger takes 995ms",
    ),
    Case(
        alert="IsthmusLedgerDiskFilling",
        # 100 GB are left, of which it takes two an hour.
        fires={'isthmus_ledger_free_bytes{instance="a:1"}': "100000000000-2000000000x24"},
        quiet={'isthmus_ledger_free_bytes{instance="a:1"}': "100000000000-1000000x24"},
        at="12h",
        every="1h",
        labels={"instance": "a:1"},
        summary="The ledger's disk at a:1 is nearly full, or will be full within four days",
    ),
    Case(
        alert="IsthmusLedgerDiskFull",
        fires={'isthmus_ledger_free_bytes{instance="a:1"}': "536870912x30"},
        quiet={'isthmus_ledger_free_bytes{instance="a:1"}': "2147483648x30"},
        labels={"instance": "a:1"},
        summary="The ledger's disk at a:1 has 512MiB left; exchange stops when it is full",
    ),
    Case(
        alert="IsthmusWitnessMissing",
        fires={'isthmus_witness_cosigned_age_seconds{witness="audit-office"}': "3000+60x30"},
        quiet={
            'isthmus_witness_cosigned_age_seconds{witness="audit-office"}': "10x30",
            'isthmus_witness_cosigned_size{witness="audit-office"}': "7x30",
        },
        labels={"witness": "audit-office"},
        summary="The witness audit-office has not vouched for the log for an hour, or never",
    ),
    Case(
        alert="IsthmusLogUncovered",
        fires={'isthmus_uncovered_seconds{by="timestamps"}': "3600+60x30"},
        quiet={'isthmus_uncovered_seconds{by="timestamps"}': "0x30"},
        labels={"by": "timestamps"},
        summary="The oldest record that no timestamps cover has waited for 1h 30m 0s",
    ),
    Case(
        alert="IsthmusOutageBudgetLow",
        fires={
            "isthmus_outage_budget_seconds": "3600x30",
            "isthmus_outage_budget_left_seconds": "2400-60x30",
        },
        quiet={"isthmus_outage_budget_seconds": "3600x30", "isthmus_outage_budget_left_seconds": "3500x30"},
        labels={},
        summary="Exchange stops in 10m 0s unless outside witnesses answer",
    ),
    Case(
        alert="IsthmusLogSplit",
        fires={'isthmus_witness_failures_total{witness="w",trouble="forked"}': "0x10 1x20"},
        # A witness that is away is missing, not contradicting.
        quiet={
            'isthmus_witness_failures_total{witness="w",trouble="unreachable"}': "0+1x30",
            'isthmus_witness_splits_total{log="l"}': "0x30",
        },
        labels={"witness": "w"},
        summary="The log w was rolled back or shows two histories",
    ),
]

PARTS: Sequence[Case] = [
    Case(
        alert="IsthmusTargetDown",
        fires={'up{job="isthmus-gateway",instance="g:1"}': "0x30"},
        # Somebody else's.
        quiet={'up{job="isthmus-gateway",instance="g:1"}': "1x30", 'up{job="node",instance="n:1"}': "0x30"},
        labels={"job": "isthmus-gateway", "instance": "g:1"},
        summary="isthmus-gateway at g:1 does not answer",
    ),
    Case(
        alert="IsthmusAuditServiceAbsent",
        fires={'up{job="isthmus-gateway",instance="g:1"}': "1x30"},
        quiet={'up{job="isthmus-audit",instance="a:1"}': "1x30"},
        labels={"job": "isthmus-audit"},
        summary="No audit service is scraped: nobody knows what the ledger holds",
    ),
    Case(
        alert="IsthmusDepartmentDown",
        fires={
            'isthmus_department_up{department="veterans",instance="g:1"}': "0x30",
            'isthmus_department_up{department="veterans",instance="g:2"}': "0x30",
        },
        # One gateway still reaches it.
        quiet={
            'isthmus_department_up{department="veterans",instance="g:1"}': "0x30",
            'isthmus_department_up{department="veterans",instance="g:2"}': "1x30",
        },
        labels={"department": "veterans"},
        summary="No gateway reaches the node of veterans",
    ),
    Case(
        alert="IsthmusDepartmentDatabaseDown",
        fires={'isthmus_department_source_up{instance="n:1"}': "1x5 0x25"},
        quiet={'isthmus_department_source_up{instance="n:1"}': "1x27 0x3"},
        labels={"instance": "n:1"},
        summary="The node at n:1 cannot ask its own database",
    ),
    Case(
        alert="IsthmusGrantsRefused",
        fires={'isthmus_department_grants_refused_total{instance="n:1"}': "0x20 2x10"},
        quiet={'isthmus_department_grants_refused_total{instance="n:1"}': "2x30"},
        at="25m",
        labels={"instance": "n:1"},
        summary="The node at n:1 refused 2 grants as forged, stale, replayed or malformed",
    ),
    Case(
        alert="IsthmusCertificateExpiring",
        fires={CERTIFICATE: f"{EXPIRES}x500"},
        quiet={CERTIFICATE: f"{2 * EXPIRES}x500"},
        at="7d",
        every="1h",
        labels={"instance": "g:1", "role": "gateway"},
        summary="The certificate of the gateway at g:1 ends in 13d 0h 0m 0s",
    ),
    Case(
        alert="IsthmusCertificateExpiresSoon",
        fires={CERTIFICATE: f"{EXPIRES}x500"},
        quiet={CERTIFICATE: f"{2 * EXPIRES}x500"},
        at="19d",
        every="1h",
        labels={"instance": "g:1", "role": "gateway"},
        summary="The certificate of the gateway at g:1 ends in 1d 0h 0m 0s; nobody will talk to it then",
    ),
    Case(
        alert="IsthmusWorkerReplaced",
        fires={'isthmus_worker_restarts_total{instance="g:1"}': "0x10 1x5 2x5 4x10"},
        quiet={'isthmus_worker_restarts_total{instance="g:1"}': "0x10 1x20"},
        at="29m",
        labels={"instance": "g:1"},
        summary="The gateway at g:1 replaced a worker 4 times in half an hour",
    ),
    Case(
        alert="IsthmusClerkFailing",
        fires={'isthmus_clerk_failures_total{duty="end expired consents"}': "0+1x90"},
        # One bad round, and good ones since.
        quiet={'isthmus_clerk_failures_total{duty="end expired consents"}': "0x10 1x80"},
        at="80m",
        labels={"duty": "end expired consents"},
        summary="The clerk fails at 'end expired consents' again and again; deadlines may be missed unseen",
    ),
    Case(
        alert="IsthmusLabelsFolded",
        fires={'isthmus_label_values_folded_total{label="dataset"}': "0x5 4x25"},
        quiet={'isthmus_label_values_folded_total{label="dataset"}': "4x30"},
        labels={"label": "dataset"},
        summary="Too many values of dataset: some are counted as other, and figures no longer tell them apart",
    ),
    Case(
        alert="IsthmusSharingBehind",
        fires={"isthmus_sharing_behind_records": "20000x90"},
        quiet={"isthmus_sharing_behind_records": "20000x10 0x80"},
        at="60m",
        labels={},
        summary="The sharing report is 20000 records behind the log",
    ),
]

CASES: Sequence[Case] = [*SLO, *SHARING, *LOG, *PARTS]
