"""The table of the volume commands, and the options by which a new instance gets volumes."""

from yurt.cli.arguments import Command, Option, Positional

VOLUME = Positional("VOLUME", "the volume", complete="volume")
USES = (
    Option(
        "volume",
        "attach a volume, mounted at PATH; may be given again",
        value="NAME[:PATH][:ro]",
        repeat=True,
        complete="volume",
    ),
    Option(
        "mount",
        "show a directory of this host in the guest; may be given again",
        value="DIR:PATH[:ro]",
        repeat=True,
    ),
)

VOLUME_COMMANDS = (
    Command(
        "volume create",
        "volume",
        "make an empty volume: storage that outlives instances",
        positionals=(Positional("VOLUME", "what to call it"),),
        options=(
            Option("size", "how much it holds (default: 10G; with `--filesystem` no limit)", value="SIZE"),
            Option("filesystem", "a tree of files, for containers, instead of a disk"),
            Option("label", "attach a label; may be given again", short="l", value="K=V", repeat=True),
        ),
        details="A disk takes only the room that is used. Machines mount a file-system volume as a share.",
    ),
    Command(
        "volume import",
        "volume",
        "make a block volume of a disk image",
        positionals=(
            Positional("VOLUME", "what to call it"),
            Positional("FILE", "the image on this computer; `-` is standard input", complete="file"),
        ),
        options=(
            Option(
                "format",
                "what the image is (default: by the end of its name)",
                value="FORMAT",
                choices=("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "parallels"),
            ),
        ),
        details="The format is taken at its word and never guessed from what is in the file. Images that "
        "ask for other files are refused. Ctrl-C cancels and undoes.",
    ),
    Command(
        "volume ls",
        "volume",
        "list volumes",
        options=(Option("json", "print JSON"), Option("quiet", "print only the name", short="q")),
    ),
    Command(
        "volume info",
        "volume",
        "show everything about a volume",
        options=(Option("json", "print JSON"),),
        positionals=(VOLUME,),
    ),
    Command(
        "volume attach",
        "volume",
        "give a volume to an instance",
        positionals=(
            Positional(
                "VOLUME", "`NAME[:PATH][:ro]`: the volume, and where it is mounted", complete="volume"
            ),
            Positional("NAME", "the instance", complete="instance"),
        ),
        details="With PATH a blank disk gets an ext4 file system and is mounted; one that was ever written to is never "
        "formatted. Without PATH the guest deals with the disk itself: its serial number is the volume's name. "
        "A vm that runs gets a disk at once, everything else at its next start.",
    ),
    Command(
        "volume detach",
        "volume",
        "take volumes from the instances that have them",
        positionals=(Positional("VOLUME", "the volumes", count="+", complete="volume"),),
    ),
    Command(
        "volume resize",
        "volume",
        "let a volume grow",
        positionals=(VOLUME, Positional("SIZE", "the new size, such as `20G`")),
        details="Volumes never shrink. A disk grows under a machine that runs; its file system follows at once when the "
        "agent mounted it.",
    ),
    Command(
        "volume delete",
        "volume",
        "delete volumes that no instance has, and what is in them",
        positionals=(Positional("VOLUME", "the volumes", count="+", complete="volume"),),
        options=(Option("dry-run", "only say what would go"),),
    ),
)
