"""`yurt network ls|info|create|attach|detach|delete`."""

from yurt.cli.arguments import Arguments
from yurt.cli.info import moment
from yurt.cli.local import connect
from yurt.cli.nics import nic_wish
from yurt.cli.output import note, print_fields, print_json, print_table, safe, write
from yurt.cli.progress import run_operation
from yurt.client import requests
from yurt.client.operations import as_document, as_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yurt.client.transport import Transport

HEADS = ("NETWORK", "IPV4", "IPV6", "WAY OUT", "UP", "USED BY")


def way_out(network: "dict[str, object]") -> str:
    return "none" if network.get("isolated") else "nat" if network.get("nat") else "routed"


def users(network: "dict[str, object]") -> "list[dict[str, object]]":
    found = network.get("used_by")
    return [user for user in found if isinstance(user, dict)] if isinstance(found, list) else []


def user_line(user: "dict[str, object]") -> str:
    addresses = user.get("addresses")
    shown = " ".join(str(each) for each in addresses) if isinstance(addresses, list) else ""
    return f"{user.get('name')} ({shown})"


def show_list(transport: "Transport", arguments: Arguments) -> int:
    networks = as_documents(transport.call(requests.list_networks()))
    if arguments.flag("json"):
        print_json(networks)
    elif arguments.flag("quiet"):
        write("".join(f"{safe(each.get('name'))}\n" for each in networks))
    else:
        rows = [
            [
                each.get("name"),
                each.get("ipv4"),
                each.get("ipv6"),
                way_out(each),
                "yes" if each.get("up") else "",
                len(users(each)),
            ]
            for each in networks
        ]
        print_table(HEADS, rows, right=frozenset(("USED BY",)))
    return 0


def show(network: "dict[str, object]", arguments: Arguments) -> None:
    if arguments.flag("json"):
        print_json(network)
        return
    shown = {
        "name": network.get("name"),
        "bridge": network.get("bridge"),
        "ipv4": network.get("ipv4"),
        "ipv6": network.get("ipv6"),
        "gateway": " ".join(str(network.get(key)) for key in ("gateway4", "gateway6") if network.get(key)),
        "way out": way_out(network),
        "mtu": network.get("mtu"),
        "domain": network.get("domain"),
        "up": "yes" if network.get("up") else "no",
        "created": moment(network.get("created_at")),
        "used by": ", ".join(user_line(user) for user in users(network)),
    }
    print_fields({key: value for key, value in shown.items() if value})


def info(transport: "Transport", arguments: Arguments) -> int:
    show(as_document(transport.call(requests.get_network(arguments.word("NAME")))), arguments)
    return 0


def create(transport: "Transport", arguments: Arguments) -> int:
    spec: dict[str, object] = {"name": arguments.word("NAME")}
    for family in ("ipv4", "ipv6"):
        if text := arguments.text(family):
            spec[family] = "" if text == "none" else text
    if arguments.flag("isolated"):
        spec["isolated"] = True
    if arguments.flag("no-nat"):
        spec["nat"] = False
    if (mtu := arguments.number("mtu")) is not None:
        spec["mtu"] = mtu
    if domain := arguments.text("domain"):
        spec["domain"] = domain
    dry_run = arguments.flag("dry-run")
    made = as_document(transport.call(requests.create_network(spec, dry_run=dry_run)))
    if dry_run:
        show(made, arguments)
    else:
        write(safe(made.get("name")) + "\n")
    return 0


def delete(transport: "Transport", arguments: Arguments) -> int:
    for name in arguments.words("NAME"):
        transport.call(requests.delete_network(name, dry_run=arguments.flag("dry-run")))
        write(safe(name) + "\n")
    return 0


def attach(transport: "Transport", arguments: Arguments) -> int:
    wish = nic_wish(arguments.word("NETWORK"))
    network = str(wish.pop("network"))
    operation = run_operation(
        transport, requests.attach_nic(network, arguments.word("NAME"), wish), cancels=True
    )
    result = operation.get("result")
    if isinstance(result, dict) and result.get("pending"):
        note(f"pending: {safe(result['pending'])}")
    return 0


def detach(transport: "Transport", arguments: Arguments) -> int:
    run_operation(transport, requests.detach_nic(arguments.word("NETWORK"), arguments.word("NAME")))
    return 0


def main(arguments: Arguments) -> int:
    verbs = {
        "ls": show_list,
        "info": info,
        "create": create,
        "attach": attach,
        "detach": detach,
        "delete": delete,
    }
    return verbs[arguments.command.name.split()[1]](connect(), arguments)
