"""A guest: a kernel in QEMU, a script run in it as root, what came out of it.

Belongs here: the emulated machine, its time limit, and the ports over which results leave it.
Must not know: what the script does. Usage: python3 -m lab.guest --kernel 6.12 --script FILE --out DIR
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from lab import LabError
from lab.emulator import emulator_fault, has_the_fault
from lab.initramfs import write_initramfs
from lab.kernels import SERIES, Kernel, kernel, names
from lab.python_tree import python_tree

QEMU = "qemu-system-x86_64"
PORTS = ("console", "stdout", "stderr", "results")  # ttyS0 to ttyS3, as init.sh uses them
INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
SCRIPT_STARTS = "lab: the script starts"  # init.sh says so on the console
BOOTS = 3  # tries: where the emulator is at fault, and where a boot does not even get that far, which it may be too


class Ended(Enum):
    """How a guest came to its end; the value is this program's exit status where the script gave none."""

    SCRIPT_DONE = None
    TIME_LIMIT = 124
    DIED = 125  # it went down before the script was done: its console tells


@dataclass(frozen=True)
class Machine:
    """The emulated machine; `append` goes to the kernel's command line, swap_mib > 0 gives it a swap disk.

    disk is the image of an ext4 file system, mounted on /disk; what is written to it is lost. disk_iops: how many
    operations a second that disk, and the swap disk, can do at most; 0: as many as they can.
    """

    memory_mib: int = 512
    swap_mib: int = 0
    processors: int = 2
    numa_nodes: int = 1
    append: str = ""
    accelerator: str = "tcg,thread=multi"  # software emulation: a KVM may be present and useless
    disk: Path | None = None
    disk_iops: int = 0


@dataclass(frozen=True)
class GuestResult:
    """What came out: `status` and `out` (path below /out -> content) only where the script was done.

    `faults` tells why it was booted again, a line for each time: the emulator, not the kernel, had failed.
    """

    ended: Ended
    status: int | None
    release: str
    stdout: str
    stderr: str
    console: str
    elapsed_s: float
    out: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    faults: tuple[str, ...] = ()


def run_guest(
    script: str | Path,
    wanted_kernel: str | Kernel = SERIES[0],
    machine: Machine = Machine(),
    files: Mapping[str, Path | bytes] | None = None,
    time_limit_s: float = 60,
) -> GuestResult:
    """Boot a kernel, run a script (text, or the file that holds it) as root, return when the guest is gone.

    `wanted_kernel` is a name ("6.12"), the path of an image, or a Kernel; `files` is guest path -> host file, folder
    or bytes. The guest is killed after time_limit_s. Where the emulator fails it is booted again, and that is said.
    Raises LabError when it cannot be started.
    """
    chosen = wanted_kernel if isinstance(wanted_kernel, Kernel) else kernel(wanted_kernel)
    contents: dict[str, Path | bytes] = {"/bin/busybox": BUSYBOX, "/init": INIT.read_bytes()}
    contents["/lab/script"] = script if isinstance(script, Path) else script.encode()
    with tempfile.TemporaryDirectory(prefix="lab-") as work:
        write_initramfs(Path(work, "initramfs"), contents | dict(files or {}))
        faults: tuple[str, ...] = ()
        for _ in range(BOOTS):
            result = replace(boot(chosen, machine, Path(work), time_limit_s), faults=faults)
            fault = why_again(result)
            if fault is None:
                break
            faults += (fault,)
    return result


def why_again(result: GuestResult) -> str | None:
    """Why a guest is to be booted again; None where it did what it was to do, or its own kernel failed."""
    if result.ended is not Ended.DIED:
        return None
    if SCRIPT_STARTS not in result.console:
        return "it did not come up"
    fault = emulator_fault(result.console)
    return fault if fault is not None and has_the_fault(QEMU) else None


def boot(chosen: Kernel, machine: Machine, work: Path, time_limit_s: float) -> GuestResult:
    """Boot once, from the initramfs in `work`."""
    started_s = time.monotonic()
    in_time = run_qemu(qemu_command(machine, chosen.vmlinuz, work), time_limit_s)
    elapsed_s = time.monotonic() - started_s
    status, out = read_results(work / "results")
    unfinished = Ended.DIED if in_time else Ended.TIME_LIMIT
    return GuestResult(
        ended=unfinished if status is None else Ended.SCRIPT_DONE,
        status=status,
        release=chosen.release,
        stdout=(work / "stdout").read_text(errors="replace"),
        stderr=(work / "stderr").read_text(errors="replace"),
        console=(work / "console").read_text(errors="replace"),
        elapsed_s=elapsed_s,
        out=out,
    )


def qemu_command(machine: Machine, vmlinuz: Path, work: Path) -> list[str]:
    """The machine as QEMU wants it said; ports, initramfs and swap disk are files in `work`."""
    command = [QEMU, "-accel", machine.accelerator, "-cpu", "max"]
    command += ["-smp", str(machine.processors), "-m", str(machine.memory_mib)]
    command += ["-nographic", "-no-reboot", "-nic", "none", "-monitor", "none"]
    for name in PORTS:
        command += ["-serial", f"file:{work / name}"]
    append = f"console=ttyS0 panic=-1 quiet log_buf_len=4M rootfstype=ramfs {machine.append}"
    if machine.swap_mib:  # NVMe and ext4 are what Debian's cloud kernels have built in
        (work / "swap").touch()
        os.truncate(work / "swap", machine.swap_mib << 20)
        command += nvme("swap", work / "swap", machine.disk_iops)
        append += " lab_swap=1"
    if machine.disk is not None:
        command += nvme("disk", machine.disk, machine.disk_iops, ",snapshot=on")
        append += " lab_disk=1"
    if machine.numa_nodes > 1:
        node_mib = machine.memory_mib // machine.numa_nodes
        for node in range(machine.numa_nodes):
            command += ["-object", f"memory-backend-ram,id=m{node},size={node_mib}M"]
            command += ["-numa", f"node,nodeid={node},memdev=m{node}"]
    return [*command, "-kernel", str(vmlinuz), "-initrd", str(work / "initramfs"), "-append", append]


def nvme(name: str, image: Path, iops: int, more: str = "") -> list[str]:
    """A disk by its serial number."""
    if iops:
        more += f",throttling.iops-total={iops}"
    return ["-drive", f"if=none,id={name},file={image},format=raw{more}", "-device", f"nvme,serial={name},drive={name}"]


def run_qemu(command: list[str], time_limit_s: float) -> bool:
    """Run to the end, or to the limit, which holds even if this process dies; False when it was the limit."""
    for tool in (command[0], "timeout"):
        if shutil.which(tool) is None:
            raise LabError(f"{tool}: not found: apt-get install qemu-system-x86 coreutils")
    limited = ["timeout", "--signal=KILL", str(time_limit_s), *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        limited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=pipe, start_new_session=True
    ) as qemu:
        try:
            _, complaint = qemu.communicate()
        except BaseException:
            os.killpg(qemu.pid, signal.SIGKILL)
            raise
    if qemu.returncode == -signal.SIGKILL:  # `timeout` goes with the group it kills
        return False
    if qemu.returncode != 0:
        said = complaint.decode(errors="replace").strip()
        raise LabError(f"qemu: {said}: see the machine that was asked for")
    return True


def read_results(port: Path) -> tuple[int | None, dict[str, bytes]]:
    """The script's exit status and its /out, from the tar that init.sh sent; (None, {}) if it is broken."""
    status, out = None, {}
    try:
        with tarfile.open(port) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None:  # a folder or a special file
                    continue
                if member.name == "status":
                    status = int(content.read())
                else:
                    out[member.name.removeprefix("out/")] = content.read()
    except (tarfile.TarError, FileNotFoundError, ValueError):
        return None, {}
    return status, out


def save(result: GuestResult, folder: Path) -> None:
    """Write what the script left in /out, and the console; a name that leads out of the folder is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("console.log").write_text(result.console)
    for name, content in result.out.items():
        path = folder.joinpath(name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise LabError(f"{name}: leads out of {folder}: do not trust what this guest sent")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("python3 -m lab.guest", description="run a script in a guest kernel")
    add = parser.add_argument
    add("--kernel", default=SERIES[0], help=f"a name ({', '.join(names())}) or the path of an image")
    add("--script", type=Path, required=True, help="the shell script to run as root in the guest")
    add("--out", type=Path, help="the folder for what the script leaves in /out")
    add("--file", action="append", default=[], metavar="GUEST=HOST", help="a file or folder to carry in")
    add("--append", default="", help="more words for the kernel's command line")
    add("--memory-mib", type=int, default=512)
    add("--swap-mib", type=int, default=0)
    add("--numa-nodes", type=int, default=1)
    add("--time-limit-s", type=float, default=60)
    add("--python", action="store_true", help="carry in Python 3.11 and this project")
    return parser


def main() -> int:
    """Run a guest as the command line says; exit with the script's status, 124 (time limit) or 125 (died)."""
    asked = arguments().parse_args()
    machine = Machine(asked.memory_mib, asked.swap_mib, numa_nodes=asked.numa_nodes, append=asked.append)
    try:
        files = python_tree() if asked.python else {}
        files |= {guest: Path(host) for guest, _, host in (pair.partition("=") for pair in asked.file)}
        result = run_guest(asked.script, asked.kernel, machine, files, asked.time_limit_s)
        if asked.out:
            save(result, asked.out)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    for fault in result.faults:
        print(f"lab: booted again, the emulator had failed: {fault}", file=sys.stderr)
    if result.status is not None:
        return result.status
    print(f"lab: the guest's end: {result.ended.name}, after {result.elapsed_s:.0f} s", file=sys.stderr)
    print(result.console[-2000:], file=sys.stderr)
    return result.ended.value or 1


if __name__ == "__main__":
    sys.exit(main())
