"""Checks that all processes of a run are there before JAX connects them.

JAX's own errors at this point abort the process with a dump of C++, or come after minutes.
"""

import contextlib
import json
import socket
import time
from typing import NamedTuple

from jaxcifar.errors import UserError

JOIN_SECONDS = 45.0  # how long the processes wait for each other
RETRY_SECONDS = 0.3
GREETING_SECONDS = 5.0  # for a process that has connected to say who it is


class Address(NamedTuple):
    """The address of process 0."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Returns the address HOST:PORT; raises a UserError if it is not one."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise UserError(
            f"--coordinator is {text!r}; expected HOST:PORT, the address of process 0 and a free"
            " port of it from 1 to 65535"
        )
    return Address(host.strip("[]"), int(port))


def meet(address: Address, processes: int, process: int, seconds: float = JOIN_SECONDS) -> None:
    """Waits until all processes of the run have reported to process 0.

    Raises:
      UserError: process 0 cannot be reached, a process is missing, two processes have the same
        index, or their numbers of processes differ. Every process that has reported gets the error.
    """
    deadline = time.monotonic() + seconds
    if process:
        problem = _report(address, processes, process, deadline)
    else:
        problem = _collect(address, processes, deadline)
    if problem:
        raise UserError(f"--distributed: {problem}")


def _collect(address: Address, processes: int, deadline: float) -> str:
    """Waits in process 0 for the others and answers them; returns the problem, "" if none."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_listen(address.port))
        except OSError as error:
            return (
                f"process 0 cannot use port {address.port} of this machine: {error.strerror};"
                " choose another port, and give only one process the index 0"
            )
        found: dict[int, socket.socket] = {}
        problem = ""
        while len(found) < processes - 1 and not problem:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                other = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = sorted({*range(1, processes)} - {*found})
                problem = f"no sign of process {', '.join(map(str, missing))}; start all processes"
                break
            greeting = _greeting(other)
            if greeting is None:  # not one of ours
                continue
            process, theirs = greeting
            if theirs != processes:
                problem = f"process {process} has --processes={theirs}, process 0 has {processes}"
            elif process in found:
                problem = f"two processes have --process={process}; expected 0 to {processes - 1}"
            found[process if process not in found else -1] = other
        for other in found.values():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                other.sendall(json.dumps(problem).encode() + b"\n")
        return problem


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _greeting(other: socket.socket) -> tuple[int, int] | None:
    """Returns the index and the number of processes that a process sends, or None."""
    other.settimeout(GREETING_SECONDS)
    try:
        process, processes = json.loads(other.makefile("rb").readline(100))
        return int(process), int(processes)
    except (OSError, ValueError, TypeError):
        return None


def _report(address: Address, processes: int, process: int, deadline: float) -> str:
    """Reports to process 0 and returns the problem that it answers, "" if there is none."""
    why: BaseException | str = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(address, timeout=left) as leader:
                leader.sendall(json.dumps([process, processes]).encode() + b"\n")
                # process 0 may have started later, and waits as long
                leader.settimeout(JOIN_SECONDS)
                if answer := leader.makefile("rb").readline():
                    return str(json.loads(answer))
        except (OSError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or error
        time.sleep(RETRY_SECONDS)
    return (
        f"process {process} cannot reach process 0 at {address} ({why}); start process 0 on that"
        " machine, and check the address and the firewall"
    )
