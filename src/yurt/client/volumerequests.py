"""The calls about volumes as pure functions that give a Request."""

from yurt.client.requests import Request, flag, quote


def _volume(name: str, tail: str = "") -> str:
    return f"/v1/volumes/{quote(name, slash=False)}{tail}"


def list_volumes() -> Request:
    return Request("GET", "/v1/volumes")


def get_volume(name: str) -> Request:
    return Request("GET", _volume(name))


def create_volume(spec: "dict[str, object]") -> Request:
    return Request("POST", "/v1/volumes", [("wait_s", "0")], body=spec)


def import_volume(name: str, form: str) -> Request:
    """The request whose body is the disk image."""
    return Request("PUT", _volume(name, "/content"), [("format", form), ("wait_s", "0")])


def delete_volume(name: str, *, dry_run: bool = False) -> Request:
    return Request("DELETE", _volume(name), [("dry_run", flag(dry_run)), ("wait_s", "0")])


def resize_volume(name: str, size_bytes: int) -> Request:
    return Request("POST", _volume(name, "/resize"), [("wait_s", "0")], body={"size_bytes": size_bytes})


def attach_volume(name: str, instance: str, *, path: str = "", read_only: bool = False) -> Request:
    body: dict[str, object] = {"instance": instance, "path": path, "read_only": read_only}
    return Request("POST", _volume(name, "/attach"), [("wait_s", "0")], body=body)


def detach_volume(name: str) -> Request:
    return Request("POST", _volume(name, "/detach"), [("wait_s", "0")], body={})
