"""`yurt completion`: static scripts made from the table of commands. Completing a command or an option starts no Python;
names of instances and images come from `yurt ls --quiet` and `yurt image ls --quiet`.
"""

from yurt.cli.arguments import Arguments, Command, Option
from yurt.cli.commands import COMMANDS
from yurt.cli.output import safe, write
from yurt.cli.set import KEYS
from yurt.errors import Invalid

SETTINGS = tuple(f"{key}=" for key in KEYS)
SHELLS = ("bash", "zsh", "fish")
INSTANCES = "yurt ls --quiet 2>/dev/null"
IMAGES = "yurt image ls --quiet 2>/dev/null"
PROFILES = "yurt profile ls --quiet 2>/dev/null"
VOLUMES = "yurt volume ls --quiet 2>/dev/null"
NETWORKS = "yurt network ls --quiet 2>/dev/null"


def quoted(text: str) -> str:
    """Text as one word of a shell script."""
    return "'" + text.replace("'", "'\\''") + "'"


def first_words() -> "dict[str, list[Command]]":
    """The commands by their first word."""
    found: dict[str, list[Command]] = {}
    for command in COMMANDS:
        found.setdefault(command.name.split()[0], []).append(command)
    return found


def subcommands(commands: "list[Command]") -> "list[Command]":
    """Those of two words."""
    return [command for command in commands if " " in command.name]


def option_words(command: Command) -> "list[str]":
    words = [f"--{option.name}" for option in command.options]
    return words + [f"-{option.short}" for option in command.options if option.short]


def source_of(command: Command) -> str:
    """What the positionals are completed with: instance, image, profile, network, recipe, file, setting or empty.

    `setting`: an instance first, then what `yurt set` takes.
    """
    if any(place.complete == "setting" for place in command.positionals):
        return "setting"
    return next((place.complete for place in command.positionals if place.complete), "")


def bash() -> str:
    """The script for bash."""
    cases = []
    for word, commands in first_words().items():
        for command in commands:
            pattern = quoted(command.name)
            options = " ".join(option_words(command))
            takes = " ".join(option for each in command.options if each.value for option in names_of(each))
            found = f"options={quoted(options)}; takes={quoted(takes)}; source={quoted(source_of(command))}"
            cases.append(f"        {pattern}) {found} ;;")
        if inner := subcommands(commands):
            words = " ".join(command.name.split()[1] for command in inner)
            single = any(command.name == word for command in commands)
            cases.append(
                f"        {quoted(word + ' ')}) words={quoted(words)}; single={'1' if single else quoted('')} ;;"
            )
    choices = [
        f"        {quoted(command.name + ' --' + option.name)}) words={quoted(' '.join(option.choices))} ;;"
        for command in COMMANDS
        for option in command.options
        if option.choices
    ]
    choices += [
        f'        {quoted(command.name + " --" + option.name)}) words="none user $({NETWORKS})" ;;'
        for command in COMMANDS
        for option in command.options
        if option.complete == "network"
    ]
    return BASH.format(
        commands=" ".join(first_words()),
        cases="\n".join(cases),
        choices="\n".join(choices),
        instances=INSTANCES,
        settings=" ".join(SETTINGS),
        images=IMAGES,
        profiles=PROFILES,
        volumes=VOLUMES,
        networks=NETWORKS,
    )


def names_of(option: Option) -> "list[str]":
    return [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]


BASH = """# bash completion for yurt; made by `yurt completion bash`
_yurt_command() {{
    words='' single='' options='' takes='' source=''
    case $1 in
{cases}
    esac
}}
_yurt_choices() {{
    words=''
    case $1 in
{choices}
    esac
}}
_yurt() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    local words single options takes source name
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{commands} --help --version' -- "$cur"))
        return
    fi
    name=${{COMP_WORDS[1]}}
    _yurt_command "$name "
    if [ -n "$words" ]; then
        if [ "$COMP_CWORD" -eq 2 ]; then
            [ -n "$single" ] && {{ local inner=$words; _yurt_command "$name"; words="$inner $options"; }}
            COMPREPLY=($(compgen -W "$words" -- "$cur"))
            return
        fi
        _yurt_command "$name ${{COMP_WORDS[2]}}"
        [ -n "$options" ] && name="$name ${{COMP_WORDS[2]}}"
    fi
    _yurt_command "$name"
    _yurt_choices "$name $prev"
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        return
    fi
    _yurt_command "$name"
    case " $takes " in *" $prev "*)
        COMPREPLY=($(compgen -f -- "$cur"))
        return ;;
    esac
    case $cur in -*)
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return ;;
    esac
    case $source in
        instance) COMPREPLY=($(compgen -W "$({instances})" -- "$cur")) ;;
        image) COMPREPLY=($(compgen -W "$({images}) debian tiny" -- "$cur")) ;;
        profile) COMPREPLY=($(compgen -W "$({profiles})" -- "$cur")) ;;
        network) COMPREPLY=($(compgen -W "$({networks})" -- "$cur")) ;;
        recipe) COMPREPLY=($(compgen -W "debian tiny" -- "$cur")) ;;
        setting)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "$({instances})" -- "$cur"))
            else
                compopt -o nospace 2>/dev/null
                COMPREPLY=($(compgen -W '{settings}' -- "$cur"))
            fi ;;
        volume) COMPREPLY=($(compgen -W "$({volumes})" -- "$cur")) ;;
        file) COMPREPLY=($(compgen -f -- "$cur") $(compgen -W "$({instances} | sed 's/$/:/')" -- "$cur")) ;;
    esac
}}
complete -o bashdefault -F _yurt yurt ./yurt
"""


ZSH_ACTIONS = {
    "instance": "_yurt_instances",
    "image": "_yurt_images",
    "profile": "_yurt_profiles",
    "network": "_yurt_networks",
    "recipe": "(debian tiny)",
    "volume": "_yurt_volumes",
}


def zsh_listers() -> "list[str]":
    """A function for each kind of thing whose names yurt can list."""
    lines = []
    for source, lister in (
        ("instance", INSTANCES),
        ("image", IMAGES),
        ("volume", VOLUMES),
        ("profile", PROFILES),
        ("network", NETWORKS),
    ):
        more = "; compadd debian tiny" if source == "image" else ""
        lines += [
            f"{ZSH_ACTIONS[source]}() {{",
            f'    local -a names; names=(${{(f)"$({lister})"}}); compadd -a names{more}',
            "}",
        ]
    return lines


def zsh() -> str:
    """The script for zsh."""
    lines = ["#compdef yurt", "# made by `yurt completion zsh`", *zsh_listers()]
    lines += ["_yurt() {", "    local -a commands", "    if (( CURRENT == 2 )); then", "        commands=("]
    for word, commands in first_words().items():
        summary = next((c.summary for c in commands if c.name == word), f"{word} commands")
        lines.append("            " + quoted(f"{word}:{summary}"))
    lines += [
        "        )",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local name=$words[2]",
        "    case $name in",
    ]
    for word, commands in first_words().items():
        if inner := subcommands(commands):
            lines.append(f"        {word}) if (( CURRENT == 3 )); then commands=(")
            lines += ["            " + quoted(f"{c.name.split()[1]}:{c.summary}") for c in inner]
            tests = " ".join(c.name.split()[1] for c in inner)
            lines.append("            ); _describe command commands; return; fi")
            lines.append(f'            [[ \' {tests} \' == *" $words[3] "* ]] && name="$name $words[3]" ;;')
    lines += ["    esac", "    case $name in"]
    for command in COMMANDS:
        specs = [quoted(spec) for option in command.options for spec in zsh_option(option)]
        action = ZSH_ACTIONS.get(source_of(command), "_files")
        words = [f"*: :{action}"]
        if source_of(command) == "setting":
            words = [f"1: :{ZSH_ACTIONS['instance']}", f"*: :({' '.join(SETTINGS)})"]
        lines.append(
            f"        {quoted(command.name)}) _arguments " + " ".join([*specs, *map(quoted, words)]) + " ;;"
        )
    lines += ["    esac", "}", '_yurt "$@"']
    return "\n".join(lines) + "\n"


def zsh_option(option: Option) -> "list[str]":
    text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = ""
    if option.value:
        value = f":{option.value.replace('[', '(').replace(']', ')')}:"
        value += f"({' '.join(option.choices)})" if option.choices else ""
        value += "_yurt_networks" if option.complete == "network" else ""
    many = "*" if option.repeat else ""
    return [f"{many}{name}[{text}]{value}" for name in names_of(option)]


def fish() -> str:
    """The script for fish."""
    lines = ["# made by `yurt completion fish`", "complete -c yurt -f"]
    for word, commands in first_words().items():
        summary = next((c.summary for c in commands if c.name == word), f"{word} commands")
        lines.append(f"complete -c yurt -n __fish_use_subcommand -a {word} -d {quoted(summary)}")
        inner = subcommands(commands)
        known = " ".join(c.name.split()[1] for c in inner)
        for command in inner:
            sub = command.name.split()[1]
            condition = f"__fish_seen_subcommand_from {word}; and not __fish_seen_subcommand_from {known}"
            lines.append(f"complete -c yurt -n {quoted(condition)} -a {sub} -d {quoted(command.summary)}")
        for command in commands:
            condition = "; and ".join(f"__fish_seen_subcommand_from {part}" for part in command.name.split())
            lines += [fish_option(condition, option) for option in command.options]
            lister = {
                "instance": f"({INSTANCES})",
                "image": f"({IMAGES}) debian tiny",
                "recipe": "debian tiny",
                "profile": f"({PROFILES})",
                "volume": f"({VOLUMES})",
                "network": f"({NETWORKS})",
                "setting": f"({INSTANCES}) {' '.join(SETTINGS)}",
            }.get(source_of(command))
            if lister:
                lines.append(f"complete -c yurt -n {quoted(condition)} -a {quoted(lister)}")
            elif source_of(command) == "file":
                lines.append(f"complete -c yurt -n {quoted(condition)} -F")
    return "\n".join(lines) + "\n"


def fish_option(condition: str, option: Option) -> str:
    parts = [f"complete -c yurt -n {quoted(condition)} -l {option.name} -d {quoted(option.help)}"]
    if option.short:
        parts.append(f"-s {option.short}")
    if option.value:
        given = f"none user ({NETWORKS})" if option.complete == "network" else " ".join(option.choices)
        parts.append(f"-x -a {quoted(given)}" if given else "-x")
    return " ".join(parts)


def main(arguments: Arguments) -> int:
    shell = arguments.word("SHELL")
    makers = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in makers:
        raise Invalid(f"there is no completion for `{safe(shell)}`", hint="one of `bash`, `zsh`, `fish`")
    write(makers[shell]())
    return 0
