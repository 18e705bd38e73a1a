"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rsfc_gpu.errors import ResourceError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: it becomes `path` when the block ends well, and is removed when it does not.

    The temporary name keeps the suffixes, by which writers choose the format. Parent folders are made.

    Raises
    ------
    ResourceError : the folder cannot be written or the disk is full.
    """
    # Processes and threads may make the same file at once: each has a temporary one of its own.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where a parent is no folder, there is nothing to remove either
            temporary.unlink(missing_ok=True)


def bids_label(name: str) -> str:
    """A name as a BIDS label: letters and digits only, the sign of a negative number spelled m."""
    spelled = re.sub(r"(?<![A-Za-z0-9])-(?=\d)", "m", name)
    return "".join(character for character in spelled if character.isalnum())


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
