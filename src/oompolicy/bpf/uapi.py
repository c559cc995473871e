"""The numbers of include/uapi/linux/bpf.h that this project uses; the kernel never renumbers them.

Belongs here: enumerations under the kernel's names, without their prefixes. Must not know: who passes them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Command(IntEnum):
    """enum bpf_cmd: the first argument of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ITER_CREATE = 33
    LINK_DETACH = 34


class MapType(IntEnum):
    """enum bpf_map_type."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    RINGBUF = 27
    TASK_STORAGE = 29
    CGRP_STORAGE = 32


class MapFlags(IntFlag):
    """The map_flags of BPF_MAP_CREATE."""

    NONE = 0
    NO_PREALLOC = 1 << 0
    RDONLY = 1 << 3  # user space may only read
    RDONLY_PROG = 1 << 7  # programs may only read
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10
    INNER_MAP = 1 << 12  # arrays of different max_entries may stand in for one another in a map of maps


class UpdateFlag(IntEnum):
    """The flags of BPF_MAP_UPDATE_ELEM."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2


class ProgramType(IntEnum):
    """enum bpf_prog_type."""

    KPROBE = 2
    TRACEPOINT = 5
    RAW_TRACEPOINT = 17
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SYSCALL = 31


class ProgramFlags(IntFlag):
    """The prog_flags of BPF_PROG_LOAD."""

    NONE = 0
    TEST_RND_HI32 = 1 << 2
    SLEEPABLE = 1 << 4


class AttachType(IntEnum):
    """enum bpf_attach_type; NONE is what a program without one has (BPF_CGROUP_INET_INGRESS, 0)."""

    NONE = 0
    TRACE_RAW_TP = 23
    TRACE_FENTRY = 24
    TRACE_FEXIT = 25
    MODIFY_RETURN = 26
    LSM_MAC = 27
    TRACE_ITER = 28
    STRUCT_OPS = 44


class LinkType(IntEnum):
    """enum bpf_link_type; a type newer than this list stays a bare int."""

    UNSPEC = 0
    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10


class Helper(IntEnum):
    """enum bpf_func_id: the helpers a program calls, r1 to r5 in, r0 out."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    KTIME_GET_NS = 5
    TRACE_PRINTK = 6
    GET_PRANDOM_U32 = 7
    GET_SMP_PROCESSOR_ID = 8
    TAIL_CALL = 12
    GET_CURRENT_PID_TGID = 14
    GET_CURRENT_UID_GID = 15
    GET_CURRENT_COMM = 16
    GET_CURRENT_TASK = 35
    GET_CURRENT_CGROUP_ID = 80
    PROBE_READ_USER = 112
    PROBE_READ_KERNEL = 113
    PROBE_READ_USER_STR = 114
    PROBE_READ_KERNEL_STR = 115
    JIFFIES64 = 118
    GET_CURRENT_ANCESTOR_CGROUP_ID = 123
    KTIME_GET_BOOT_NS = 125
    SEQ_PRINTF = 126
    SEQ_WRITE = 127
    RINGBUF_OUTPUT = 130
    RINGBUF_RESERVE = 131
    RINGBUF_SUBMIT = 132
    RINGBUF_DISCARD = 133
    RINGBUF_QUERY = 134
    PER_CPU_PTR = 153
    THIS_CPU_PTR = 154
    TASK_STORAGE_GET = 156
    TASK_STORAGE_DELETE = 157
    GET_CURRENT_TASK_BTF = 158
    KTIME_GET_COARSE_NS = 160
    FOR_EACH_MAP_ELEM = 164
    TASK_PT_REGS = 175
    GET_ATTACH_COOKIE = 174
    LOOP = 181
    STRNCMP = 182
    GET_FUNC_ARG = 183
    GET_FUNC_RET = 184
    GET_FUNC_ARG_CNT = 185
    KTIME_GET_TAI_NS = 208
    CGRP_STORAGE_GET = 210
    CGRP_STORAGE_DELETE = 211


OBJ_NAME_BYTES = 16  # BPF_OBJ_NAME_LEN, the final NUL included
