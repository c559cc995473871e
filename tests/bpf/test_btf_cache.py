"""The cache: the second start reads no BTF, and nothing that is wrong with the file is ever believed."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path

import pytest

from bpf.test_btf import kernel
from oompolicy.bpf.btf import Btf
from oompolicy.bpf.btf_types import Kind, Parameter
from oompolicy.bpf.btf_writer import BtfWriter
from oompolicy.bpf.errors import BtfError
from oompolicy.bpf.kernel_btf import build_id, module_btf, vmlinux_btf

BUILD_ID = bytes(range(20))


def note(kind: int, name: bytes, desc: bytes) -> bytes:
    padded = (part.ljust(-(-len(part) // 4) * 4, b"\0") for part in (name, desc))
    return struct.pack("=3I", len(name), len(desc), kind) + b"".join(padded)


@pytest.fixture
def sys_kernel(tmp_path: Path) -> Path:
    """A /sys/kernel with the BTF of a small kernel and a module on top of it."""
    folder = tmp_path / "sys_kernel"
    (folder / "btf").mkdir(parents=True)
    (folder / "btf/vmlinux").write_bytes(kernel().to_bytes())
    (folder / "notes").write_bytes(note(6, b"Xen\0", b"abc") + note(3, b"GNU\0", BUILD_ID) + note(1, b"Linux\0", b""))
    with vmlinux_btf(sys_kernel=folder) as btf:
        writer = BtfWriter(btf.source.type_count, btf.source.strings_bytes)
        task = writer.pointer(btf.find("task_struct", Kind.STRUCT))
        writer.function("bpf_oom_score", writer.prototype(0, [Parameter("task", task)]))
    (folder / "btf/oom_policy").write_bytes(writer.to_bytes())
    return folder


@pytest.fixture
def cache_folder(trusted_folder: Path) -> Path:
    return trusted_folder / "cache"  # it is made when it is needed


def questions(btf: Btf) -> list[object]:
    badness = btf.function("oom_badness")
    return [
        btf.field("task_struct", "mm"),
        btf.field("mm_struct", "rss_stat[2].counter").window,
        [btf.describe(parameter.type_id) for parameter in badness.parameters],
        btf.enumerator("MM_ANONPAGES"),
        btf.enumerator("KIND_NONE", "kind"),
        btf.has_field("task_struct", "nothing"),
        btf.has_function("nothing"),
        btf.source.type_count,
    ]


def the_file(cache_folder: Path) -> Path:
    (found,) = cache_folder.iterdir()
    return found


def head_of(body: bytes) -> bytes:
    return json.dumps({"format": 1, "crc32": zlib.crc32(body)}).encode() + b"\n"


def test_the_second_start_answers_the_same_without_the_btf(sys_kernel: Path, cache_folder: Path) -> None:
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        first = questions(btf)
    assert the_file(cache_folder).name == f"btf-{BUILD_ID.hex()}.json"
    (sys_kernel / "btf/vmlinux").unlink()
    written = the_file(cache_folder).stat().st_mtime_ns
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        assert questions(btf) == first
        with pytest.raises(BtfError, match=r"vmlinux: No such file .*CONFIG_DEBUG_INFO_BTF"):
            btf.function("never_asked_before")
    assert the_file(cache_folder).stat().st_mtime_ns == written


def test_a_new_question_is_answered_and_remembered(sys_kernel: Path, cache_folder: Path) -> None:
    for _ in range(2):
        with vmlinux_btf(cache_folder, sys_kernel) as btf:
            questions(btf)
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        pid = btf.field("task_struct", "comm[1]")
    (sys_kernel / "btf/vmlinux").unlink()
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        assert btf.field("task_struct", "comm[1]") == pid
        questions(btf)


def test_a_module_stands_on_what_is_remembered_of_the_kernel(sys_kernel: Path, cache_folder: Path) -> None:
    for _ in range(2):
        with vmlinux_btf(cache_folder, sys_kernel) as btf:
            module = module_btf("oom_policy", btf, sys_kernel)
            (parameter,) = module.function("bpf_oom_score").parameters
            assert (parameter.name, module.describe(parameter.type_id)) == ("task", "struct task_struct *")
            with pytest.raises(BtfError, match="other_module: No such file"):
                module_btf("other_module", btf, sys_kernel)
        (sys_kernel / "btf/vmlinux").unlink(missing_ok=True)


def test_another_build_of_the_kernel_has_a_file_of_its_own(sys_kernel: Path, cache_folder: Path) -> None:
    for build in (BUILD_ID, bytes(20)):
        (sys_kernel / "notes").write_bytes(note(3, b"GNU\0", build))
        with vmlinux_btf(cache_folder, sys_kernel) as btf:
            questions(btf)
    assert len(list(cache_folder.iterdir())) == 2


def test_a_damaged_file_is_ignored_and_written_anew(sys_kernel: Path, cache_folder: Path) -> None:
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        first = questions(btf)
    sound = the_file(cache_folder).read_bytes()
    dice = random.Random(seed := random.randrange(1 << 32))
    damages = [b"", b"\n", b"{}\n{}", sound[: len(sound) // 2], sound.replace(b'"format": 1', b'"format": 2')]
    damages += [
        sound[:at] + bytes([sound[at] ^ 1 << dice.randrange(8)]) + sound[at + 1 :]
        for at in dice.sample(range(len(sound)), 200)
    ]
    for damage in damages:
        the_file(cache_folder).write_bytes(damage)
        with vmlinux_btf(cache_folder, sys_kernel) as btf:
            assert questions(btf) == first, (seed, damage)
        assert json.loads(the_file(cache_folder).read_bytes().partition(b"\n")[2])["types"]


def test_sound_json_of_the_wrong_shape_is_ignored(sys_kernel: Path, cache_folder: Path) -> None:
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        first = questions(btf)
    for body in (b"[]", b"null", b'{"sizes":[1]}', b'{"sizes":[1,2],"types":{"1":[99]},"ids":{}}', b"[" * 5000):
        the_file(cache_folder).write_bytes(head_of(body) + body)
        with vmlinux_btf(cache_folder, sys_kernel) as btf:
            assert questions(btf) == first, body


def test_without_a_folder_a_build_id_or_permission_nothing_is_remembered(sys_kernel: Path, cache_folder: Path) -> None:
    with vmlinux_btf(None, sys_kernel) as btf:
        first = questions(btf)
    (sys_kernel / "notes").write_bytes(note(3, b"GNU\0", BUILD_ID)[:12])
    for folder in (cache_folder, Path("/proc/none")):
        with vmlinux_btf(folder, sys_kernel) as btf:
            assert questions(btf) == first
    assert not cache_folder.exists()
    (sys_kernel / "notes").write_bytes(note(3, b"GNU\0", BUILD_ID))
    with vmlinux_btf(Path("/proc/none"), sys_kernel) as btf:
        assert questions(btf) == first


@pytest.mark.parametrize(("mode", "believed"), [(0o755, True), (0o777, os.geteuid() != 0)])
def test_root_believes_no_file_that_others_could_write(
    sys_kernel: Path, cache_folder: Path, mode: int, believed: bool
) -> None:
    """The file is well formed, and false: whether that shows tells whether it was believed."""
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        assert btf.enumerator("MM_ANONPAGES") == 1
    body = the_file(cache_folder).read_bytes().partition(b"\n")[2].replace(b'"MM_ANONPAGES",1', b'"MM_ANONPAGES",2')
    the_file(cache_folder).write_bytes(head_of(body) + body)
    cache_folder.chmod(mode)
    with vmlinux_btf(cache_folder, sys_kernel) as btf:
        assert btf.enumerator("MM_ANONPAGES") == (2 if believed else 1)
    assert [path.name for path in cache_folder.iterdir()] == [the_file(cache_folder).name]
    if not believed:
        assert the_file(cache_folder).read_bytes() == head_of(body) + body, "nor is one written there"


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        (note(3, b"GNU\0", b"\xab\xcd"), "abcd"),
        (note(3, b"Xen\0", b"abcd") + note(3, b"GNU\0", b"\x01" * 20), "01" * 20),
        (note(1, b"GNU\0", b"abcd"), None),
        (note(3, b"GNU\0", b""), None),
        (struct.pack("=3I", 0xFFFFFFFF, 0xFFFFFFFF, 3), None),
        (b"short", None),
        (b"", None),
    ],
)
def test_build_id(tmp_path: Path, notes: bytes, found: str | None) -> None:
    (tmp_path / "notes").write_bytes(notes)
    assert build_id(tmp_path) == found
    assert build_id(tmp_path / "nowhere") is None
