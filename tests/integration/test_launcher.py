"""The launcher and its set-up, in throw-away clones: real virtual environments, an apt-get of our own."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys\nprint('main', *sys.argv[1:], sep='|')\n"
# Notes its words; "installs" by making the program that the package list names; fails or hangs when a file says so.
APT = """#!/bin/sh
echo "apt-get $*" >>"$FAKE/log"
case " $* " in *" update "*) exit 0 ;; esac
if [ -e "$FAKE/hang" ]; then echo started >"$FAKE/hang"; exec sleep 600; fi
if [ -e "$FAKE/fail" ]; then echo "E: Unable to locate package made-up"; exit 100; fi
echo "Need to get 12 kB of archives."
echo "Setting up made-up (1.0) ..."
printf '#!/bin/sh\\n' >"$FAKE/bin/made-up-tool"
chmod 755 "$FAKE/bin/made-up-tool"
"""
PACKAGES = """# a list
python3        python3             setup      runs it
python3-venv   python3-ensurepip   setup      makes environments
made-up        made-up-tool        container  nothing real
"""


@dataclass
class Clone:
    """A clone that holds only what the launcher needs, and the fakes in front of its PATH."""

    path: Path
    fake: Path

    def environ(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("YURT_")}
        return {**kept, "PATH": f"{self.fake / 'bin'}:{os.environ['PATH']}", "FAKE": str(self.fake), **more}

    def start(
        self, *words: str, program: Path | None = None, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program or self.path / "yurt"), *words],
            cwd="/",
            env=self.environ(**(environ or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def at_terminal(self, answer: bytes, *words: str) -> tuple[int, str]:
        """Start it at a terminal, give the answer once it asks, return its status and all that was shown."""
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [str(self.path / "yurt"), *words],
            env=self.environ(),
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)
        shown, answered = b"", False
        try:
            while select.select([parent], [], [], 120)[0]:
                try:
                    data = os.read(parent, 4096)
                except OSError:  # the last writer is gone
                    break
                shown += data
                if b"[y/N]" in shown and not answered:
                    answered = True
                    os.write(parent, answer)
            return process.wait(120), shown.decode(errors="replace")
        finally:
            process.kill()
            process.wait()
            os.close(parent)

    def apt_calls(self) -> list[str]:
        log = self.fake / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def ready_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One virtual environment for all; copies of it serve as well, because nothing uses the scripts in it."""
    path = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(path)], check=True)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    path, fake = tmp_path / "clone", tmp_path / "fake"
    (path / "tools").mkdir(parents=True)
    (path / "src/yurt").mkdir(parents=True)
    (fake / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "yurt", path / "yurt")
    shutil.copy(ROOT / "tools/setup", path / "tools/setup")
    (path / "tools/packages.txt").write_text(PACKAGES)
    (path / "requirements.txt").write_text("# nothing\n")
    (path / "src/yurt/__main__.py").write_text(MAIN)
    for name, content in (("apt-get", APT), ("dpkg", '#!/bin/sh\necho "dpkg $*" >>"$FAKE/log"\n')):
        (fake / "bin" / name).write_text(content)
        (fake / "bin" / name).chmod(0o755)
    (fake / "bin/id").write_text('#!/bin/sh\ncat "$FAKE/uid" 2>/dev/null || echo 0\n')
    (fake / "bin/id").chmod(0o755)
    return Clone(path, fake)


@pytest.fixture
def warm(clone: Clone, ready_made: Path) -> Clone:
    """A clone whose environment is complete, but not its packages."""
    shutil.copytree(ready_made, clone.path / ".venv", symlinks=True)
    done = subprocess.run(
        ["cksum"], input=(clone.path / "requirements.txt").read_bytes(), capture_output=True, check=True
    )
    (clone.path / ".venv/.yurt-libraries").write_bytes(done.stdout)
    return clone


def test_first_start_sets_up_and_later_ones_do_nothing(clone: Clone) -> None:
    first = clone.start("run", "debian", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "main|run|debian|two words\n"
    assert "this host lacks: made-up" in first.stderr
    assert "installed made-up" in first.stderr
    assert "making the virtual environment" in first.stderr
    installs = [call for call in clone.apt_calls() if " install " in call]
    assert len(installs) == 1
    assert "-y --no-install-recommends made-up" in installs[0]
    second = clone.start("ls")
    assert (second.returncode, second.stdout, second.stderr) == (0, "main|ls\n", "")
    assert len([call for call in clone.apt_calls() if " install " in call]) == 1


def test_works_through_a_link_and_from_anywhere(warm: Clone, tmp_path: Path) -> None:
    warm.start("ls")
    link = tmp_path / "elsewhere"
    link.symlink_to(warm.path / "yurt")
    assert warm.start("ls", "-a", program=link).stdout == "main|ls|-a\n"
    inside = subprocess.run(
        ["sh", "yurt", "x"], cwd=warm.path, env=warm.environ(), capture_output=True, text=True, check=True
    )
    assert inside.stdout == "main|x\n"


def test_asks_at_a_terminal(warm: Clone) -> None:
    status, shown = warm.at_terminal(b"n\n", "run", "x")
    assert status == 1
    assert "Install them now? [y/N]" in shown
    assert "nothing was installed" in shown
    assert "apt-get install --no-install-recommends made-up" in shown
    assert not [call for call in warm.apt_calls() if "install" in call]
    status, shown = warm.at_terminal(b"y\n", "run", "x")
    assert status == 0
    assert shown.rstrip().endswith("main|run|x")


def test_yes_is_an_answer_and_no_argument(warm: Clone) -> None:
    status, shown = warm.at_terminal(b"", "--yes", "run", "x")
    assert status == 0, shown
    assert "[y/N]" not in shown
    assert shown.rstrip().endswith("main|run|x")


@pytest.mark.parametrize("words", [(), ("version",), ("--help",), ("completion", "bash"), ("doctor",)])
def test_some_commands_need_no_packages(warm: Clone, words: tuple[str, ...]) -> None:
    done = warm.start(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "|".join(("main", *words)) + "\n"
    assert warm.apt_calls() == []


def test_a_longer_list_is_installed_at_the_next_start(warm: Clone) -> None:
    warm.start("ls")
    (warm.fake / "bin/made-up-tool").rename(warm.fake / "bin/second-tool")
    (warm.path / "tools/packages.txt").write_text(PACKAGES.replace("made-up-tool", "second-tool"))
    assert warm.start("ls").stderr == ""  # newer, but nothing is missing
    (warm.path / "tools/packages.txt").write_text(PACKAGES)
    again = warm.start("ls")
    assert again.returncode == 0
    assert "this host lacks: made-up" in again.stderr


def test_failing_apt_shows_its_words_and_leaves_no_stamp(warm: Clone) -> None:
    (warm.fake / "fail").touch()
    done = warm.start("run", "x")
    assert done.returncode == 1
    assert "Unable to locate package made-up" in done.stderr
    assert "error: apt-get failed" in done.stderr
    assert done.stdout == ""
    assert not (warm.path / ".venv/.yurt-stamp").exists()
    (warm.fake / "fail").unlink()
    assert warm.start("run", "x").stdout == "main|run|x\n"


def test_a_set_up_killed_while_apt_runs_goes_on(warm: Clone) -> None:
    hang = warm.fake / "hang"
    os.mkfifo(hang)
    process = subprocess.Popen(
        [str(warm.path / "yurt"), "run", "x"],
        env=warm.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert hang.read_text() == "started\n"  # blocks until apt-get has begun
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    hang.unlink()
    done = warm.start("run", "x")
    assert (done.returncode, done.stdout) == (0, "main|run|x\n"), done.stderr


def test_a_half_made_environment_is_made_again(warm: Clone) -> None:
    warm.start("ls")
    shutil.rmtree(warm.path / ".venv/lib")
    (warm.path / ".venv/.busy").touch()
    (warm.path / ".venv/.yurt-stamp").unlink()
    done = warm.start("ls")
    assert (done.returncode, done.stdout) == (0, "main|ls\n"), done.stderr
    assert "making the virtual environment" in done.stderr
    assert not (warm.path / ".venv/.busy").exists()


def test_an_unfinished_dpkg_is_finished_first(warm: Clone) -> None:
    (warm.fake / "bin/dpkg").write_text(
        '#!/bin/sh\necho "dpkg $*" >>"$FAKE/log"\n[ "$1" != --audit ] || echo \'half configured\'\n'
    )
    assert warm.start("run").returncode == 0
    calls = warm.apt_calls()
    configured = next(at for at, call in enumerate(calls) if "--configure -a" in call)
    assert any("--fix-broken" in call for call in calls[configured:])
    assert any("made-up" in call for call in calls[configured:])


def test_a_set_up_killed_after_unpacking_is_configured(warm: Clone) -> None:
    """All files are there, so nothing is missing; but the host's package manager is not whole."""
    (warm.fake / "bin/made-up-tool").write_text("#!/bin/sh\n")
    (warm.fake / "bin/made-up-tool").chmod(0o755)
    (warm.path / "tools/.installing").touch()
    (warm.fake / "bin/dpkg").write_text(
        '#!/bin/sh\necho "dpkg $*" >>"$FAKE/log"\n[ "$1" != --audit ] || echo \'half configured\'\n'
    )
    assert warm.start("run").stdout == "main|run\n"
    assert any("--configure -a" in call for call in warm.apt_calls())
    assert not (warm.path / "tools/.installing").exists()


def test_without_root_it_takes_sudo(warm: Clone) -> None:
    (warm.fake / "uid").write_text("1000\n")
    (warm.fake / "bin/sudo").write_text('#!/bin/sh\necho "sudo $*" >>"$FAKE/log"\nshift 2\nexec "$@"\n')
    (warm.fake / "bin/sudo").chmod(0o755)
    assert warm.start("run").stdout == "main|run\n"
    assert any(call.startswith("sudo -n -- env") and "made-up" in call for call in warm.apt_calls())


def without_programs(clone: Clone, *absent: str) -> dict[str, str]:
    """A PATH that holds what the set-up itself uses, and not the named programs."""
    tools = (
        "sh",
        "cat",
        "cksum",
        "dirname",
        "env",
        "flock",
        "mktemp",
        "mv",
        "python3",
        "readlink",
        "rm",
        "sed",
        "tail",
        "tee",
    )
    for name in (*tools, "mkdir"):
        found = shutil.which(name, path="/usr/bin:/bin")
        if found and not (clone.fake / "bin" / name).exists():
            (clone.fake / "bin" / name).symlink_to(found)
    for name in absent:
        (clone.fake / "bin" / name).unlink(missing_ok=True)
    return {"PATH": str(clone.fake / "bin")}


def test_without_root_and_sudo_it_says_what_to_do(warm: Clone) -> None:
    (warm.fake / "uid").write_text("1000\n")
    done = warm.start("run", environ=without_programs(warm, "sudo"))
    assert done.returncode == 1
    assert "needs root, and there is no sudo" in done.stderr
    assert "as root: apt-get install --no-install-recommends made-up" in done.stderr


def test_elsewhere_than_on_debian_it_says_what_is_needed(warm: Clone) -> None:
    done = warm.start("run", environ=without_programs(warm, "apt-get"))
    assert done.returncode == 1
    assert "no apt-get" in done.stderr
    assert "packages.txt" in done.stderr
    skipped = warm.start("run", environ={"YURT_SETUP": "skip", **without_programs(warm, "apt-get")})
    assert (skipped.returncode, skipped.stdout) == (0, "main|run\n"), skipped.stderr


def test_two_first_starts_take_turns(warm: Clone) -> None:
    hang = warm.fake / "hang"
    os.mkfifo(hang)
    start: Callable[[], subprocess.Popen[str]] = lambda: subprocess.Popen(  # noqa: E731 used twice, right here
        [str(warm.path / "yurt"), "run"],
        env=warm.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = start()
    assert hang.read_text() == "started\n"
    second = start()
    assert second.stderr is not None
    assert "waiting for another set-up" in second.stderr.readline()
    hang.unlink()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=120)
    assert (second.returncode, out) == (0, "main|run\n"), err


@pytest.mark.slow
def test_a_real_clone_answers_version(tmp_path: Path) -> None:
    """Every file of the project, nothing else: the locked libraries install and the command line runs on them."""
    clone = copy_of_project(tmp_path / "clone")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("YURT_")}
    done = subprocess.run(
        [str(clone / "yurt"), "version"],
        env={**environ, "YURT_HOME": str(tmp_path / "h"), "YURT_YES": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0.1.0" in done.stdout
    assert not (tmp_path / "h").exists() or not any((tmp_path / "h").rglob("yurt.sock")), (
        "`version` started a daemon"
    )


@pytest.mark.slow
def test_the_wheel_is_complete(tmp_path: Path) -> None:
    """What `pipx install .` does: build, install into an empty environment, run; all shipped data is inside."""
    clone = copy_of_project(tmp_path / "clone")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            str(clone),
        ],
        check=True,
        timeout=600,
    )
    (wheel,) = tmp_path.glob("yurt-*.whl")
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(tmp_path / "v")], check=True)
    subprocess.run([str(tmp_path / "v/bin/pip"), "install", "-q", str(wheel)], check=True, timeout=600)
    shown = subprocess.run(
        [str(tmp_path / "v/bin/yurt"), "--help"], capture_output=True, text=True, check=True
    )
    assert "run" in shown.stdout
    (data,) = (tmp_path / "v/lib").glob("python3*/site-packages/yurt/_data")
    for name in ("recipes/debian", "recipes/tiny", "tools/packages.txt", "agent"):
        assert (data / name).exists(), name
    assert any((data / "agent").glob("*.c"))


def copy_of_project(target: Path) -> Path:
    """The project's files as git would clone them, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def test_the_list_of_packages_is_true() -> None:
    """Every package of the list exists, as far as apt's lists on this host tell."""
    if shutil.which("apt-cache") is None:
        pytest.skip("needs apt-cache")
    lines = (ROOT / "tools/packages.txt").read_text().splitlines()
    names = sorted({line.split()[0] for line in lines if line and not line.startswith("#")})
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names], capture_output=True, text=True, check=False
    )
    known = {
        line.removeprefix("Package: ") for line in shown.stdout.splitlines() if line.startswith("Package: ")
    }
    if not known:
        pytest.skip("needs apt's package lists")
    assert set(names) <= known, set(names) - known


def test_later_starts_add_no_fork(warm: Clone) -> None:
    """The fast path is file tests and one exec: strace shows one execve for the launcher and one for Python."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    warm.start("ls")
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "trace=execve,clone,fork,vfork,clone3",
            "-o",
            str(warm.fake / "trace"),
            str(warm.path / "yurt"),
            "ls",
        ],
        env=warm.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("strace is not allowed to trace here")
    calls = (warm.fake / "trace").read_text()
    assert calls.count("execve(") == 2
    assert not re.search(r" (clone3?|v?fork)\(", calls)
