"""Expressions on names: read as names only where they say no more, shown by asking both about many names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from oompolicy.importing.names import globs_of, names_of

SEEN = (
    *(
        "init",
        "X",
        "Xorg",
        "sshd",
        "ssh",
        "firefox",
        "firefox-esr",
        "java",
        "javac",
        "chromium",
        "Web Content",
        "webpack",
    ),
    *("a.c", "abc", "a", "qemu-system-x86", "kworker", "sudo", "[kthread]", "x*y", "file:// Content", "(sd-pam)"),
)
AS_NAMES = (
    "^(java|chromium)$",
    "(^|/)(init|X|sshd|firefox)$",
    "^java$",
    "^java",
    "^qemu-.*",
    "^(Web Content|file:// Content)$",
    r"^a\.c$|^X",
    r"^\[kthread\]$",
    r"^x\*y$",
    "(?:^|/)(?:ssh|sshd)$",
)
AS_GLOBS = (*AS_NAMES, "ssh", "fire|java$", r"\.c$", "^(a|X)")
NEITHER = ("^a.c$", "^(java|chrom(e|ium))$", "^[Xa]", "java+", "^ja?va", "(", "^(?i)java$", r"\bssh\b", "^$", "")


@pytest.mark.parametrize("regex", AS_NAMES)
def test_names_say_the_same_as_the_expression(regex: str) -> None:
    names = names_of(regex)
    assert names is not None
    for comm in SEEN:
        by_name = comm in names.exact or any(comm.startswith(start) for start in names.starts)
        assert by_name is (re.search(regex, comm) is not None), comm


@pytest.mark.parametrize("regex", AS_GLOBS)
def test_patterns_say_the_same_as_the_expression(regex: str) -> None:
    globs = globs_of(regex)
    assert globs is not None
    for comm in SEEN:
        assert any(fnmatchcase(comm, glob) for glob in globs) is (re.search(regex, comm) is not None), comm


@pytest.mark.parametrize("regex", NEITHER)
def test_what_says_more_is_not_read_as_names(regex: str) -> None:
    assert names_of(regex) is None
    assert globs_of(regex) is None


def test_anywhere_in_the_name_is_a_pattern_but_no_name() -> None:
    assert names_of("ssh") is None
    assert globs_of("ssh") == ("*ssh*",)


def test_a_name_longer_than_a_comm_is_never_met() -> None:
    names = names_of("^(gnome-control-center|sshd)$")
    assert names is not None
    assert names.exact == ("sshd",)
    assert names.never_met == ("gnome-control-center",)


@pytest.mark.parametrize(
    ("regex", "globs"),
    [
        ("^(/usr/bin/X|/usr/bin/a\\[1\\])$", ("/usr/bin/X", "/usr/bin/a[[]1]")),
        ("^/usr/lib/gdm3/", ("/usr/lib/gdm3/*",)),
        ("(^|/)sshd$|-appomni", ("*/sshd", "*-appomni*")),
        ("^/usr/.*/X$", None),
    ],
)
def test_paths_as_patterns(regex: str, globs: tuple[str, ...] | None) -> None:
    assert globs_of(regex, is_path=True) == globs
