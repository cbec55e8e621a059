"""Files of others: only plain ones are opened, and no link is followed unless that is wanted."""

import os
import socket

import pytest

from jaxcifar.errors import UserError
from jaxcifar.system import atomic, files


def link(path, target):
    path.symlink_to(target)


def listen(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


OTHERS = {
    "a FIFO": lambda path: os.mkfifo(path),
    "a device": lambda path: link(path, "/dev/zero"),
    "a socket": listen,
}


@pytest.mark.parametrize("mode", ["rb", "ab", "a+"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_a_plain_file_is_refused_at_once(kind, mode, tmp_path):
    """A FIFO would block, and /dev/zero never ends."""
    OTHERS[kind](tmp_path / "it")
    for follow in (False, True):
        with pytest.raises(OSError, match=f"It is {kind}|No such device|Too many levels"):
            files.open_plain(tmp_path / "it", mode, follow=follow)
    with pytest.raises(OSError, match=f"It is {kind}|No such device"):
        files.read_bytes(tmp_path / "it", 10, follow=True)


@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "ab+", "a+"])
def test_no_link_is_followed_unless_asked_for(mode, tmp_path):
    (tmp_path / "target").write_text("mine")
    link(tmp_path / "link", "target")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.open_plain(tmp_path / "link", mode)
    assert (tmp_path / "target").read_text() == "mine"
    assert files.read_bytes(tmp_path / "link", 4, follow=True) == b"mine"


@pytest.mark.parametrize("mode", ["ab", "ab+", "a+", "r+"])
def test_a_hard_link_is_read_but_not_written(mode, tmp_path):
    """Its other name may be a file of the user; backups and deduplicated folders have many."""
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").hardlink_to(tmp_path / "target")
    assert files.read_bytes(tmp_path / "link", 4) == b"mine"
    with pytest.raises(OSError, match="It is a hard link"):
        files.open_plain(tmp_path / "link", mode)


def test_a_file_above_the_limit_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="It has more than 4 bytes"):
        files.read_bytes(tmp_path / "file", 4)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte_order_mark"])
def test_a_text_is_read_without_a_byte_order_mark(mark, tmp_path):
    (tmp_path / "names").write_bytes(mark + "Käfer".encode())
    assert files.read_text(tmp_path / "names") == "Käfer"


@pytest.mark.parametrize("kind", [*OTHERS, "a link"])
def test_a_folder_with_anything_else_is_refused_by_name(kind, tmp_path):
    place = tmp_path / "run" / "deep" / "it"
    place.parent.mkdir(parents=True)
    (tmp_path / "run" / "deep" / "file").write_text("")
    link(tmp_path / "way", "run")
    files.check_folder(tmp_path / "way")  # the folder itself may be a link
    (OTHERS | {"a link": lambda path: link(path, "nowhere")})[kind](place)
    with pytest.raises(UserError, match=r"deep/it is a .*may hold only plain files and folders"):
        files.check_folder(tmp_path / "way")


def test_a_file_is_written_beside_links_with_guessed_names(tmp_path):
    (tmp_path / "target").write_text("mine")
    for name in ("page", f"page.{os.getpid()}.tmp"):
        link(tmp_path / name, "target")
    atomic.check_writable(tmp_path, "--out")
    with atomic.replacing(tmp_path / "page") as file:
        file.write(b"new")
    assert (tmp_path / "page").read_text() == "new"
    assert not (tmp_path / "page").is_symlink()
    assert (tmp_path / "target").read_text() == "mine"
