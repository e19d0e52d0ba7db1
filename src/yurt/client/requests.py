"""Every call of the REST API as a pure function that gives a Request. The CLI and the SDK build on the same ones."""

SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")


class Request:
    """Method, path (already quoted), query pairs and an optional JSON body."""

    __slots__ = ("body", "method", "path", "protocol", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: "list[tuple[str, str]] | None" = None,
        body: object = None,
        protocol: str = "",
    ) -> None:
        self.method, self.path, self.query, self.body = method, path, query or [], body
        self.protocol = protocol  # the WebSocket subprotocol to ask for

    def __repr__(self) -> str:
        return f"Request({self.method} {target(self)})"


EXEC_PROTOCOL = "v5.channel.k8s.io"


def quote(text: str, *, slash: bool = True) -> str:
    """Percent-encode text for a URL; bytes that were no UTF-8 on the command line go through as they are."""
    safe = SAFE if slash else SAFE - {0x2F}
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in data)


def target(request: Request) -> str:
    """Path and query as they stand in the request line."""
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in request.query)
    return f"{request.path}?{query}" if query else request.path


def flag(value: bool) -> str:
    """A truth value in a query."""
    return "true" if value else "false"


def number(value: float) -> str:
    """A number in a query, without needless digits."""
    return f"{value:g}"


def _instance(name: str, tail: str = "") -> str:
    return f"/v1/instances/{quote(name, slash=False)}{tail}"


def version() -> Request:
    return Request("GET", "/v1/version")


def host() -> Request:
    return Request("GET", "/v1/host")


def doctor() -> Request:
    return Request("GET", "/v1/doctor")


def list_instances(labels: "list[str] | None" = None) -> Request:
    """`labels`: `key=value` each; all must hold."""
    return Request("GET", "/v1/instances", [("label", label) for label in labels or []])


def get_instance(name: str) -> Request:
    return Request("GET", _instance(name))


def create_instance(spec: "dict[str, object]", *, start: bool, dry_run: bool = False) -> Request:
    query = [("start", flag(start)), ("wait_s", "0")]
    if dry_run:
        query.append(("dry_run", "true"))
    return Request("POST", "/v1/instances", query, body=spec)


def act(name: str, verb: str, body: "dict[str, object] | None" = None) -> Request:
    """One of start, stop, kill, restart, pause, resume, rename."""
    return Request("POST", _instance(name, f"/{verb}"), [("wait_s", "0")], body=body or {})


def set_instance(name: str, settings: "dict[str, str]", *, dry_run: bool = False) -> Request:
    """Change settings; empty text takes a limit away."""
    query = [("wait_s", "0"), *([("dry_run", "true")] if dry_run else [])]
    return Request("POST", _instance(name, "/set"), query, body={"settings": settings})


def start_instance(name: str, *, dry_run: bool = False) -> Request:
    query = [("wait_s", "0"), *([("dry_run", "true")] if dry_run else [])]
    return Request("POST", _instance(name, "/start"), query, body={})


def delete_instance(name: str, *, force: bool = False) -> Request:
    return Request("DELETE", _instance(name), [("force", flag(force)), ("wait_s", "0")])


def wait_instance(name: str, condition: str, timeout_s: float) -> Request:
    return Request("GET", _instance(name, "/wait"), [("for", condition), ("timeout_s", number(timeout_s))])


def usage() -> Request:
    return Request("GET", "/v1/usage")


def logs(name: str, *, source: str = "console", tail_bytes: int = 64 << 10, follow: bool = False) -> Request:
    query = [("source", source), ("tail_bytes", str(tail_bytes)), ("follow", flag(follow))]
    return Request("GET", _instance(name, "/logs"), query)


def get_archive(name: str, path: str, *, follow: bool = False) -> Request:
    return Request("GET", _instance(name, "/archive"), [("path", path), ("follow", flag(follow))])


def put_archive(name: str, path: str) -> Request:
    return Request("PUT", _instance(name, "/archive"), [("path", path)])


def stat(name: str, path: str) -> Request:
    return Request("GET", _instance(name, "/stat"), [("path", path)])


def execute(
    name: str,
    command: "list[str]",
    *,
    env: "dict[str, str] | None" = None,
    workdir: str = "",
    user: str = "",
    tty: bool = False,
    stdin: bool = False,
    rows: int = 0,
    columns: int = 0,
) -> Request:
    """The WebSocket that runs a program in the guest."""
    query = [("command", word) for word in command]
    query += [("env", f"{key}={value}") for key, value in (env or {}).items()]
    query += [(key, value) for key, value in (("workdir", workdir), ("user", user)) if value]
    query += [("tty", flag(tty)), ("stdin", flag(stdin))]
    if tty and rows and columns:
        query += [("rows", str(rows)), ("columns", str(columns))]
    return Request("GET", _instance(name, "/exec"), query, protocol=EXEC_PROTOCOL)


def attach(name: str) -> Request:
    """The WebSocket to the main process of an instance."""
    return Request("GET", _instance(name, "/attach"), protocol=EXEC_PROTOCOL)


def connect(name: str, port: int, address: str = "") -> Request:
    """The WebSocket to a TCP port inside the guest."""
    query = [("port", str(port)), *([("address", address)] if address else [])]
    return Request("GET", _instance(name, "/connect"), query, protocol=EXEC_PROTOCOL)


def console(name: str) -> Request:
    return Request("GET", _instance(name, "/console"))


def events(since: "int | None" = None) -> Request:
    return Request("GET", "/v1/events", [] if since is None else [("since", str(since))])


def list_images() -> Request:
    return Request("GET", "/v1/images")


def get_image(reference: str) -> Request:
    return Request("GET", f"/v1/images/{quote(reference, slash=False)}")


def build_image(recipe: str) -> Request:
    return Request("POST", "/v1/images/build", [("wait_s", "0")], body={"recipe": recipe})


def delete_image(reference: str) -> Request:
    return Request("DELETE", f"/v1/images/{quote(reference, slash=False)}", [("wait_s", "0")])


def prune_images(*, dry_run: bool = False) -> Request:
    return Request("POST", "/v1/images/prune", [("dry_run", flag(dry_run)), ("wait_s", "0")])


def _profile(name: str, tail: str = "") -> str:
    return f"/v1/profiles/{quote(name, slash=False)}{tail}"


def list_profiles() -> Request:
    return Request("GET", "/v1/profiles")


def get_profile(name: str) -> Request:
    return Request("GET", _profile(name))


def create_profile(name: str, settings: "dict[str, object]") -> Request:
    return Request("POST", "/v1/profiles", body={"name": name, "settings": settings})


def set_profile(name: str, settings: "dict[str, object]", unset: "list[str]") -> Request:
    return Request("POST", _profile(name, "/set"), body={"settings": settings, "unset": unset})


def delete_profile(name: str, *, force: bool = False) -> Request:
    return Request("DELETE", _profile(name), [("force", flag(force))])


def list_operations() -> Request:
    return Request("GET", "/v1/operations")


def get_operation(operation_id: str) -> Request:
    return Request("GET", f"/v1/operations/{quote(operation_id, slash=False)}")


def wait_operation(operation_id: str, timeout_s: float) -> Request:
    path = f"/v1/operations/{quote(operation_id, slash=False)}/wait"
    return Request("GET", path, [("timeout_s", number(timeout_s))])


def cancel_operation(operation_id: str) -> Request:
    return Request("POST", f"/v1/operations/{quote(operation_id, slash=False)}/cancel")


def _network(name: str) -> str:
    return f"/v1/networks/{quote(name, slash=False)}"


def list_networks() -> Request:
    return Request("GET", "/v1/networks")


def get_network(name: str) -> Request:
    return Request("GET", _network(name))


def create_network(spec: "dict[str, object]", *, dry_run: bool = False) -> Request:
    return Request("POST", "/v1/networks", [("dry_run", flag(dry_run))], body=spec)


def attach_nic(network: str, instance: str, wish: "dict[str, object]") -> Request:
    return Request(
        "POST", f"{_network(network)}/attach", [("wait_s", "0")], body={"instance": instance, **wish}
    )


def detach_nic(network: str, instance: str) -> Request:
    return Request("POST", f"{_network(network)}/detach", [("wait_s", "0")], body={"instance": instance})


def delete_network(name: str, *, dry_run: bool = False) -> Request:
    return Request("DELETE", _network(name), [("dry_run", flag(dry_run))])
