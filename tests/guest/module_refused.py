"""The module in a kernel that it was not built for. Runs in a guest, as root."""

from __future__ import annotations

import json

from guest.oom_stage import command, log


def main() -> None:
    refused = command("insmod", "/lib/oom_policy.ko")
    print(json.dumps({"proof": "refused", "insmod": refused, "log": log().splitlines()[-3:]}))


if __name__ == "__main__":
    main()
