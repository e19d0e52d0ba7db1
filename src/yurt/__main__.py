"""`python -m yurt`, and what the launcher runs: finds our packages without `site`, then goes to the command line.

Python's `-S` saves a third of the start-up time but leaves the virtual environment's packages out; they are appended
here, behind the standard library, where they cost nothing until something is imported from them.
`daemon` as first word runs the daemon instead; `yurt.client.spawn` starts it so.
"""

import os
import sys


def extend_path() -> None:
    """Add the directory that holds `yurt`, and under `-S` the packages of the virtual environment."""
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 pathlib is slow to load
    environment = os.path.dirname(os.path.dirname(sys.executable))  # noqa: PTH120
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = [source]
    if sys.flags.no_site and os.path.exists(f"{environment}/pyvenv.cfg"):  # noqa: PTH110
        wanted.append(f"{environment}/lib/{version}/site-packages")
    sys.path += [path for path in wanted if path not in sys.path]


if __name__ == "__main__":
    extend_path()
    if sys.argv[1:2] == ["daemon"]:
        del sys.argv[1]
        from yurt.daemon import main

        sys.exit(main())
    from yurt.cli.main import entry

    entry()
