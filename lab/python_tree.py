"""Debian's Python 3.11 for a guest, with this project and what it depends on.

Belongs here: which files of the host make `python3 -m oompolicy` work in a guest that has nothing else.
Must not know: how they get there.
"""

import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from lab import LabError

INTERPRETER = Path("/usr/bin/python3.11")
LIBRARY = Path("/usr/lib/python3.11")
PROJECT = Path(__file__).resolve().parent.parent
LEFT_OUT = {  # parts of the standard library that no guest needs; more than half of its size
    *("config-3.11-x86_64-linux-gnu", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data"),
    *("test", "tkinter", "turtledemo", "venv"),
}
SITE = "/usr/local/lib/python3.11/dist-packages"  # where Debian's interpreter looks without being told


def python_tree(project: Path = PROJECT, site_packages: Path | None = None) -> dict[str, Path | bytes]:
    """Guest path -> host file or folder, for `run_guest`; the project's own code is read from its src/.

    Dependencies come from `site_packages` (by default this interpreter's), which must be a Python 3.11's.
    Raises LabError when the interpreter or a dependency is not there.
    """
    if not INTERPRETER.exists():
        raise LabError(f"{INTERPRETER}: not found: apt-get install python3.11")
    if site_packages is None and sys.version_info[:2] != (3, 11):
        raise LabError("Python: the guest's is 3.11, and so must be the one that runs the lab: make PYTHON=python3.11")
    tree: dict[str, Path | bytes] = {f"/usr/bin/{name}": INTERPRETER for name in ("python3", "python3.11")}
    tree |= {str(path): path for path in LIBRARY.iterdir() if path.name not in LEFT_OUT}
    tree |= {f"{SITE}/{path.name}": path for path in (project / "src").iterdir()}
    with (project / "pyproject.toml").open("rb") as file:
        about = tomllib.load(file)["project"]
    dependencies = about["dependencies"]
    tree |= {f"{SITE}/oompolicy-{about['version']}.dist-info/METADATA": metadata(about["version"])}
    tree |= installed(dependencies, site_packages or Path(sysconfig.get_path("platlib")))
    tree |= {str(path): path for path in shared_objects(tree.values())}
    return tree


def metadata(version: str) -> bytes:
    """What `oompolicy --version` reads."""
    return f"Metadata-Version: 2.1\nName: oompolicy\nVersion: {version}\n".encode()


def installed(requirements: Iterable[str], site_packages: Path) -> dict[str, Path | bytes]:
    """The files of distributions and of all they require in turn, as guest path -> host file."""
    known = {plain(found.name): found for found in distributions(path=[str(site_packages)])}
    tree: dict[str, Path | bytes] = {}
    waiting, seen = [plain(requirement) for requirement in requirements], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in known:
            raise LabError(f"{name}: not in {site_packages}: pip install the project there first")
        requires = known[name].requires or ()
        waiting += [plain(requirement) for requirement in requires if ";" not in requirement]
        tree |= {f"{SITE}/{name}": path for name, path in files_of(known[name], site_packages)}
    return tree


def files_of(distribution: Distribution, site_packages: Path) -> Iterator[tuple[str, Path]]:
    """The files of a distribution below site-packages, by their name there; its scripts are passed over."""
    for file in distribution.files or ():
        path = site_packages / file
        if ".." not in file.parts and path.is_file():
            yield str(file), path


def plain(requirement: str) -> str:
    """A distribution's name as it is compared.

    >>> plain("markdown-it-py>=2.2.0"), plain("Rich[jupyter]")
    ('markdown_it_py', 'rich')
    """
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "_", name[0]).lower()


def shared_objects(sources: Iterable[Path | bytes]) -> set[Path]:
    """The libraries, loader included, that the interpreter and the extension modules in sources ask for."""
    paths = [source for source in sources if isinstance(source, Path)]
    asking = [str(INTERPRETER), *(str(path) for path in paths if path.suffix == ".so")]
    asking += [str(path) for folder in paths if folder.is_dir() for path in folder.glob("**/*.so")]
    told = subprocess.run(["ldd", *asking], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", told)}
