"""earlyoom: its command line, and /etc/default/earlyoom.

Sources: MANPAGE.md, main.c, kill.c of earlyoom (MIT), as of 1.7 (Debian 12) and 1.9.

Belongs here: what its options mean, and whom it takes. Must not know: how a configuration of ours is written down.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from oompolicy.importing import when
from oompolicy.importing.imported import (
    BYTES_PER_KIB,
    BYTES_PER_MIB,
    DESKTOP,
    Imported,
    ImportedRule,
    LeftOut,
    PolicyFile,
    Setting,
    bad,
    bad_line,
)
from oompolicy.importing.names import COMM_BYTES, globs_of, names_of
from oompolicy.importing.policy_text import Clause, Constant, add_points, name_clauses, policy_source, regex_clause
from oompolicy.rules.rule import Kill, Rule

POLICY_NAME: Final = "earlyoom"
DEFAULT_PERCENT: Final = 10.0
DEFAULT_WAIT_MS: Final = 10_000  # kill_wait_timeout_secs, main.c
PREHOOK_MS: Final = 200  # PREHOOK_STARTUP_SLEEP_MS, kill.c
COOLDOWN_MS: Final = 1_000  # what earlyoom sleeps where a kill failed; it has no other rest
OOM_SCORE_PREFER: Final = 300  # and -300 for --avoid, kill.c
VMRSS_PREFER_PAGES: Final = 3145728 // 4  # with --sort-by-rss, kill.c; 4 KiB a page

_TAKES_VALUE: Final = frozenset("msMSwrNP")
LONG_OPTIONS: Final = {
    "--prefer": True, "--avoid": True, "--ignore": True, "--ignore-root-user": False, "--sort-by-rss": False,
    "--dryrun": False, "--syslog": False, "--debug": False, "--help": False,
}  # fmt: skip

# Options that say nothing about who dies when.
NO_EQUIVALENT: Final = {
    "-r": "the daemon prints no periodic reports; `oompolicy rank` shows what there is, and the log what was done",
    "-p": "not needed: the daemon's unit sets its own priority and oom_score_adj",
    "-d": "a matter of the log, not of the rules",
    "--debug": "a matter of the log, not of the rules",
    "--syslog": "the daemon writes to standard error, which systemd keeps",
    "-k": "earlyoom ignores it since 1.2",
    "-i": "earlyoom ignores it since 1.7",
    "-v": "prints a version, sets nothing",
    "-h": "prints a help, sets nothing",
    "--help": "prints a help, sets nothing",
}


@dataclass(frozen=True, slots=True)
class _Option:
    """One option with its value ("" where it has none)."""

    name: str
    value: str
    setting: Setting


@dataclass(slots=True)
class _Read:
    """What the options add up to. Thresholds are (SIGTERM, SIGKILL)."""

    mem_percent: tuple[float, float] | None = None
    mem_kib: tuple[float, float] | None = None
    swap_percent: tuple[float, float] | None = None
    swap_kib: tuple[float, float] | None = None
    regexes: dict[str, _Option] = field(default_factory=dict)
    flags: dict[str, _Option] = field(default_factory=dict)
    wait_ms: int = DEFAULT_WAIT_MS
    notify: tuple[str, ...] = ()
    pre_kill: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    left_out: list[LeftOut] = field(default_factory=list)


def is_earlyoom(text: str) -> bool:
    """Is it /etc/default/earlyoom?"""
    return re.search(r"^\s*#?\s*EARLYOOM_ARGS=", text, re.MULTILINE) is not None


def import_defaults(text: str, path: str) -> Imported:
    """From /etc/default/earlyoom, which a shell or systemd reads: the last EARLYOOM_ARGS= counts."""
    arguments: list[str] = []
    place = path
    for line, written in enumerate(text.splitlines(), start=1):
        found = re.match(r"\s*(?:export\s+)?EARLYOOM_ARGS=(.*)$", written)
        if found is None:
            continue
        place = f"{path}:{line}"
        try:
            value = " ".join(shlex.split(found[1], comments=True))
            arguments = shlex.split(value)
        except ValueError as error:
            raise bad_line(path, line, written, f"is not what a shell can read: {error}") from None
    return import_arguments(arguments, path, place)


def import_arguments(arguments: Sequence[str], source: str, place: str = "") -> Imported:
    """From the arguments of a command line. place: where they stand, for all of them; else each is counted."""
    read = _Read()
    options = list(_options(arguments, place))
    for option in options:
        _take(option, read)
    _take_desktop(read)
    policy, policy_name = _policy(read)
    rules = tuple(_rules(read, policy_name, _that_matter(options), source))
    uids = (0,) if "--ignore-root-user" in read.flags else ()
    left_out = (*read.left_out, *_always(read, source))
    return Imported("earlyoom", source, rules, policy, left_out, read.protected, uids)


def _that_matter(options: Sequence[_Option]) -> list[Setting]:
    return [option.setting for option in options if option.name not in NO_EQUIVALENT]


def _options(arguments: Sequence[str], place: str) -> Iterator[_Option]:
    """As getopt_long reads them: -m5, -m 5, -gn, --prefer=X, --prefer X."""
    position = 0
    while position < len(arguments):
        argument, at = arguments[position], place or f"argument {position + 1}"
        position += 1
        if argument.startswith("--"):
            name, has_value, value = argument.partition("=")
            if name not in LONG_OPTIONS:
                raise bad(at, f"there is no option {name} in earlyoom 1.9")
            if LONG_OPTIONS[name] and not has_value:
                value, position = _next(arguments, position, name, at), position + 1
            yield _Option(name, value, Setting(f"{name} {shlex.quote(value)}" if LONG_OPTIONS[name] else name, at))
            continue
        if not argument.startswith("-") or argument == "-":
            raise bad(at, f"{argument!r} is not an option", "earlyoom takes options alone")
        for index, letter in enumerate(argument[1:], start=1):
            name = f"-{letter}"
            if letter in _TAKES_VALUE:
                value = argument[index + 1 :]
                if not value:
                    value, position = _next(arguments, position, name, at), position + 1
                yield _Option(name, value, Setting(f"{name} {shlex.quote(value)}", at))
                break
            if name not in NO_EQUIVALENT and name not in ("-g", "-n"):
                raise bad(at, f"there is no option {name} in earlyoom 1.9")
            yield _Option(name, "", Setting(name, at))


def _next(arguments: Sequence[str], position: int, name: str, at: str) -> str:
    if position >= len(arguments):
        raise bad(at, f"{name} needs a value")
    return arguments[position]


def _take(option: _Option, read: _Read) -> None:
    match option.name:
        case "-m":
            read.mem_percent = _pair(option, 100)
        case "-s":
            read.swap_percent = _pair(option, 100)
        case "-M":
            read.mem_kib = _pair(option, None)
        case "-S":
            read.swap_kib = _pair(option, None)
        case "--prefer" | "--avoid" | "--ignore":
            read.regexes[option.name] = option
        case "--ignore-root-user" | "--sort-by-rss" | "--dryrun" | "-g" | "-n":
            read.flags[option.name] = option
        case "-w":
            read.wait_ms = int(1000 * _number(option, option.value))
        case "-N" | "-P":
            _take_script(option, read)
        case _:
            read.left_out.append(LeftOut(option.setting.text, NO_EQUIVALENT[option.name], option.setting.place))


def _take_script(option: _Option, read: _Read) -> None:
    if not option.value.startswith("/"):
        raise bad(option.setting.place, f"{option.name} needs an absolute path, not {option.value!r}")
    if option.name == "-N":
        read.notify = (option.value,)
    else:
        read.pre_kill = (option.value,)
    why = "the command is run, but does not get EARLYOOM_PID and its kind: see docs/rules.md for what it gets"
    read.left_out.append(LeftOut(f"{option.setting.text}: its environment", why, option.setting.place))


def _take_desktop(read: _Read) -> None:
    """-n tells every user's desktop; a rule tells one command, or the desktops."""
    option = read.flags.get("-n")
    if option is not None and read.notify:
        why = f"a rule has one notify, and -N names {read.notify[0]}"
        read.left_out.append(LeftOut(option.setting.text, why, option.setting.place))
    elif option is not None:
        read.notify = DESKTOP


def _pair(option: _Option, most: float | None) -> tuple[float, float]:
    """SIGTERM's threshold and SIGKILL's, half of it by default; the first is never the lower."""
    term_text, has_kill, kill_text = option.value.partition(",")
    term = _number(option, term_text)
    kill = _number(option, kill_text) if has_kill else term / 2
    if most is not None and max(term, kill) > most:
        raise bad(option.setting.place, f"{option.name} {option.value}: more than {most:g} %")
    if term == 0 and kill == 0:
        raise bad(option.setting.place, f"{option.name} {option.value}: nothing is below 0")
    return max(term, kill), kill


def _number(option: _Option, text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text.strip()):
        raise bad(option.setting.place, f"{option.name}: {text!r} is not a number")
    return float(text)


def _thresholds(read: _Read, which: int) -> list[str]:
    """Both memory and swap; where a share and an amount are given, the lower of the two counts: both must hold."""
    parts = []
    for name, percent, kib in (
        ("mem_available", read.mem_percent, read.mem_kib),
        ("swap_free", read.swap_percent, read.swap_kib),
    ):
        if percent is None and kib is None:
            percent = (DEFAULT_PERCENT, DEFAULT_PERCENT / 2)
        if percent is not None:
            parts.append(when.compare(f"{name}_percent", "<=", percent[which]))
        if kib is not None:
            parts.append(when.compare(f"{name}_mib", "<=", kib[which] * BYTES_PER_KIB / BYTES_PER_MIB))
    return parts


def _rules(read: _Read, policy: str | None, settings: list[Setting], source: str) -> Iterator[ImportedRule]:
    """The one for SIGKILL first: where both hold, it goes first."""
    origins = tuple(settings) or (Setting("no options: 10 % and 5 % of memory and swap", source),)
    soft, hard = (when.all_of(*_thresholds(read, which)) for which in (0, 1))
    action = Kill.TREE if "-g" in read.flags else Kill.PROCESS
    for name, condition, grace_ms in (("earlyoom-sigkill", hard, 0), ("earlyoom-sigterm", soft, read.wait_ms)):
        if name == "earlyoom-sigterm" and soft == hard:
            continue
        rule = Rule(
            name,
            condition,
            policy=policy,
            action=action,
            grace_ms=grace_ms,
            cooldown_ms=COOLDOWN_MS,
            pre_kill=read.pre_kill,
            notify=read.notify,
            is_dry_run="--dryrun" in read.flags,
        )
        yield ImportedRule(replace(rule, pre_kill_limit_ms=PREHOOK_MS) if read.pre_kill else rule, origins)


def _policy(read: _Read) -> tuple[tuple[PolicyFile, ...], str | None]:
    """Whom it takes: the kernel's choice where nothing is said of it, else a policy of its own."""
    by_rss = "--sort-by-rss" in read.flags
    clauses: list[Clause] = []
    for name, constant in (("--ignore", "IGNORED"), ("--prefer", "PREFERRED"), ("--avoid", "AVOIDED")):
        if name == "--ignore" and name in read.regexes:
            read.protected = globs_of(read.regexes[name].value) or ()
        if name in read.regexes and not (name == "--ignore" and read.protected):
            clauses += _regex(read, read.regexes[name], constant, by_rss)
    if not clauses and not by_rss:
        return (), None
    doc = "Whom earlyoom takes: the largest, with what --prefer, --avoid and --ignore say of names."
    start = "task.rss" if by_rss else "task.badness"
    text = policy_source(POLICY_NAME, doc, clauses, "points" if _adds(clauses) else start, start=start)
    file = f"{POLICY_NAME}.py"
    return (PolicyFile(file, text),), file


def _adds(clauses: Sequence[Clause]) -> bool:
    return any("points" in clause.statement for clause in clauses)


def _regex(read: _Read, option: _Option, constant: str, by_rss: bool) -> list[Clause]:
    """The clauses of one expression: by names where it is a list of them, else by searching."""
    points = OOM_SCORE_PREFER if option.name == "--prefer" else -OOM_SCORE_PREFER
    if option.name == "--ignore":
        statement = "return SPARE"
    elif by_rss:
        statement = f"points {'+' if points > 0 else '-'}= {VMRSS_PREFER_PAGES}"
    else:
        statement = add_points(points)
    comment = f"{option.setting.place}: {option.setting.text}"
    names = names_of(option.value)
    if names is None:
        return _searched(read, option, Constant(constant, option.value, comment, is_regex=True), statement)
    for name in names.never_met:
        why = f"a process's name has at most {COMM_BYTES} bytes: earlyoom never meets it either; did you mean "
        shortened = name.encode()[:COMM_BYTES].decode(errors="ignore")
        read.left_out.append(LeftOut(f"{option.name}: {name}", f"{why}{shortened}?", option.setting.place))
    return name_clauses(names, constant, comment, statement)


def _searched(read: _Read, option: _Option, constant: Constant, statement: str) -> list[Clause]:
    why = None
    if re.search(r"\[[:.=]", option.value):
        why = "a POSIX class of characters ([[:alpha:]]) is not what Python's expressions know: write it out"
    else:
        try:
            re.compile(option.value)
        except re.error as error:
            why = f"it is not an expression that Python reads: {error}"
    if why is not None:
        read.left_out.append(LeftOut(option.setting.text, why, option.setting.place))
        return []
    why = "more than a list of whole names or beginnings: the policy searches it, in user space, not in the kernel"
    read.left_out.append(LeftOut(f"{option.setting.text}: in the kernel", why, option.setting.place))
    return [regex_clause(option.value, constant.name, constant.comment, statement)]


def _always(read: _Read, source: str) -> Iterator[LeftOut]:
    """What differs though the setting was taken over."""
    yield LeftOut(
        "percent of memory",
        "here it is of MemTotal, as in earlyoom 1.7 and before; since 1.8 it is of MemAvailable + AnonPages, which "
        "shrinks as a tmpfs fills",
        source,
    )
    if "-g" in read.flags:
        option = read.flags["-g"]
        why = "there is no killing by process group: the chosen one and all that descends from it (action = tree)"
        yield LeftOut("-g", why, option.setting.place)
    if "--ignore" in read.regexes and not read.protected:
        option = read.regexes["--ignore"]
        why = "no pattern of [protect] says it, so the policy spares: last, not never"
        yield LeftOut(option.setting.text, why, option.setting.place)
    soft, hard = _thresholds(read, 0), _thresholds(read, 1)
    if soft != hard:
        why = "a victim has all of its grace: below SIGKILL's thresholds earlyoom sends that to it at once"
        yield LeftOut("SIGTERM, then SIGKILL", why, source)
    if "--prefer" in read.regexes:
        why = "earlyoom gives it 300 points even with a negative oom_score_adj; here that adjustment counts too"
        yield LeftOut(read.regexes["--prefer"].setting.text, why, read.regexes["--prefer"].setting.place)
