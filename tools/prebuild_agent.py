"""Compiles yurt-agent into agent/prebuilt for each architecture with a compiler here, so that the wheel carries it."""

import asyncio
from pathlib import Path

from yurt.drivers.agent.build import prebuild

if __name__ == "__main__":
    for binary in asyncio.run(prebuild(Path(__file__).resolve().parent.parent / "agent")):
        print(binary.name)
