"""Where in a TOML file a key stands."""

from __future__ import annotations

from lab.toml_file import lines_of_keys

TEXT = """\
a.b = 1
[c."/x y".d]
e = '''
f = 2
[g]
''' # the end of a text
h = 3
[[i]]
j = 4
[i.k]
l = 5
[[i]]
'j' = 6
[[i.m]]
n = 7
"""


def test_every_key_has_its_line() -> None:
    assert dict(lines_of_keys(TEXT)) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("c", "/x y", "d"): 2,
        ("c", "/x y", "d", "e"): 3,
        ("c", "/x y", "d", "h"): 7,
        ("i",): 12,
        ("i", 0): 8,
        ("i", 0, "j"): 9,
        ("i", 0, "k"): 10,
        ("i", 0, "k", "l"): 11,
        ("i", 1): 12,
        ("i", 1, "j"): 13,
        ("i", 1, "m"): 14,
        ("i", 1, "m", 0): 14,
        ("i", 1, "m", 0, "n"): 15,
    }
