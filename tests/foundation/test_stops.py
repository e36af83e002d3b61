"""What a signal does, and when."""

import os
import pickle
import signal
import threading

import pytest

from tta.foundation import stops as module
from tta.foundation.stops import Stopped, Stops, leave, listening


@pytest.fixture
def now(monkeypatch):
    """Return a clock, in seconds, that stands still."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


def send(now, number=signal.SIGINT, after=1.0):
    now[0] += after
    os.kill(os.getpid(), number)
    for _ in range(100):  # the interpreter looks for signals between two steps
        pass


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_the_stream_a_signal_ends_the_program_where_it_is(now, number, status):
    with pytest.raises(Stopped) as caught, listening():
        send(now, number)
    assert caught.value.status == status


def test_in_the_stream_a_signal_is_a_wish(now, capfd):
    with listening() as stops:
        with stops.held(), stops.streaming():
            send(now)
            assert stops.wanted.name == "Ctrl-C"
        with pytest.raises(Stopped):
            stops.obey()
    assert capfd.readouterr().err.strip() == (
        "Ctrl-C: stopping when this batch is done and saved; once more to leave it undone"
    )


@pytest.mark.parametrize("milliseconds", [20, 40, 60, 499])
def test_a_second_signal_right_after_the_first_is_the_same_stop(now, milliseconds, capfd):
    with listening() as stops, stops.held(), stops.streaming():
        send(now)
        for _ in range(3):
            send(now, after=milliseconds / 3000)
    assert stops.wanted is not None
    assert capfd.readouterr().err.count("Ctrl-C") == 1


def test_a_later_one_breaks_the_batch(now):
    with listening() as stops, stops.held():
        with pytest.raises(Stopped), stops.streaming():
            send(now)
            send(now)
        stops.wanted = None  # what is written after it is not broken


def test_where_records_are_written_it_waits_for_their_end(now):
    done = []
    with listening(say=False) as stops, stops.held(), pytest.raises(Stopped), stops.streaming():
        with stops.held():
            send(now)
            send(now)
            done.append("written")
        done.append("next batch")
    assert done == ["written"]


def test_a_third_ends_the_process(now):
    child = os.fork()
    if child == 0:
        with listening(say=False) as stops, stops.held():
            for _ in range(3):
                send(now, signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_nothing_breaks_the_last_words(now):
    with listening() as stops:
        stops.end()
        send(now)
    assert stops.wanted is None


def test_handlers_of_the_program_and_other_threads_are_left_alone():
    mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, mine)
    seen = []

    def elsewhere():
        with listening() as stops:
            seen.append((stops.wanted, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(None, mine)]


def test_a_worker_can_send_it_to_its_parent():
    stopped = pickle.loads(pickle.dumps(Stopped(signal.SIGTERM)))
    assert (stopped.name, stopped.status) == ("SIGTERM", 143)
    assert isinstance(stopped, KeyboardInterrupt)
    assert Stops().wanted is None


@pytest.mark.parametrize(("status", "stays"), [(0, True), (2, True), (130, False), (143, False)])
def test_once_stopped_nothing_breaks_the_end_of_the_program(status, stays):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as caught:
            leave(status)
        assert caught.value.code == status
        after = {number: signal.getsignal(number) for number in before}
        assert after == (before if stays else dict.fromkeys(before, signal.SIG_IGN))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
