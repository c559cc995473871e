"""What doctor says of the hook, from a made-up /sys; and who is told what where nothing is attached."""

from __future__ import annotations

from pathlib import Path

import pytest

from oompolicy.backends.hook import pins
from oompolicy.backends.hook.findings import SECURE_BOOT, Finding, findings
from oompolicy.backends.hook.poke import Poked, look_now
from oompolicy.backends.hook.process_start import start_ticks
from oompolicy.backends.hook.target import installed_at


def found(sys: Path) -> dict[str, Finding]:
    return {each.what: each for each in findings(sys)}


def test_a_kernel_without_btf_says_so(tmp_path: Path) -> None:
    assert found(tmp_path)["BTF"].ok == "no"


@pytest.mark.parametrize(("value", "ok"), [(b"\6\0\0\0\1", "care"), (b"\6\0\0\0\0", "yes"), (None, "yes")])
def test_secure_boot_is_the_fifth_byte(tmp_path: Path, value: bytes | None, ok: str) -> None:
    if value is not None:
        path = tmp_path / SECURE_BOOT
        path.parent.mkdir(parents=True)
        path.write_bytes(value)
    assert found(tmp_path)["Secure Boot"].ok == ok


@pytest.mark.parametrize(
    ("levels", "ok"),
    [("[none] integrity confidentiality", "yes"), ("none [integrity] confidentiality", "care"),
     ("none integrity [confidentiality]", "no"), (None, "yes")],
)  # fmt: skip
def test_lockdown(tmp_path: Path, levels: str | None, ok: str) -> None:
    if levels is not None:
        path = tmp_path / "sys/kernel/security/lockdown"
        path.parent.mkdir(parents=True)
        path.write_text(levels)
    assert found(tmp_path / "sys")["lockdown"].ok == ok


def test_everything_that_is_wrong_comes_with_what_to_do(tmp_path: Path) -> None:
    assert all(each.todo for each in findings(tmp_path) if each.ok == "no")


def test_where_nothing_is_attached_nobody_is_poked(tmp_path: Path) -> None:
    assert look_now(tmp_path / "none") is Poked.NOTHING_ATTACHED
    (tmp_path / "other").mkdir()
    assert pins.sets(tmp_path) == []
    assert look_now(tmp_path) is Poked.NOTHING_ATTACHED


def test_a_module_is_found_where_modprobe_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oompolicy.backends.hook.target.LIB_MODULES", tmp_path)
    assert installed_at("6.12") is None
    path = tmp_path / "6.12/updates/dkms/oom_policy.ko.xz"
    path.parent.mkdir(parents=True)
    path.touch()
    assert installed_at("6.12") == path


def test_a_start_is_told_though_the_name_has_parentheses(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(str(number) for number in range(3, 53))
    (tmp_path / "7/stat").write_text(f"7 (a) b (c)) {fields}")
    assert start_ticks(7, tmp_path) == 22
    assert start_ticks(8, tmp_path) is None
