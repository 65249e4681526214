"""Runs a function of somebody else in a process of its own, under limits; nothing but bytes comes back.

Three processes: the one that asks; a supervisor, which it forks, and which never runs a line of what is judged; and in its
namespaces the one that does. The supervisor ends it, and all that it has started, when its time is over.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from course_lib.teaching.classroom import kernel

WAYS = {
    "namespaces": "no network, no other process and no file but Python and the course's, read-only; another user's rights",
    "user namespaces": "no network, no other process and no file but Python and the course's, read-only",
    "another user": "another user's rights only: the network, and files that all may read, can be reached",
    "limits": "nothing but limits of time, memory and files: it may read and write whatever you may",
}
"""How a process can be shut in, the safest first, and what that means."""


@dataclass(frozen=True)
class Limits:
    """Seconds of processor time; bytes of memory beyond what the course takes, of files, and sent back.

    `patience` is how many times these seconds may pass on the clock.
    """

    seconds: float = 10.0
    memory: int = 2 << 30
    disk: int = 32 << 20
    processes: int = 8
    answer: int = 32 << 20
    patience: float = 3.0

    @property
    def wait(self) -> float:
        """Seconds on the clock: a machine may have other things to do."""
        return self.patience * self.seconds

    @property
    def whole(self) -> float:
        """Processor seconds for all that a student handed in; what is stopped counts as `wait`."""
        return 20 * self.seconds


class Stopped(Exception):
    """Nothing came back; says why, in a line about "it", the function."""


def confined(
    run: Callable[[bytes], bytes],
    file: Path | None = None,
    limits: Limits = Limits(),
    way: str = "",
    hidden: Sequence[Path] = (),
) -> bytes:
    """What `run(content)` returns in a process of its own, shut in `way`, by default the safest that there is here.

    The content is that of `file`, which neither this process nor any later one gets to hold; the folders `hidden` are empty
    there. Raises Stopped where nothing comes back in time, or the file cannot be read.
    """
    read, write = os.pipe()
    supervisor = os.fork()
    if not supervisor:
        os.close(read)
        _never_returns(lambda: os.fdopen(write, "wb").write(_supervise(run, file, limits, way or safest(), hidden, write)))
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(supervisor, 0)
    if said[:1] != b"+":
        raise Stopped(said.decode() or "it could not be started")
    return said[1:]


def _never_returns(run: Callable) -> None:
    """Runs, and ends this process without any of Python's own last things, which are those of the process it is a copy of."""
    try:
        run()
    finally:
        os._exit(0)


@cache
def safest() -> str:
    """The first of WAYS that works here: it is tried."""
    for way in WAYS:
        if not why_not(way):
            return way
    return "limits"


def why_not(way: str) -> str:
    """What the system says when a process is to be shut in this way, '' where it can be."""
    try:
        confined(lambda content: b"here", way=way)
        return ""
    except Stopped as stopped:
        return str(stopped)


def _supervise(
    run: Callable[[bytes], bytes], file: Path | None, limits: Limits, way: str, hidden: Sequence[Path], answer: int
) -> bytes:
    """In the supervisor: "+" and what came back, or why nothing did. The other end of `answer` is the process that asks."""
    os.setsid()  # a signal to a whole group of processes ends here
    if way in ("namespaces", "another user") and os.getuid():
        return b"only root can become another user"
    content = file.read_bytes() if file else b""
    try:
        if "namespaces" in way:
            kernel.unshare(user=way == "user namespaces")
            kernel.make_jail(kernel.visible(), [*kernel.HIDDEN, *hidden], limits.disk)
    except OSError as refused:
        return str(refused).encode()
    user = 60_000 + os.getpid() % 5000 if way in ("namespaces", "another user") else None
    read, write, bounds = *os.pipe(), _bounds(limits)
    child = os.fork()
    if not child:
        _never_returns(lambda: _inside(partial(run, content), bounds, "namespaces" in way, user, write))
    os.close(write)
    said, why = _listen(read, limits, answer)
    status = _end(child, patience=0 if why or said else 1)
    if way == "another user" and (killer := os.fork()) == 0:  # what it has started lives on, in no namespace that ends with it
        _never_returns(lambda: (os.setuid(user), os.kill(-1, signal.SIGKILL)))
    elif way == "another user":
        os.waitpid(killer, 0)
    return b"+" + said if said and not why else (why or _cause(status, limits)).encode()


def _listen(read: int, limits: Limits, answer: int) -> tuple[bytes, str]:
    """What comes until the other end is closed, and what was wrong with that."""
    said, end, poll = bytearray(), time.monotonic() + limits.wait, select.poll()
    poll.register(read, select.POLLIN)
    poll.register(answer, 0)  # reports nothing but that nobody waits for an answer any more
    while (left := end - time.monotonic()) > 0:
        if ready := dict(poll.poll(1000 * left)):
            if answer in ready:
                return b"", "nobody waits for it any more"
            if not (more := os.read(read, 1 << 16)):
                return bytes(said), ""
            said += more
            if len(said) > limits.answer:
                return b"", f"its results take more than {limits.answer >> 20} MB"
    return b"", f"it took more than {limits.wait:g} s"


def _end(child: int, patience: float) -> int:
    """The exit status of the child, which is killed unless it ends by itself within so many seconds."""
    end = time.monotonic() + patience
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < end:
        time.sleep(0.01)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return status


def _cause(status: int, limits: Limits) -> str:
    """Why a process of this exit status sent nothing."""
    if not os.WIFSIGNALED(status):
        return "it ended the process before it gave an answer"
    if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return f"it took more than {limits.seconds:g} s of processor time, or the memory of the machine"
    return f"it ended the process by a signal ({signal.Signals(os.WTERMSIG(status)).name})"


def _inside(run: Callable[[], bytes], bounds: dict[int, int], jailed: bool, user: int | None, write: int) -> None:
    """In the process that is shut in: leaves all behind but the pipe, then runs."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for there in (0, 1, 2):
        os.dup2(null, there)
    os.dup2(write, 3)
    os.closerange(4, 1 << 16)
    sys.stdin, sys.stdout, sys.stderr = (open(i, mode, encoding="utf-8") for i, mode in ((0, "r"), (1, "w"), (2, "w")))
    if jailed:
        os.chroot(kernel.JAIL)
    os.chdir("/tmp" if jailed else "/")
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))
    if jailed or user:
        kernel.drop_privileges()
    os.environ.clear()
    os.environ.update(HOME="/tmp", PATH="/usr/bin:/bin")
    said = run()
    with open(3, "wb") as pipe:
        pipe.write(said)


def _bounds(limits: Limits) -> dict[int, int]:
    """The kernel's limits of a process that is a copy of this one."""
    statm = Path("/proc/self/statm")
    now = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize() if statm.exists() else 1 << 33
    return {
        resource.RLIMIT_CPU: math.ceil(limits.seconds),
        resource.RLIMIT_AS: now + limits.memory,
        resource.RLIMIT_FSIZE: limits.disk,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
