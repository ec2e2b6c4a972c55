from __future__ import annotations

import logging
import threading
import time

from audiozen.processes.link import SPREAD, Limits, part, tell


def test_parting_lasts_until_the_other_end_has_heard_it(ends):
    near, far = ends
    thread = threading.Thread(target=part, args=[[near]])
    thread.start()
    far.sendall(b"what nobody reads any more")
    assert far.recv(100) == b'{"kind": "bye"}\n'
    assert far.recv(100) == b""
    thread.join(0.1)
    assert thread.is_alive()
    far.close()
    thread.join(SPREAD / 2)
    assert not thread.is_alive()


def test_parting_from_one_that_stands_still_is_short(ends):
    near, _ = ends
    begin = time.monotonic()
    part([near])
    assert SPREAD - 0.1 < time.monotonic() - begin < 2 * SPREAD


def test_reports_are_as_frequent_as_the_limits_need():
    assert Limits.of(1800.0, 60.0, 2).report == 1.0
    assert Limits.of(None, None, 2).report == 1.0
    assert Limits.of(2.0, 60.0, 2).report == 0.5
    assert Limits.of(1800.0, 1.0, 2).report == 0.25


def test_reports_of_very_many_are_rarer_but_in_time():
    assert Limits.of(1800.0, 60.0, 512).report == 5.12
    assert Limits.of(1800.0, 60.0, 100_000).report == 15.0


def test_text_is_told_as_it_is(caplog):
    tell(logging.ERROR, "100 % of it", told_elsewhere=True)
    (record,) = caplog.records
    assert record.getMessage() == "100 % of it"
    assert record.told_elsewhere
