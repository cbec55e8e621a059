"""The manifest of a saved step: every file with its size and checksum.

It is written last, once all other files are on disk. A step that matches its manifest holds what
was saved, so an error in loading it is an error of the program or of its settings; a step that
does not match is damaged.
"""

import json
import pathlib
import zlib

from jaxcifar.system import atomic, files, json_files

FILE = "manifest.json"
UNREAD = "commit_success.txt"  # Orbax's note with a path of the machine; nothing reads the note
CHUNK = 2**20


def write_manifest(folder: pathlib.Path) -> None:
    """Writes the manifest of the files that are in the folder now."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name not in (FILE, UNREAD))
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    described = {name: _describe(folder / name) for name in names}
    atomic.write_text(folder / FILE, json.dumps(described, indent=1))


def mismatch(folder: pathlib.Path) -> str:
    """Returns the first difference between the files and their manifest; "" if there is none.

    Files that the manifest does not list are ignored. A step without a manifest has no
    difference.

    Raises:
      OSError: a file cannot be read, which says nothing about what it holds.
    """
    try:
        expected = json_files.read(folder / FILE, {str: [json_files.INTEGER]})
        if any(pathlib.Path(name).is_absolute() or ".." in name.split("/") for name in expected):
            raise json_files.BadJson("it lists a file of another folder")
    except FileNotFoundError:
        return ""
    except json_files.BadJson:
        return f"{FILE} is not a manifest"
    for name, described in expected.items():
        try:
            if _describe(folder / name) != described:
                return f"{name} is not the file that was saved"
        except FileNotFoundError:
            return f"{name} is missing"
    return ""


def _describe(path: pathlib.Path) -> list[int]:
    """Returns the size of a file and the CRC-32 of its content."""
    size = crc32 = 0
    with files.open_plain(path) as file:
        while chunk := file.read(CHUNK):
            size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
    return [size, crc32]
