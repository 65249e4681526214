"""Files: the folders of the course, and the one function that writes a file."""

from __future__ import annotations

import os
from errno import EISDIR
from pathlib import Path
from uuid import uuid4

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = (_PACKAGE.parent / "notebooks/src").is_dir()
"""Whether this is the course's repository, as opposed to an installed package, which has data and notebooks inside."""

ROOT = _PACKAGE.parent if CHECKOUT else _PACKAGE
"""The folder of data and notebooks: the repository's top folder, or the package's own."""

WORK = ROOT if CHECKOUT else Path.cwd()
"""The folder that the course writes into: the repository, or, for an installed package, the one it was started in."""

PYPROJECT = (ROOT if CHECKOUT else ROOT / "project") / "pyproject.toml"
"""What the course needs, and the address of its repository."""

DATA = ROOT / "data"
"""The folder of digits, checkpoints and measured figures; data/README.md states the source of each."""

NOTEBOOKS = ROOT / "notebooks"
"""The folder of the lessons; their sources are in its subfolder src/."""

MY = WORK / "my"
"""The student's own folder, which git ignores: their progress, and their copies of lessons."""


def must_be_checkout(command: str) -> None:
    """Raises RuntimeError unless this is the repository: for a command that changes what the course ships."""
    if not CHECKOUT:
        raise RuntimeError(f"{command} must be run in the course's repository: an installed package is never changed")


def write_atomically(path: Path, data: bytes | str) -> Path:
    """Returns `path` after writing bytes, or text as UTF-8, to a temporary file beside it and renaming that file.

    The rename is atomic: another process reads the old file or the new one, never a part of one. The temporary name is random,
    so that any number of writers, threads or processes, may write at once. Raises OSError if the folder cannot be written or
    path is a folder; nothing is left behind then.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "xb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(f"path must be a file in a folder that can be written, got {path}: {error.strerror}") from None
    return path


def must_be_writable(path: Path) -> None:
    """Raises OSError if `path` cannot be written. Called before a long training, not after it."""
    path = Path(path)
    if path.is_dir():
        raise OSError(f"path must be a file in a folder that can be written, got {path}: {os.strerror(EISDIR)}")
    write_atomically(path.with_name(f".{path.name}.{uuid4().hex}.probe"), b"").unlink()
