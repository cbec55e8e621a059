"""The processes of a run meet before JAX connects them, or each says in one line why not."""

import functools
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxcifar.errors import UserError
from jaxcifar.system import devices, rendezvous


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def meet_all(members, seconds=2.0):
    """Lets processes [(index, number of processes)] meet; returns each one's error, or None."""
    address = rendezvous.Address("127.0.0.1", free_port())

    def meet(member):
        index, processes = member
        try:
            rendezvous.meet(address, processes, index, seconds)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(meet, members))


def test_all_processes_meet_in_any_order():
    assert meet_all([(2, 3), (1, 3), (0, 3)]) == [None] * 3
    assert meet_all([(0, 1)]) == [None]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([(0, 3), (1, 3)], "no sign of process 2"),
        ([(0, 3), (1, 3), (1, 3)], "two processes have --process=1"),
        ([(0, 2), (1, 3)], "process 1 has --processes=3, process 0 has 2"),
    ],
)
def test_every_process_learns_what_is_wrong(members, problem):
    errors = meet_all(members)
    assert all(error and problem in error and "\n" not in error for error in errors), errors


def test_two_processes_with_index_0_end():
    errors = meet_all([(0, 2), (0, 2)], 1.0)
    assert any("give only one process the index 0" in error for error in errors), errors
    assert any("no sign of process 1" in error for error in errors), errors


def test_a_process_0_that_does_not_exist_is_reported_in_time():
    began = time.monotonic()
    [error] = meet_all([(1, 2)], 1.0)
    assert "cannot reach process 0 at 127.0.0.1" in error
    assert time.monotonic() - began < 10
    assert rendezvous.JOIN_SECONDS < 60


def test_a_stranger_on_the_port_does_not_matter():
    address = rendezvous.Address("127.0.0.1", free_port())
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(rendezvous.meet, address, 2, 0, 10.0)
        while True:
            try:
                with socket.create_connection(address) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        pool.submit(rendezvous.meet, address, 2, 1, 10.0).result()
        leader.result()


@pytest.mark.parametrize("text", ["host", "host:", ":80", "host:0", "host:65536", "host:x", ""])
def test_a_bad_address_is_refused(text):
    with pytest.raises(UserError, match="expected HOST:PORT"):
        rendezvous.parse_address(text)
    assert rendezvous.parse_address("[::1]:80") == ("::1", 80)


def test_the_processes_of_a_scheduler_meet_too(monkeypatch):
    """JAX alone would wait five minutes for the missing one, and end with a dump of C++."""
    variables = {"JOB_ID": 12345, "STEP_NODELIST": "localhost", "NTASKS": 2, "PROCID": 0}
    for name, value in (variables | {"LOCALID": 0}).items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    monkeypatch.setattr(rendezvous, "meet", functools.partial(rendezvous.meet, seconds=1.0))
    with pytest.raises(UserError, match="no sign of process 1; start all processes"):
        devices.join(None, None, None)
