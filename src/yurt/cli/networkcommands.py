"""The rows of the table of commands that are about networks."""

from yurt.cli.arguments import Command, Option, Positional

JSON = Option("json", "print JSON")
QUIET = Option("quiet", "print only the name", short="q")

NETWORK_COMMANDS = (
    Command("network ls", "network", "list networks", options=(JSON, QUIET)),
    Command(
        "network info",
        "network",
        "show a network and who is on it",
        options=(JSON,),
        positionals=(Positional("NAME", "the network", complete="network"),),
    ),
    Command(
        "network create",
        "network",
        "make a network",
        options=(
            Option("ipv4", "its IPv4 subnet; `none` for none (default: a free private one)", value="CIDR"),
            Option("ipv6", "its IPv6 subnet; `none` for none (default: a free private one)", value="CIDR"),
            Option("isolated", "no way out and no way in: its guests reach each other and nobody else"),
            Option("no-nat", "guests keep their addresses on their way out; others must route back to them"),
            Option("mtu", "largest packet (default: 1500)", value="BYTES"),
            Option("domain", "what follows the names of its guests (default: yurt)", value="DOMAIN"),
            Option("dry-run", "check everything and show the result, but make nothing"),
            JSON,
        ),
        positionals=(Positional("NAME", "what to call it"),),
        details="The network `default` comes by itself; make it with this to have it otherwise.",
    ),
    Command(
        "network attach",
        "network",
        "give an instance one more NIC",
        positionals=(
            Positional("NETWORK", "`NAME[,ip=ADDRESS][,ip6=ADDRESS][,mac=MAC]`", complete="network"),
            Positional("NAME", "the instance", complete="instance"),
        ),
        details="A vm that runs gets it at once, everything else at its next start.",
    ),
    Command(
        "network detach",
        "network",
        "take an instance's NIC away",
        positionals=(
            Positional("NETWORK", "the network; its last NIC there goes", complete="network"),
            Positional("NAME", "the instance", complete="instance"),
        ),
        details="The first NIC of an instance stays.",
    ),
    Command(
        "network delete",
        "network",
        "delete networks that no instance uses",
        options=(Option("dry-run", "only say whether they can be deleted"),),
        positionals=(Positional("NAME", "the networks", count="+", complete="network"),),
    ),
)
