"""yurt runs other computers on your computer.

`import yurt; with yurt.connect() as y: vm = y.run("debian")`. The names in `__all__` are the
public SDK; nothing else is. They load on first use, so that the command line, which needs
none of them, does not pay for them.
"""

TYPE_CHECKING = False  # what type checkers take for true; importing typing would cost milliseconds

if TYPE_CHECKING:
    from yurt.client.sdk import Client, ExecResult, Instance, connect

__version__ = "0.1.0"
__all__ = ["Client", "ExecResult", "Instance", "__version__", "connect"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from yurt.client import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'yurt' has no attribute {name!r}")
