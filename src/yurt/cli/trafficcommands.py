"""The options for firewall rules and published ports, and the command `forward`."""

from yurt.cli.arguments import Command, Option, Positional

TRAFFIC = (
    Option(
        "publish",
        "let a port of the host lead to one of it; may be given again",
        short="p",
        value="[ADDRESS:]PORT:PORT[/udp]",
        repeat=True,
    ),
    *(
        Option(word, text, value="RULE", repeat=True)
        for word, text in (
            ("allow-in", "let this reach it, such as `tcp:22`; all else is then denied"),
            ("deny-in", "keep this from it, such as `192.0.2.0/24` or `all`"),
            (
                "allow-out",
                "let it reach this, such as `10.0.0.0/8:443` or `example.org:443`; all else is then denied",
            ),
            ("deny-out", "keep it from this, such as `udp` or `all`"),
        )
    ),
)
FORWARD = Command(
    "forward",
    "forward",
    "reach TCP ports inside an instance from here, for as long as the command runs",
    positionals=(
        Positional("NAME", "the instance", complete="instance"),
        Positional("PORTS", "`[ADDRESS:]PORT:[GUEST-ADDRESS:]GUEST-PORT`, or one port for both", count="+"),
    ),
    details="It listens on 127.0.0.1 unless ADDRESS says otherwise; port 0 takes a free one. The way leads through "
    "the agent, so it works for every kind and without any network. Ctrl-C ends it. See `--publish` for a lasting one.",
)
