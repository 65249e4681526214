"""Files: the folders of the course, and the one function that writes a file."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The repository's top folder."""

DATA = ROOT / "data"
"""The folder of digits, checkpoints and measured figures; data/README.md states the source of each."""

NOTEBOOKS = ROOT / "notebooks"
"""The folder of the lessons; their sources are in its subfolder src/."""


def write_atomically(path: Path, data: bytes | str) -> Path:
    """Returns `path` after writing bytes, or text as UTF-8, to a temporary file beside it and renaming that file.

    The rename is atomic: another process reads the old file or the new one, never a part of one.
    Raises OSError if the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(f"path must be in a folder that can be written, got {path.parent}: {error.strerror}") from None
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return path


def must_be_writable(path: Path) -> None:
    """Raises OSError if `path` cannot be written. Called before a long training, not after it."""
    path = Path(path)
    write_atomically(path.with_name(f".{path.name}.{os.getpid()}.probe"), b"").unlink()
