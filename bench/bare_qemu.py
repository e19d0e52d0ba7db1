"""The peer of the microVM benches: the same machine, kernel and initrd, started by nothing but a small script.

It reads the command line of a microVM that yurt runs and writes plain paths for what yurt passes as descriptors: copies of
the initrd, sockets of its own, a disk of its own over the same base. Without a jail, other uid, control group or record.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path


class BareQemu:
    """A command line to start again and again, each time to the first byte that the agent says."""

    def __init__(self, pid: int, scratch: Path, tap: str = "") -> None:
        self.scratch = scratch
        self.tap = tap  # of the namespace that it will be started in; without one it has QEMU's own network
        self.base: Path | None = None
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        start = next(at for at, word in enumerate(words) if "qemu-system" in word.rsplit("/", 1)[-1])
        self.argv = self._plain(words[start:], pid)

    def _plain(self, words: list[str], pid: int) -> list[str]:
        # QEMU keeps duplicates of what it was given, so the numbers on its command line are gone: go by the files
        held = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
        base = next(path for path in held if "/forms/" in path)
        plain: list[str] = []
        index = 0
        while index < len(words):
            flag = words[index]
            value = words[index + 1] if index + 1 < len(words) else ""
            if flag in ("-add-fd", "-sandbox"):
                index += 2
            elif flag in ("-kernel", "-initrd"):
                plain += [flag, self._copied(value, flag.strip("-"), pid)]
                index += 2
            elif flag == "-blockdev":
                plain += [flag, self._block(json.loads(value), base)]
                index += 2
            elif flag == "-netdev":  # QEMU's own user-mode network, where yurt's is a process of its own
                plain += [flag, json.dumps(self._network(json.loads(value)["id"]))]
                index += 2
            elif flag == "-chardev" and (found := re.search(r"id=(\w+),fd=\d+", value)):
                name = found[1]
                server = "server=off" if name == "agent" else "server=on,wait=off"
                plain += [flag, f"socket,id={name},path={self.scratch}/{name}.sock,{server}"]
                index += 2
            else:
                plain.append(flag)
                index += 1
        return plain

    def _copied(self, path: str, name: str, pid: int) -> str:
        """A file of our own with what a path holds in the other process's root."""
        source = f"/proc/{pid}/root{path}"
        target = self.scratch / name
        with open(source, "rb") as reading, target.open("wb") as writing:  # noqa: PTH123 a link to a deleted file
            reading.seek(0)
            shutil.copyfileobj(reading, writing)
        return str(target)

    def _block(self, document: dict[str, object], base: str) -> str:
        if str(document.get("filename", "")).startswith("/dev/fdset/"):
            if document.get("read-only"):
                self.base = Path(base)
                document["filename"] = base
            else:
                document["filename"] = str(self.scratch / "disk.qcow2")
        return json.dumps(document)

    def _network(self, name: str) -> dict[str, object]:
        if not self.tap:
            return {"type": "user", "id": name}
        none = {"script": "no", "downscript": "no"}
        return {
            "type": "tap",
            "id": name,
            "ifname": self.tap,
            "vhost": Path("/dev/vhost-net").exists(),
            **none,
        }

    def fresh_disk(self) -> None:
        size = self.base.stat().st_size if self.base else 1 << 30
        disk = str(self.scratch / "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, str(size)], check=True)

    def start(self, *around: str) -> subprocess.Popen[bytes]:
        """Start it on a fresh disk, with nobody at its agent's end."""
        self.fresh_disk()
        argv = [word.replace("server=off", "server=on,wait=off") for word in self.argv]
        return subprocess.Popen([*around, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def boot(self) -> float:
        """Start it on a fresh disk and return the seconds until the agent says something; then end it."""
        self.fresh_disk()
        path = self.scratch / "agent.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(120)
            begin = time.perf_counter()
            process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(120)
                    if not connection.recv(1):
                        raise RuntimeError("QEMU ended before the agent said anything")
                    return time.perf_counter() - begin
            finally:
                process.kill()
                process.wait()
