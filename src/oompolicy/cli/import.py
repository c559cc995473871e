"""`oompolicy import`: another tool's configuration as an oompolicy.toml, and what has no equivalent.

Belongs here: the command, reading the files that it is given, writing what came of them.
Must not know: what any tool's settings mean.
"""  # noqa: N999 - the command's name; modules of commands are imported by name alone

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from oompolicy.cli.inputs import json_option
from oompolicy.cli.render import Column, print_json, print_line, print_note, print_table
from oompolicy.errors import ConfigError, OompolicyError, Place
from oompolicy.importing.config_text import config_text
from oompolicy.importing.imported import Imported
from oompolicy.importing.recognise import TOOLS, import_command_line, import_files
from oompolicy.importing.systemd_files import UNIT_TYPES

CONFIG_NAME: Final = "oompolicy.toml"
MOST_BYTES: Final = 1 << 20  # of one file; what is larger is no configuration
_SUFFIXES: Final = frozenset((".conf", ".oomrule", *(f".{kind}" for kind in UNIT_TYPES)))

COLUMNS = (Column("WHERE"), Column("WHAT", is_wide=True), Column("WHY NOT, OR NOT QUITE", is_wide=True))


@click.command("import")
@click.argument("paths", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--earlyoom", "earlyoom", metavar="ARGS", help="A command line of earlyoom, in quotes, instead of a file."
)
@click.option("--from", "tool", type=click.Choice(list(TOOLS)), help="Whose it is; default: found out by content.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help=f"Write it: a folder, or a file {CONFIG_NAME}; policies go beside it. Default: print it.",
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@json_option
def import_(
    paths: tuple[Path, ...], earlyoom: str | None, tool: str | None, output: Path | None, force: bool, as_json: bool
) -> None:
    """Turn FILE, a configuration of oomd, earlyoom, nohang or systemd-oomd, into one of ours.

    Several files, or folders such as /etc/systemd, are read together for systemd-oomd. What has no equivalent is listed
    with the reason, on top of the configuration too. A rule that would fire more often than its origin is written as
    a dry run.
    """
    if (earlyoom is None) is (not paths):
        raise click.UsageError("name files, or give --earlyoom ARGS")
    imported = _from_arguments(earlyoom) if earlyoom is not None else _from_files(paths, tool)
    text = config_text(imported)
    written = [] if output is None else _write(output, text, imported, force)
    if as_json:
        print_json(_as_json(imported, text, written))
    elif output is None:
        print(text, end="")
        if imported.policies:
            names = ", ".join(policy.name for policy in imported.policies)
            print_note(f"it names policies that are files, {names}: -o FOLDER writes them beside it")
    else:
        for path in written:
            print_line(f"wrote {path}")
        if imported.left_out:
            print_line("")
            print_table(COLUMNS, [(one.place, one.what, one.why) for one in imported.left_out])


def _from_arguments(earlyoom: str) -> Imported:
    try:
        arguments = shlex.split(earlyoom)
    except ValueError as error:
        raise ConfigError("--earlyoom", f"is not what a shell can read: {error}") from None
    if arguments and not arguments[0].startswith("-"):
        arguments = arguments[1:]  # the program's own name
    return import_command_line(arguments, "--earlyoom")


def _from_files(paths: tuple[Path, ...], tool: str | None) -> Imported:
    files: dict[str, str] = {}
    for path in paths:
        for found in _files_of(path):
            files[str(found)] = _read(found)
    source = ", ".join(map(str, paths))
    if not files:
        raise OompolicyError(source, "there is nothing in it that an import reads", "name a file")
    return import_files(files, source, tool)


def _files_of(path: Path) -> Iterator[Path]:
    """The file itself, or those of a folder that systemd would read."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            found = Path(folder) / name
            # A link to /dev/null masks what is in the folders behind: it reads as empty, as systemd takes it.
            if found.suffix in _SUFFIXES and (found.is_file() or found.resolve() == Path("/dev/null")):
                yield found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(path, f"is larger than {MOST_BYTES >> 20} MiB", "is it a configuration?")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(Place(str(path), line), "is not UTF-8 text") from None


def _write(output: Path, text: str, imported: Imported, force: bool) -> list[Path]:
    """All files or none: what is there is refused first, and each file appears whole, the configuration last."""
    config = output if output.suffix == ".toml" else output / CONFIG_NAME
    texts = {config.parent / policy.name: policy.text for policy in imported.policies} | {config: text}
    for path in texts:
        if path.is_dir():
            raise OompolicyError(path, "is a folder")
        if path.exists() and not force:
            raise OompolicyError(path, "is there already", "write over it with --force, or name another folder")
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        _replace_all(texts)
    except OSError as error:
        raise OompolicyError(config.parent, f"cannot be written: {error.strerror}") from None
    return list(texts)


def _replace_all(texts: Mapping[Path, str]) -> None:
    """Every text is on disk under another name before the first one gets its own."""
    made: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            made[path] = Path(name)
            with os.fdopen(fd, "w") as file:
                file.write(text)
                os.fchmod(fd, 0o644)
                file.flush()
                os.fsync(fd)
        for path in texts:
            made[path].replace(path)
            del made[path]
    finally:
        for left in made.values():
            left.unlink(missing_ok=True)


def _as_json(imported: Imported, text: str, written: list[Path]) -> dict[str, object]:
    return {
        "tool": imported.tool,
        "source": imported.source,
        "config": text,
        "policies": {policy.name: policy.text for policy in imported.policies},
        "rules": [rule.rule.name for rule in imported.rules],
        "left_out": [{"what": one.what, "why": one.why, "place": one.place} for one in imported.left_out],
        "written": [str(path) for path in written],
    }
