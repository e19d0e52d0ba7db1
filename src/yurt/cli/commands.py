"""The table of all commands: names, options, help. The parser, `--help`, completion and docs/cli.md read it."""

from yurt.cli.arguments import Command, Option, Positional
from yurt.cli.networkcommands import NETWORK_COMMANDS
from yurt.cli.profilecommands import profile_commands
from yurt.cli.trafficcommands import FORWARD, TRAFFIC
from yurt.cli.volumecommands import USES, VOLUME_COMMANDS

SIZES = ("micro", "small", "medium", "large", "xlarge")
KINDS = ("microvm", "container", "vm")
JSON = Option("json", "print JSON")
QUIET = Option("quiet", "print only the name", short="q")
LABEL = Option(
    "label", "only instances with this label; may be given again", short="l", value="K=V", repeat=True
)
FORCE = Option("force", "do not ask the guest first", short="f")
DETACH = Option("detach", "do not wait for the end", short="d")
NAME = Positional("NAME", "the instance", complete="instance")
NAMES = Positional("NAME", "the instances", count="*", complete="instance")
IMAGE = Positional("IMAGE", "the image, such as `debian`; see `yurt image ls`", complete="image")
REFERENCE = Positional("IMAGE", "the image", complete="image")

SHAPE = (
    Option("as", "what it is made of (default: microvm)", value="KIND", choices=KINDS),
    Option("cpus", "number of virtual CPUs", value="N"),
    Option("memory", "memory, such as `512M` or `2G`", value="SIZE"),
    Option("disk", "size of its disk, such as `10G`", value="SIZE"),
    Option("env", "set an environment variable; may be given again", short="e", value="K=V", repeat=True),
    Option("label", "attach a label; may be given again", short="l", value="K=V", repeat=True),
    Option(
        "network",
        "network of a NIC, such as `default`; may be given again; or `user`: out through the host's own sockets; `none`",
        value="NAME[,ip=ADDRESS]",
        repeat=True,
        complete="network",
    ),
    Option("accel", "how a VM's CPUs run (default: measured)", value="ACCEL", choices=("auto", "kvm", "tcg")),
    Option("nesting", "containers: let it run containers itself; its root reaches more of the host's kernel"),
    Option("privileged", "containers: refused, as it would be root of this host; see `--nesting`"),
    Option("init", "start the image's own init, also when `--rm` comes with a command"),
    Option("no-init", "run the command as the guest's only program, without the image's init"),
)
NEW = (
    Option("name", "what to call it; two words are made up otherwise", value="NAME"),
    Option("size", "processors and memory by name", value="SIZE", choices=SIZES),
    Option(
        "profile",
        "take settings from a profile; may be given again, later ones win",
        value="PROFILE",
        repeat=True,
    ),
    Option("workdir", "directory that the command runs in", short="w", value="PATH"),
    Option("user", "user that the command runs as", short="u", value="USER"),
)
POLICY = (
    Option(
        "restart",
        "start it again when it has ended by itself (default: no)",
        value="WHEN",
        choices=("no", "on-failure", "always"),
    ),
    Option("autostart", "start it when the host has booted"),
    Option("autostart-order", "lower ones are started first (default: 100)", value="N"),
    Option("autostart-delay", "time from its start to the start of the next order", value="TIME"),
    Option("ttl", "end it after this time, such as `30m`", value="TIME"),
    Option("ttl-action", "what happens then (default: stop)", value="WHAT", choices=("stop", "delete")),
    Option("protect", "refuse to delete it, even with --force"),
)
LIMITS = (
    Option("cpu-shares", "weight against others when processors are short; 100 is usual", value="N"),
    Option("cpu-quota", "processors' worth of time it gets at most, such as `1.5`", value="N"),
    Option("cpu-pin", "processors of the host it may run on, such as `0-3,6`", value="LIST"),
    Option("pids", "how many processes and threads it may have (containers: 4096 if not given)", value="N"),
    Option("disk-read-iops", "read operations a second", value="N"),
    Option("disk-write-iops", "write operations a second", value="N"),
    Option("disk-read-bps", "bytes read a second, such as `50M` (of 1024)", value="SIZE"),
    Option("disk-write-bps", "bytes written a second, such as `50M` (of 1024)", value="SIZE"),
    Option("net-in", "bits a second towards it, such as `100M` (of 1000)", value="RATE"),
    Option("net-out", "bits a second from it, such as `100M` (of 1000)", value="RATE"),
    Option("processes", "processes of one user in it", value="N"),
    Option("open-files", "open files of one program in it", value="N"),
)
# what a wish for an instance and a profile have in common
WISH = (*SHAPE, *TRAFFIC, *POLICY, *LIMITS, *USES)
STREAMS = (
    Option(
        "interactive", "pass on standard input (default: when it is no terminal, or with a tty)", short="i"
    ),
    Option("tty", "give the program a terminal (default: when input and output are terminals)", short="t"),
    Option("no-tty", "give the program no terminal", short="T"),
    Option("no-stdin", "do not read standard input", short="n"),
)
EXEC = (
    *STREAMS,
    Option("env", "set an environment variable; may be given again", short="e", value="K=V", repeat=True),
    Option("workdir", "directory that it runs in", short="w", value="PATH"),
    Option("user", "user that it runs as", short="u", value="USER"),
)
TIMEOUT = Option("timeout", "how long the guest may take before it is killed (default: 30s)", value="TIME")

COMMANDS = (
    Command(
        "run",
        "run",
        "create and start an instance, then open a shell or run a command in it",
        options=(
            *NEW,
            *WISH,
            *STREAMS,
            Option("rm", "delete it when the command or shell ends"),
            Option("detach", "start it, print its name and return", short="d"),
            Option("no-start", "only create it"),
            Option("dry-run", "check everything and show the result, but make nothing"),
        ),
        positionals=(IMAGE,),
        rest="[COMMAND...]",
        details="Options are read up to the first word of COMMAND or `--`. Without a command and at a terminal a login "
        "shell opens; when it ends the instance keeps running, unless `--rm` was given. With a command its exit code is "
        "passed on. `--rm` with a command runs it as the guest's main process, without the image's init (not for "
        "`--as vm`, whose firmware boots the image's own disk). Ctrl-C before the guest runs cancels and undoes.",
    ),
    Command(
        "create",
        "run",
        "create an instance without starting it",
        options=(
            *NEW,
            *WISH,
            Option("dry-run", "check everything and show the result, but make nothing"),
        ),
        positionals=(IMAGE,),
        rest="[COMMAND...]",
        details="COMMAND becomes the guest's main process: give `--no-init` with it. Ctrl-C cancels and undoes.",
    ),
    Command(
        "start",
        "lifecycle",
        "start instances",
        options=(LABEL, DETACH, Option("dry-run", "only say whether they would fit on this host")),
        positionals=(NAMES,),
    ),
    Command(
        "stop",
        "lifecycle",
        "ask guests to shut down; kill those that do not",
        options=(LABEL, TIMEOUT, FORCE, DETACH),
        positionals=(NAMES,),
        details="Ctrl-C detaches: the guests go on shutting down.",
    ),
    Command(
        "kill",
        "lifecycle",
        "end instances at once, like pulling the plug",
        options=(LABEL, DETACH),
        positionals=(NAMES,),
    ),
    Command(
        "restart",
        "lifecycle",
        "stop and start instances",
        options=(LABEL, TIMEOUT, FORCE, DETACH),
        positionals=(NAMES,),
    ),
    Command("pause", "lifecycle", "freeze running instances", options=(LABEL, DETACH), positionals=(NAMES,)),
    Command(
        "resume", "lifecycle", "let paused instances run on", options=(LABEL, DETACH), positionals=(NAMES,)
    ),
    Command(
        "delete",
        "lifecycle",
        "delete instances and their disks",
        options=(LABEL, Option("force", "also when it runs", short="f"), DETACH),
        positionals=(NAMES,),
    ),
    Command(
        "rename",
        "lifecycle",
        "give an instance another name",
        positionals=(NAME, Positional("NEW", "the new name")),
    ),
    Command(
        "set",
        "set",
        "change limits and other settings of an instance, also while it runs",
        options=(Option("dry-run", "only say what would happen"), JSON),
        positionals=(
            NAME,
            Positional(
                "KEY=VALUE", "the settings; an empty value takes a limit away", count="+", complete="setting"
            ),
        ),
        details="Says for each setting whether it holds now or from the next start on, and why. docs/limits.md has all "
        "settings: what is a flag of `yurt create` goes by the same name here, such as `memory=2G` or `net-in=100M`.",
    ),
    Command("ls", "ls", "list instances", options=(LABEL, JSON, QUIET)),
    Command("info", "info", "show everything about an instance", options=(JSON,), positionals=(NAME,)),
    Command(
        "exec",
        "execute",
        "run a command in an instance",
        options=EXEC,
        positionals=(NAME,),
        rest="COMMAND...",
        details="Options are read up to the first word of COMMAND or `--`. Streams, signals and the exit code are passed "
        "on. Without a terminal, Ctrl-\\ ends yurt itself and the program gets a hang-up.",
    ),
    Command("shell", "execute", "open a login shell in an instance", options=EXEC, positionals=(NAME,)),
    FORWARD,
    Command(
        "console",
        "console",
        "attach to an instance's serial console",
        positionals=(NAME,),
        details="Shows what was printed lately, then connects. Ctrl-] leaves the console; the guest runs on.",
    ),
    Command(
        "logs",
        "console",
        "show an instance's console or lifecycle log",
        options=(
            Option("follow", "go on as the log grows", short="f"),
            Option("source", "which log (default: console)", value="LOG", choices=("console", "lifecycle")),
            Option("tail", "how much of its end to show (default: 64K)", value="SIZE"),
            Option("raw", "do not make control bytes harmless on a terminal"),
        ),
        positionals=(NAME,),
    ),
    Command(
        "cp",
        "cp",
        "copy files and directories into or out of an instance",
        options=(Option("follow", "copy what a symbolic link in the guest points to", short="L"),),
        positionals=(
            Positional("SRC", "`NAME:PATH` or a local path", complete="file"),
            Positional("DST", "`NAME:PATH` or a local path", complete="file"),
        ),
        details="One side names an instance. A directory is copied whole; `DIR/.` means what is in it. `-` is a tar stream "
        "on standard input or output. Owner and mode are kept; coming out of a guest, set-user-id bits and devices are not.",
    ),
    Command(
        "wait",
        "watch",
        "wait until an instance is ready or has ended",
        options=(
            Option(
                "for", "what to wait for (default: agent)", value="WHAT", choices=("running", "agent", "exit")
            ),
            Option("timeout", "how long (default: 5m)", value="TIME"),
        ),
        positionals=(NAME,),
        details="With `--for exit` the exit code of the guest's main process is passed on.",
    ),
    Command(
        "events",
        "watch",
        "follow what happens",
        options=(
            Option("since", "begin at this event number", value="NUMBER"),
            Option("json", "one JSON object a line"),
        ),
    ),
    Command(
        "top",
        "top",
        "watch CPU, memory and disk use of running instances",
        options=(Option("once", "print one reading and end"), JSON),
        details="The figures are taken over the time between two readings, two seconds. Ctrl-C ends it.",
    ),
    Command("operation ls", "operation", "list recent operations", options=(JSON,)),
    Command(
        "operation",
        "operation",
        "follow an operation to its end, or cancel it",
        options=(Option("cancel", "cancel it and undo what it did"), JSON),
        positionals=(Positional("ID", "the operation; without one they are listed", count="?"),),
    ),
    Command("image ls", "image", "list images", options=(JSON, QUIET)),
    Command(
        "image build",
        "image",
        "build an image from a recipe",
        positionals=(Positional("RECIPE", "the recipe, such as `debian` or `tiny`", complete="recipe"),),
        options=(DETACH,),
        details="Ctrl-C cancels and undoes.",
    ),
    Command(
        "image import",
        "imports",
        "make an image of an archive",
        positionals=(
            Positional("IMAGE", "what to call it: `NAME` or `NAME:TAG`"),
            Positional("FILE", "the archive; `-` is standard input", complete="file"),
        ),
        options=(DETACH,),
        details="The archive holds a root file system, an OCI image, or what `docker save` writes, as tar: plain or "
        "compressed with gzip, xz or zstd. Ctrl-C cancels and undoes.",
    ),
    Command(
        "image info", "image", "show everything about an image", options=(JSON,), positionals=(REFERENCE,)
    ),
    Command(
        "image delete",
        "image",
        "delete images",
        positionals=(Positional("IMAGE", "the images", count="+", complete="image"),),
    ),
    Command(
        "image prune",
        "image",
        "delete what no image and no instance needs",
        options=(Option("dry-run", "only say what would go"), JSON),
    ),
    *profile_commands(WISH),
    *VOLUME_COMMANDS,
    *NETWORK_COMMANDS,
    Command("host info", "host", "show what this host is and has", options=(JSON,)),
    Command("doctor", "host", "check what this host can do and how to mend what it cannot", options=(JSON,)),
    Command("version", "host", "show the versions of client and daemon", options=(JSON,)),
    Command(
        "serve",
        "host",
        "run the daemon in the foreground",
        details="Not needed: every command starts the daemon when nobody listens.",
    ),
    Command(
        "completion",
        "completion",
        "print a completion script for a shell",
        positionals=(Positional("SHELL", "`bash`, `zsh` or `fish`"),),
        details='For bash: `eval "$(yurt completion bash)"` in `~/.bashrc`. For zsh, put the output into a file `_yurt` on '
        "`$fpath`. For fish: `yurt completion fish > ~/.config/fish/completions/yurt.fish`.",
    ),
)


def find(words: "list[str]") -> "tuple[Command, int] | None":
    """The command that the first words name, and how many of them; the longer name wins."""
    for count in (2, 1):
        name = " ".join(words[:count])
        for command in COMMANDS:
            if command.name == name and len(words) >= count:
                return command, count
    return None
