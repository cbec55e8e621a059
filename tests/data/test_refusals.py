"""Hostile pickles, archives and servers."""

import gzip
import os
import pickle
import socket
import tarfile
import time

import pytest
from reading import assert_one_line, load

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
    assert_one_line(raised, "mkdir", "expected")
    assert not (tmp_path / "ran").exists()
    pickle.loads(blob)  # it would have run
    assert (tmp_path / "ran").exists()


def test_a_server_that_never_answers_is_abandoned():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(UserError):
            tfds.probe(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=1)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("member", ["readme", "././@LongLink"])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, member, monkeypatch):
    """The excess is in an unused file, or in a file name, which is read into memory."""
    monkeypatch.setattr(official, "MAX_TAR", 10**6)
    info = tarfile.TarInfo(member)
    info.size, info.type = 10**9, tarfile.GNUTYPE_LONGNAME if "@" in member else tarfile.REGTYPE
    path = tmp_path / "cifar-10-binary.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(20):
            file.write(bytes(10**5))
    with pytest.raises(UserError) as raised:
        official.read_tar(official.BINARY, path)
    assert_one_line(raised, "unpacks to more than 1,000,000 bytes", "expected")


@pytest.mark.parametrize("source", ["npz", "cifar10"])
def test_data_in_a_fifo_are_refused_at_once(source, tmp_path):
    name = "own.npz" if source == "npz" else "data_batch_1"
    os.mkfifo(tmp_path / name)
    (tmp_path / "test_batch").write_text("so that the folder is a copy")
    place = tmp_path / name if source == "npz" else tmp_path
    with pytest.raises(UserError, match="It is a FIFO, not a plain file"):
        load(place, source=source)
