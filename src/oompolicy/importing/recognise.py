"""Which tool a configuration is of, by what is in it.

Belongs here: the list of tools. Must not know: what any setting means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oompolicy.errors import ConfigError
from oompolicy.importing.checked import checked
from oompolicy.importing.earlyoom import import_arguments, import_defaults, is_earlyoom
from oompolicy.importing.imported import Imported
from oompolicy.importing.nohang import import_nohang
from oompolicy.importing.nohang_keys import is_nohang
from oompolicy.importing.oomd import import_oomd, is_oomd
from oompolicy.importing.systemd_oomd import import_systemd, is_systemd_oomd


@dataclass(frozen=True, slots=True)
class Tool:
    """is_it(path, text): is a file one of its own? convert: from one file; None for what takes several."""

    name: str
    is_it: Callable[[str, str], bool]
    convert: Callable[[str, str], Imported] | None


SYSTEMD_OOMD: Final = "systemd-oomd"

TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool("oomd", lambda path, text: is_oomd(text), import_oomd),
        Tool("nohang", lambda path, text: is_nohang(text), import_nohang),
        Tool("earlyoom", lambda path, text: is_earlyoom(text), import_defaults),
        Tool(SYSTEMD_OOMD, is_systemd_oomd, None),
    )
}


def import_files(files: Mapping[str, str], source: str, name: str | None = None) -> Imported:
    """From files by their paths; name: the tool's, where it is not to be found out."""
    tool = _recognised(files, source) if name is None else TOOLS[name]
    if tool.convert is None:
        return checked(import_systemd(files, source))
    if len(files) != 1:
        raise ConfigError(source, f"{len(files)} files, and {tool.name} has one configuration", "name one file")
    ((path, text),) = files.items()
    return checked(tool.convert(text, path))


def import_command_line(arguments: Sequence[str], source: str) -> Imported:
    """From the arguments of earlyoom."""
    return checked(import_arguments(arguments, source))


def _recognised(files: Mapping[str, str], source: str) -> Tool:
    for tool in TOOLS.values():
        if any(tool.is_it(path, text) for path, text in files.items()):
            return tool
    names = ", ".join(TOOLS)
    raise ConfigError(source, f"is not recognised as a configuration of {names}", "say which with --from")
