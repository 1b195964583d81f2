"""A process of its own in a race on one ledger: a gateway with its callers, or a portal's withdrawals.

    python -m tests.faults.race_worker <directory> withdraw <number>
    python -m tests.faults.race_worker <directory> chase <number>
    python -m tests.faults.race_worker <directory> drain <number>

The directory holds what `tests.faults.race` wrote. A withdrawer ends its shares of the consents one after the other; a
gateway that chases asks about exactly those people whose consent is ending, one that drains asks until it is refused.
On standard output comes one JSON object: how many calls ended in which way.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from gateway.consents.withdraw import withdraw
from gateway.load import open_ledger
from gateway.main import Gateway
from gateway.state.change import Control
from isthmus.log import configure
from isthmus.pki import pinned_to
from isthmus.status import from_rpc_error
from isthmus.v1.consent_service_pb2 import WithdrawConsentRequest
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.faults.race import SHARES, Course
from tests.integration.exchange_parties import GATEWAY, PORTAL, now, query

CHASERS, DRAINERS = 2, 4
STRIDE = 40
"""A chaser asks once for so many withdrawals: the race needs the processors for these."""
AHEAD = 3
"""How many people, from the one whose consent is ending now, a caller chooses from: the next to be withdrawn."""


def withdrawals(course: Course, number: int) -> Counter[str]:
    """Withdraws every consent of two shares side by side, by the command that WithdrawConsent runs."""
    ledger = open_ledger(course.config, clock=now)
    portal, own = course.credentials(PORTAL), course.credentials(GATEWAY)
    control = Control(ledger, clock=now)
    with course.frontier() as frontier, ThreadPoolExecutor(2) as pool:

        def share(each: int) -> None:
            for place, person in enumerate(course.share(each)):
                call = control.call(PORTAL, portal.thumbprint, "WithdrawConsent")
                request = WithdrawConsentRequest(name=course.consents[person])
                withdraw(control, call, request, credentials=own)
                frontier[each] = place + 1

        list(pool.map(share, (number, number + SHARES // 2)))
        done = sum(frontier[each] for each in (number, number + SHARES // 2))
    ledger.close()
    return Counter(WITHDRAWN=done)


def exchanges(
    course: Course, number: int, whom: Callable[[], Iterator[str]], *, callers: int
) -> Counter[str]:
    """Asks a gateway of its own, from so many callers at once, about whomever `whom` names, until it names nobody."""
    gateway = Gateway(course.config, clock=now, registry=CollectorRegistry())
    gateway.start()
    credentials = course.credentials(course.systems[number]).channel_credentials()
    channel = grpc.secure_channel(f"127.0.0.1:{gateway.port}", credentials, options=pinned_to(GATEWAY))
    ask = ExchangeServiceStub(channel).Query

    def caller(_: int) -> Counter[str]:
        ended = Counter[str]()
        for resident in whom():
            try:
                ask(query(resident=resident, case="1"), timeout=20)
                ended["ALLOW"] += 1
            except grpc.RpcError as error:
                reason = from_rpc_error(error).reason.name
                ended[reason] += 1
                if reason == "QUOTA_EXHAUSTED":
                    break
        return ended

    with ThreadPoolExecutor(callers) as pool:
        ended = sum(pool.map(caller, range(callers)), Counter[str]())
    channel.close()
    gateway.stop()
    return ended


def chase(course: Course, number: int) -> Counter[str]:
    """Asks about people whose consents are just being withdrawn, until all are."""
    shares = [course.share(each) for each in range(SHARES)]
    with course.frontier() as frontier:

        def whom() -> Iterator[str]:
            come = 0
            while open_shares := [each for each in range(SHARES) if frontier[each] < len(shares[each])]:
                if sum(frontier) < come:
                    # The other processes say how far they are in memory, and in no other way.
                    time.sleep(0.002)
                    continue
                come = sum(frontier) + STRIDE
                share = shares[each := random.choice(open_shares)]
                yield course.residents[share[min(frontier[each] + random.randrange(AHEAD), len(share) - 1)]]

        return exchanges(course, number, whom, callers=CHASERS)


def main(directory: str, role: str, number: str) -> None:
    """The command line."""
    configure(level="ERROR")
    course = Course.read(Path(directory))
    if role == "withdraw":
        ended = withdrawals(course, int(number))
    elif role == "chase":
        ended = chase(course, int(number))
    else:
        ended = exchanges(course, int(number), lambda: repeat(course.residents[0]), callers=DRAINERS)
    print(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
