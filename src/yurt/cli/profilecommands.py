"""The table of the profile commands."""

from yurt.cli.arguments import Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = Option("json", "print JSON")
QUIET = Option("quiet", "print only the name", short="q")
PROFILE = Positional("NAME", "the profile", complete="profile")


def profile_commands(wish: "Sequence[Option]") -> "tuple[Command, ...]":
    """The commands; `wish` are the options that a profile can hold."""
    return (
        Command("profile ls", "profile", "list profiles", options=(JSON, QUIET)),
        Command(
            "profile info", "profile", "show what a profile holds", options=(JSON,), positionals=(PROFILE,)
        ),
        Command(
            "profile create",
            "profile",
            "make a named set of settings for instances to come",
            options=wish,
            positionals=(Positional("NAME", "what to call it"),),
            details="Use it with `yurt run --profile NAME`.",
        ),
        Command(
            "profile set",
            "profile",
            "change a profile, for instances to come",
            options=(
                *wish,
                Option("unset", "take a setting away, such as `memory` or `env.A`", value="KEY", repeat=True),
            ),
            positionals=(PROFILE,),
            details="Maps and lists that are given replace the old ones. Instances created with it before stay as they are.",
        ),
        Command(
            "profile delete",
            "profile",
            "delete profiles",
            options=(Option("force", "also when instances were created with it", short="f"),),
            positionals=(Positional("NAME", "the profiles", count="+", complete="profile"),),
        ),
    )
