"""The way in: runs the command line and turns trouble into one line and an exit status.

Belongs here: exit statuses. Must not know: what any command does.
"""

from __future__ import annotations

import os
import sys

import click

from oompolicy.cli import oompolicy
from oompolicy.cli.render import print_error
from oompolicy.errors import OompolicyError


def main() -> None:
    """Run the command of sys.argv: exit 0 when done, 1 for trouble a person can mend, 2 for wrong usage."""
    try:
        status = oompolicy.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        status = done.exit_code
    except click.ClickException as wrong_usage:
        wrong_usage.show()
        status = wrong_usage.exit_code
    except OompolicyError as error:
        print_error(error)
        status = 1
    except (KeyboardInterrupt, click.Abort):
        status = 130
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing more to say, and nothing at interpreter exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
