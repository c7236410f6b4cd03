"""Confines this process on Linux before it runs untrusted code. Started by its path, without the server's packages:
`python -I -S confining.py PARENT`.

- Landlock: no file can be opened but the standard library and shared libraries, and nothing can be written, made or
  removed. So there is no `/proc`, no data directory, no configuration.
- seccomp: no new process or thread, no program, no socket, no signal to another process, no change of a file's mode or
  owner, no memory that outlives the process, and none of the calls by which kernels were broken.
- Limits: memory, processor time, open files, no file content.
- No capability, no new privileges; another user where the server is root. It dies with the server.

If the kernel refuses one of these, an exception is raised and no code is run.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

NOBODY: Final = 65534
FILES_MAX: Final = 32
READABLE: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
)
"""Beside the interpreter's own library."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PDEATHSIG, _DUMPABLE, _SECCOMP, _CAPBSET_DROP, _NO_NEW_PRIVS = 1, 4, 22, 24, 38


def confine(parent: int, seconds: float, memory_bytes: int) -> None:
    """Raises OSError or ValueError if this system does not support a restriction."""
    library = str(Path(os.__file__).parent)
    _limit(seconds, memory_bytes)
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    _only_read([library, str(Path(sys.base_prefix, "lib")), *READABLE])
    _lose_privileges(library)
    _call("prctl", _DUMPABLE, 0, 0, 0, 0)
    _call("prctl", _PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # After the user was changed: that resets it.
    if os.getppid() != parent:
        os._exit(1)
    _filter_calls()


def _limit(seconds: float, memory_bytes: int) -> None:
    cpu = max(1, round(seconds))
    for name, value in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", FILES_MAX),
        ("RLIMIT_MSGQUEUE", 0),
        ("RLIMIT_MEMLOCK", 0),
    ):
        kind = getattr(resource, name)
        ceiling = resource.getrlimit(kind)[1]
        limit = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (limit, limit))


def _lose_privileges(library: str) -> None:
    """Changes to another user, if this one is root and everybody can read the interpreter's library."""
    for capability in range(64):
        if _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # Not allowed, or there is none of this number.
    if os.geteuid() == 0 and all(one.stat().st_mode & 0o5 == 0o5 for one in (Path(library), *Path(library).parents)):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = struct.pack("Ii", 0x20080522, 0)
    _call("capset", header, bytes(24))


# --- files ----------------------------------------------------------------------------------------------------------
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3


def _only_read(paths: Sequence[str]) -> None:
    """Files below these may be read; all other file access rights of this kernel are dropped."""
    version = _syscall(_CREATE_RULESET, None, 0, 1)
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    rights = [files, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    attributes = struct.pack(f"={len(rights)}Q", *rights)
    ruleset = _syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    for path in paths:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = _READ_FILE | _READ_DIR if Path(path).is_dir() else _READ_FILE
        _syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, opened), 0)
        os.close(opened)
    _syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    made = [ctypes.c_size_t(one) if isinstance(one, int) else one for one in arguments]
    _LIBC.syscall.restype = ctypes.c_long
    result: int = _LIBC.syscall(ctypes.c_long(number), *made)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result


def _call(name: str, *arguments: int | bytes) -> None:
    made = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if getattr(_LIBC, name)(*made) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


# --- system calls ---------------------------------------------------------------------------------------------------
_DENIED: Final[Mapping[str, tuple[int, int | None]]] = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281),
    "setsid": (112, 157), "setpgid": (109, 154),
    "socket": (41, 198),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "truncate": (76, 45), "file_setattr": (469, 469),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116), "quotactl": (179, 60), "personality": (135, 92),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "vhangup": (153, 58), "modify_ldt": (154, None),
    "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip
"""The numbers on x86_64 and on aarch64. Answered with EPERM."""
_UNKNOWN: Final[Mapping[str, tuple[int, int | None]]] = {"clone3": (435, 435)}
"""Answered with ENOSYS: the C library then uses `clone`."""
_BY_ARGUMENT: Final[Mapping[str, tuple[tuple[int, int], int, tuple[int, ...]]]] = {
    "prctl": ((157, 167), 0, (_PDEATHSIG, _DUMPABLE)),
    "fcntl": ((72, 25), 1, (8, 10, 15)),  # Signals to other processes: F_SETOWN, F_SETSIG, F_SETOWN_EX.
    "ioctl": ((16, 29), 1, (0x5412, 0x8901, 0x8902, 0x40086602, 0x401C5820)),  # Also TIOCSTI, and attributes of files.
}
"""The numbers, an argument, and its values that are denied."""
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | 1, 0x00050000 | 38
_X32 = 0x40000000


def _filter_calls() -> None:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES or sys.byteorder != "little" or sys.maxsize < 2**32:
        raise OSError(f"there are no system call numbers for {sys.platform} on {machine}")
    column, architecture = _MACHINES[machine]
    lines = _program(column, architecture, os.getpid())
    text = b"".join(struct.pack("HBBI", *one) for one in lines)
    kept = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(kept))
    _call("prctl", _SECCOMP, 2, program, 0, 0)


def _program(column: int, architecture: int, own: int) -> Sequence[tuple[int, int, int, int]]:
    """BPF: (operation, lines to skip when true, when false, operand) each."""
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for table, verdict in ((_DENIED, _EPERM), (_UNKNOWN, _ENOSYS)):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    for numbers, argument, values in _BY_ARGUMENT.values():
        lines += [(_JUMP_EQUAL, 0, 2 + 2 * len(values), numbers[column]), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)]
        for value in values:
            lines += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _EPERM)]
        lines.append((_RETURN, 0, 0, _ALLOW))
    for numbers, allowed in (((302, 261), 0), ((234, 131), own)):  # prlimit64 and tgkill: of this process alone.
        lines += [
            (_JUMP_EQUAL, 0, 4, numbers[column]),
            (_LOAD, 0, 0, _ARGUMENTS),
            (_JUMP_EQUAL, 1, 0, allowed),
            (_RETURN, 0, 0, _EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def main(parent: int) -> None:
    _LIBC.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    path = Path(__file__).with_name("runner.py")
    space: dict[str, Any] = {"__name__": "runner"}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), space)  # noqa: S102 — the runner, without a package
    space["main"](partial(confine, parent))


if __name__ == "__main__":
    main(int(sys.argv[1]))
