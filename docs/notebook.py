"""Makes docs/tutorial.ipynb from docs/tutorial.md: commands and code become cells with outputs.

python docs/notebook.py
"""

import json
import pathlib
import re
from typing import Any

TUTORIAL = pathlib.Path(__file__).parent / "tutorial.md"
ABOUT = "*Generated from [tutorial.md](tutorial.md) by `python docs/notebook.py`.*"
PART = re.compile(r"^```(\w+)\n(.*?)^```\n|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def notebook(tutorial: str) -> dict[str, Any]:
    """Returns the tutorial as a notebook; indented blocks are commands, ```text blocks outputs."""
    cells, end = [_text(ABOUT), _code("%cd ..")], 0
    for part in PART.finditer(tutorial):
        language, block, command = part.groups()
        if before := tutorial[end : part.start()].strip():
            cells.append(_text(before))
        end = part.end()
        if command:
            cells.append(_code("!" + re.sub(r"\s*\\\n\s*", " ", command).strip()))
        elif language == "text":
            output = {"output_type": "stream", "name": "stdout", "text": _lines(block)}
            cells[-1]["outputs"].append(output)
        else:
            cells.append(_code(block.rstrip()))
    if after := tutorial[end:].strip():
        cells.append(_text(after))
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _text(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": _lines(text),
    }


if __name__ == "__main__":
    content = json.dumps(notebook(TUTORIAL.read_text()), indent=1, ensure_ascii=False)
    TUTORIAL.with_suffix(".ipynb").write_text(content + "\n")
