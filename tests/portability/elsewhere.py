"""``audiozen`` as Windows or macOS would have it, on Linux::

    ELSEWHERE=win32 python elsewhere.py '[["new", "recipe"], ["train", "recipe/baseline.toml"], ["import", "a.module"]]'

Commands are run one after the other, and ``main()`` of modules.

The modules that differ between systems are seen through a mask, by AudioZEN alone: what is not there elsewhere is not
there, and what behaves differently does so. Folders below the current one follow the rules of Windows: a file that is
open cannot be replaced or removed, nor can a folder with such a file; there are no links; text is cp1252 and ends lines
with CR LF where nothing else was asked for.

Processes that are started read this file as their main module, and so wear the mask as well.
"""

from __future__ import annotations

import builtins
import contextlib
import enum
import errno
import fcntl
import importlib
import io
import json
import multiprocessing
import os
import signal
import struct
import sys
import types
from pathlib import Path

PLATFORM = os.environ.get("ELSEWHERE")
IS_WINDOWS = PLATFORM == "win32"
ROOT = Path.cwd()

ABSENT_EVERYWHERE = {
    "os": "memfd_create sched_getaffinity sched_setaffinity posix_fadvise",
    "signal": "sigwaitinfo sigtimedwait",
    "select": "epoll",
}
ABSENT_ON_WINDOWS = {
    "os": "O_CLOEXEC O_DIRECTORY O_NOFOLLOW WNOHANG fork forkpty getloadavg getpgid getpgrp "
    "getpriority getuid geteuid killpg mkfifo nice pread preadv pwrite pwritev register_at_fork "
    "sendfile setpgid setpriority setsid statvfs sysconf uname wait",
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIG_BLOCK SIG_UNBLOCK "
    "pthread_kill pthread_sigmask setitimer sigpending sigwait",
    "select": "PIPE_BUF POLLIN POLLNVAL POLLOUT poll",
    "multiprocessing.reduction": "DupFd",
}
NO_MODULES = ("fcntl", "grp", "posix", "pwd", "resource", "termios") if IS_WINDOWS else ()


class Mask(types.ModuleType):
    """A module of which some things are hidden, and others are different."""

    def __init__(self, module: types.ModuleType, **different: object) -> None:
        super().__init__(module.__name__)
        hidden = ABSENT_EVERYWHERE.get(module.__name__, "").split()
        if IS_WINDOWS:
            hidden += ABSENT_ON_WINDOWS.get(module.__name__, "").split()
        object.__setattr__(self, "_module", module)
        object.__setattr__(self, "_hidden", hidden)
        self.__dict__.update(different)

    def __getattr__(self, name: str) -> object:
        if name in self._hidden:
            raise AttributeError(f"{self._module.__name__} has no {name} on {PLATFORM}")
        return getattr(self._module, name)


# ---- what is different ---------------------------------------------------------------------------


def refused(path: object, number: int = errno.EACCES) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def is_in_use(path: object) -> bool:
    """Whether this process has a file at this path, or below it, open or mapped."""
    wanted = str(Path(path).absolute())
    if not wanted.startswith(f"{ROOT}/"):
        return False
    maps = Path("/proc/self/maps").read_text().splitlines()
    taken = ["".join(line.partition("/")[1:]) for line in maps]
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            taken.append(str(descriptor.readlink()))
    return any(f"{place}/".startswith(f"{wanted}/") for place in taken)


def unless_in_use(function):
    def careful(path, *others, **options):
        for place in (path, *(other for other in others if isinstance(other, (str, Path)))):
            if is_in_use(place):
                raise refused(place)
        return function(path, *others, **options)

    return careful


def no_links(source, target, **_):
    raise OSError(errno.EINVAL, "A required privilege is not held by the client", str(target))


def open_descriptor(path, *args, **options):
    if Path(path).is_dir():
        raise refused(path)
    return os.open(path, *args, **options)


def fsync(descriptor):
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise refused(descriptor, errno.EBADF)
    os.fsync(descriptor)


def kill(process, number):
    assert number != 0, "this would be Ctrl-C"
    os.kill(process, number)


def locking(descriptor, operation, num_bytes):
    """``msvcrt.locking``: of a place in an open file, whoever opened it."""
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    assert position > 1 << 30, "nobody else could read the file"
    is_writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    kinds = {0: fcntl.F_UNLCK, 2: fcntl.F_WRLCK if is_writable else fcntl.F_RDLCK}
    wanted = struct.pack("hhqqi4x", kinds[operation], os.SEEK_SET, position, num_bytes, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


real_open = io.open


def open_text(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **others):
    if "b" not in mode:
        encoding = "cp1252" if encoding in (None, "locale") else encoding
        if newline is None and set(mode) & set("wax+"):
            newline = "\r\n"
    return real_open(file, mode, buffering, encoding, errors, newline, **others)


def start_methods():
    return ["spawn"]


def get_context(method=None):
    if method not in (None, "spawn"):
        raise ValueError(f"cannot find context for {method!r}")
    return multiprocessing.get_context(method)


def masks() -> dict[str, types.ModuleType]:
    import multiprocessing.reduction
    import select

    if not IS_WINDOWS:
        return {
            "os": Mask(os),
            "signal": Mask(signal),
            "select": Mask(select),
            "sys": Mask(sys, platform="darwin"),
        }
    there = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM")
    signals = enum.IntEnum("Signals", {name: int(signal.Signals[name]) for name in there})
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.locking, msvcrt.LK_UNLCK, msvcrt.LK_NBLCK = locking, 0, 2
    return {
        "os": Mask(os, name="nt", O_BINARY=0, open=open_descriptor, fsync=fsync, kill=kill),
        "signal": Mask(signal, Signals=signals),
        "select": Mask(select),
        "sys": Mask(sys, platform="win32"),
        "multiprocessing": Mask(
            multiprocessing, get_all_start_methods=start_methods, get_context=get_context
        ),
        "multiprocessing.reduction": Mask(multiprocessing.reduction),
        "msvcrt": msvcrt,
    }


def put_on() -> None:
    masked, real_import = masks(), builtins.__import__

    def import_masked(name, globals=None, locals=None, fromlist=(), level=0):  # noqa: A002
        if str((globals or {}).get("__name__")).startswith("audiozen"):
            if name in NO_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r} on {PLATFORM}", name=name)
            if name in masked and (fromlist or "." not in name):
                return masked[name]
        return real_import(name, globals, locals, fromlist, level)

    builtins.__import__ = import_masked
    if IS_WINDOWS:
        os.replace, os.rename = unless_in_use(os.replace), unless_in_use(os.rename)
        os.unlink, os.remove = unless_in_use(os.unlink), unless_in_use(os.remove)
        os.rmdir, os.symlink = unless_in_use(os.rmdir), no_links
        io.open = builtins.open = open_text


if PLATFORM:
    put_on()

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    import torch

    from audiozen.cli.main import main

    torch.set_num_threads(1)
    for command, *words in json.loads(sys.argv[1]):
        if command == "import":
            importlib.import_module(words[0]).main()
        elif code := main([command, *words]):
            sys.exit(code)
