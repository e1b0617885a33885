"""What every `HistoryStore` does. One suite, run on each of them: a subclass has the fixture `store`.

The clock stands for the database's clock, too.
"""

import pytest
from store_builders import T0

from foundation.clock import ManualClock
from store_suite.admission import AdmissionSuite
from store_suite.archive import ArchiveSuite
from store_suite.callers import CallersSuite
from store_suite.catalogue import CatalogueSuite
from store_suite.dispatch import DispatchSuite
from store_suite.express import ExpressSuite
from store_suite.failures import FailuresSuite
from store_suite.flow_control import FlowControlSuite
from store_suite.holds import HoldSuite
from store_suite.inbox import InboxSuite
from store_suite.notices import NoticesSuite
from store_suite.polls import PollsSuite
from store_suite.running import RunningSuite
from store_suite.tokens import TokensSuite
from store_suite.waits import KeyedWaitsSuite, WaitsSuite


class StoreSuite(
    CatalogueSuite,
    InboxSuite,
    DispatchSuite,
    AdmissionSuite,
    FlowControlSuite,
    RunningSuite,
    ExpressSuite,
    HoldSuite,
    WaitsSuite,
    FailuresSuite,
    PollsSuite,
    KeyedWaitsSuite,
    CallersSuite,
    NoticesSuite,
    TokensSuite,
    ArchiveSuite,
):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(T0)
