"""Random policies through every executor on this kernel. Runs in a guest, as root.

Belongs here: nothing but the call. Must not know: the comparison. Usage: differential.py CASES SEED
"""

from __future__ import annotations

import json
import sys

from compiler.differential import compare


def main() -> None:
    print(json.dumps(compare(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
