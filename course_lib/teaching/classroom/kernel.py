"""What Linux offers to shut a process in: namespaces, a file system of its own, and the loss of all privileges."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from course_lib.files import DATA, MY, NOTEBOOKS

PACKAGE = Path(__file__).resolve().parents[2]
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
BIND, RECURSIVE, PRIVATE, READ_ONLY, NO_SUID, NO_DEVICES = 0x1000, 0x4000, 0x40000, 1, 2, 4
MOUNT_SETATTR, AT_RECURSIVE, AT_HERE = 442, 0x8000, -100
NO_NEW_PRIVILEGES, CAPABILITIES = 38, 0x20080522
JAIL = "/sys"
"""Where a jail is mounted, in its own namespace: a folder of every Linux in which nothing is that Python needs."""


def unshare(user: bool) -> None:
    """Moves this process into namespaces of its own: mounts, network, communication and, for its children, processes.

    With `user`, as an ordinary user may, in a namespace of users, too. Raises OSError where the system refuses.
    """
    uid, gid = os.getuid(), os.getgid()
    _libc("unshare", NEWNS | NEWIPC | NEWPID | NEWNET | (NEWUSER if user else 0))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    _libc("mount", None, b"/", None, RECURSIVE | PRIVATE, None)


def make_jail(visible: Sequence[Path], hidden: Sequence[Path], size: int) -> None:
    """Mounts at JAIL an empty file system of `size` bytes, in which only the `visible` folders are, read-only.

    What is `hidden` is empty. Raises OSError where the system refuses.
    """
    _empty(JAIL, size)
    os.mkdir(f"{JAIL}/tmp")
    os.chmod(f"{JAIL}/tmp", 0o1777)
    for path in (p for p in map(Path, ("/lib", "/lib64", "/bin")) if p.is_symlink()):
        os.symlink(os.readlink(path), f"{JAIL}{path}")
    for path in dict.fromkeys(each for folder in visible for each in (Path(os.path.realpath(folder)), folder)):
        if path.is_dir() and not os.path.exists(f"{JAIL}{path}/."):
            os.makedirs(f"{JAIL}{path}")
            _libc("mount", f"{path}".encode(), f"{JAIL}{path}".encode(), None, BIND | RECURSIVE, None)
            attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SUID | NO_DEVICES, 0, 0, 0)
            _libc("syscall", MOUNT_SETATTR, AT_HERE, f"{JAIL}{path}".encode(), AT_RECURSIVE, attributes, 32)
    for path in hidden:
        if os.path.isdir(there := f"{JAIL}{os.path.realpath(path)}"):
            _empty(there, 4096)


def _empty(place: str, size: int) -> None:
    _libc("mount", b"tmpfs", place.encode(), b"tmpfs", NO_SUID | NO_DEVICES, f"size={size},mode=755".encode())


def drop_privileges() -> None:
    """Takes all capabilities from this process, and from all that it may start."""
    _libc("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _libc("capset", (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)())


def _libc(name: str, *args) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(f"{name} is a call of Linux")
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args) < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def visible() -> list[Path]:
    """The folders that are in a jail: the system's programs, Python with its packages, the library and its data."""
    packages = [Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    system = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin")]
    return [*system, Path(sys.prefix), Path(sys.base_prefix), *packages, PACKAGE, DATA]


HIDDEN = [PACKAGE / "teaching/checks", NOTEBOOKS, MY]
"""Folders that are empty in a jail: an answer to each exercise is in the first two."""
