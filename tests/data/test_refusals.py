"""A hostile pickle and a silent server."""

import os
import pickle
import socket
import time

import pytest
from reading import one_line

from jaxcifar.data import official, tfds
from jaxcifar.errors import UserError


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    blob = pickle.dumps({b"data": Hostile(tmp_path / "ran")}, protocol)
    with pytest.raises(UserError) as raised:
        official.unpickle(blob)
    one_line(raised, "mkdir", "expected")
    assert not (tmp_path / "ran").exists()
    pickle.loads(blob)  # it would have run
    assert (tmp_path / "ran").exists()


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(UserError):
            tfds.probe(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=1)
        assert time.monotonic() - start < 5
