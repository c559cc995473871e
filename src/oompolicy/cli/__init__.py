"""The command line: one file a command, imported only when it is asked for.

Belongs here: the list of commands. Must not know: what any of them does.
"""

from __future__ import annotations

import importlib

import click

# What `oompolicy --help` says of each; a command lives in the module of its name, as a function of its name
# (`set_` where Python has taken the name). One file a command, and none is imported for the others' sake.
COMMANDS = {
    "demo": "One real, contained OOM in a memcg, with and without a policy.",
    "rank": "Who would die now, worst first, and why.",
    "explain": "Why this process would or would not be chosen.",
    "replay": "What happened in the OOM reports of a log, and what a policy would have done.",
    "record": "Write a snapshot of this machine to a file.",
    "check": "Does a policy load and keep the contract?",
    "run": "The daemon: keep a policy in force.",
    "restore": "Put back what a killed daemon left behind.",
    "detach": "Take a killed daemon's policy out of the kernel.",
    "selftest": "Prove on this machine, in a memcg of our own, that the kernel asks and obeys.",
    "set": "Set the value of a memcg.",
    "get": "Show the values of memcgs.",
    "history": "Who was killed, by whom, and why.",
    "top": "A live view: who would die now, what is in force, the last kill.",
    "doctor": "What this machine offers, and which backend `auto` takes.",
    "import": "Another tool's configuration as ours, and what has no equivalent.",
    "lab": "Run scenarios in a guest with a kernel of your choice, and see who dies.",
    "completion": "Print the completion script of a shell.",
}


class _LazyGroup(click.Group):
    """Commands by name; their modules stay unread until they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"oompolicy.cli.{cmd_name}")
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="oompolicy")
def oompolicy() -> None:
    """Choose who dies when Linux runs out of memory.

    A policy is a small Python function, or a built-in one. `oompolicy rank` shows whom it would kill now,
    `oompolicy replay` whom it would have killed, `oompolicy run` puts it in force.
    """
