# bash completion for yurt; made by `yurt completion bash`
_yurt_command() {
    words='' single='' options='' takes='' source=''
    case $1 in
        'run') options='--name --size --profile --workdir --user --as --cpus --memory --disk --env --label --network --accel --nesting --privileged --init --no-init --publish --allow-in --deny-in --allow-out --deny-out --restart --autostart --autostart-order --autostart-delay --ttl --ttl-action --protect --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount --interactive --tty --no-tty --no-stdin --rm --detach --no-start --dry-run --help --debug -w -u -e -l -p -i -t -T -n -d -h'; takes='--name --size --profile --workdir -w --user -u --as --cpus --memory --disk --env -e --label -l --network --accel --publish -p --allow-in --deny-in --allow-out --deny-out --restart --autostart-order --autostart-delay --ttl --ttl-action --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount'; source='image' ;;
        'create') options='--name --size --profile --workdir --user --as --cpus --memory --disk --env --label --network --accel --nesting --privileged --init --no-init --publish --allow-in --deny-in --allow-out --deny-out --restart --autostart --autostart-order --autostart-delay --ttl --ttl-action --protect --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount --dry-run --help --debug -w -u -e -l -p -h'; takes='--name --size --profile --workdir -w --user -u --as --cpus --memory --disk --env -e --label -l --network --accel --publish -p --allow-in --deny-in --allow-out --deny-out --restart --autostart-order --autostart-delay --ttl --ttl-action --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount'; source='image' ;;
        'start') options='--label --detach --dry-run --help --debug -l -d -h'; takes='--label -l'; source='instance' ;;
        'stop') options='--label --timeout --force --detach --help --debug -l -f -d -h'; takes='--label -l --timeout'; source='instance' ;;
        'kill') options='--label --detach --help --debug -l -d -h'; takes='--label -l'; source='instance' ;;
        'restart') options='--label --timeout --force --detach --help --debug -l -f -d -h'; takes='--label -l --timeout'; source='instance' ;;
        'pause') options='--label --detach --help --debug -l -d -h'; takes='--label -l'; source='instance' ;;
        'resume') options='--label --detach --help --debug -l -d -h'; takes='--label -l'; source='instance' ;;
        'delete') options='--label --force --detach --help --debug -l -f -d -h'; takes='--label -l'; source='instance' ;;
        'rename') options='--help --debug -h'; takes=''; source='instance' ;;
        'set') options='--dry-run --json --help --debug -h'; takes=''; source='setting' ;;
        'ls') options='--label --json --quiet --help --debug -l -q -h'; takes='--label -l'; source='' ;;
        'info') options='--json --help --debug -h'; takes=''; source='instance' ;;
        'exec') options='--interactive --tty --no-tty --no-stdin --env --workdir --user --help --debug -i -t -T -n -e -w -u -h'; takes='--env -e --workdir -w --user -u'; source='instance' ;;
        'shell') options='--interactive --tty --no-tty --no-stdin --env --workdir --user --help --debug -i -t -T -n -e -w -u -h'; takes='--env -e --workdir -w --user -u'; source='instance' ;;
        'forward') options='--help --debug -h'; takes=''; source='instance' ;;
        'console') options='--help --debug -h'; takes=''; source='instance' ;;
        'logs') options='--follow --source --tail --raw --help --debug -f -h'; takes='--source --tail'; source='instance' ;;
        'cp') options='--follow --help --debug -L -h'; takes=''; source='file' ;;
        'wait') options='--for --timeout --help --debug -h'; takes='--for --timeout'; source='instance' ;;
        'events') options='--since --json --help --debug -h'; takes='--since'; source='' ;;
        'top') options='--once --json --help --debug -h'; takes=''; source='' ;;
        'operation ls') options='--json --help --debug -h'; takes=''; source='' ;;
        'operation') options='--cancel --json --help --debug -h'; takes=''; source='' ;;
        'operation ') words='ls'; single=1 ;;
        'image ls') options='--json --quiet --help --debug -q -h'; takes=''; source='' ;;
        'image build') options='--detach --help --debug -d -h'; takes=''; source='recipe' ;;
        'image import') options='--detach --help --debug -d -h'; takes=''; source='file' ;;
        'image info') options='--json --help --debug -h'; takes=''; source='image' ;;
        'image delete') options='--help --debug -h'; takes=''; source='image' ;;
        'image prune') options='--dry-run --json --help --debug -h'; takes=''; source='' ;;
        'image ') words='ls build import info delete prune'; single='' ;;
        'profile ls') options='--json --quiet --help --debug -q -h'; takes=''; source='' ;;
        'profile info') options='--json --help --debug -h'; takes=''; source='profile' ;;
        'profile create') options='--as --cpus --memory --disk --env --label --network --accel --nesting --privileged --init --no-init --publish --allow-in --deny-in --allow-out --deny-out --restart --autostart --autostart-order --autostart-delay --ttl --ttl-action --protect --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount --help --debug -e -l -p -h'; takes='--as --cpus --memory --disk --env -e --label -l --network --accel --publish -p --allow-in --deny-in --allow-out --deny-out --restart --autostart-order --autostart-delay --ttl --ttl-action --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount'; source='' ;;
        'profile set') options='--as --cpus --memory --disk --env --label --network --accel --nesting --privileged --init --no-init --publish --allow-in --deny-in --allow-out --deny-out --restart --autostart --autostart-order --autostart-delay --ttl --ttl-action --protect --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount --unset --help --debug -e -l -p -h'; takes='--as --cpus --memory --disk --env -e --label -l --network --accel --publish -p --allow-in --deny-in --allow-out --deny-out --restart --autostart-order --autostart-delay --ttl --ttl-action --cpu-shares --cpu-quota --cpu-pin --pids --disk-read-iops --disk-write-iops --disk-read-bps --disk-write-bps --net-in --net-out --processes --open-files --volume --mount --unset'; source='profile' ;;
        'profile delete') options='--force --help --debug -f -h'; takes=''; source='profile' ;;
        'profile ') words='ls info create set delete'; single='' ;;
        'volume create') options='--size --filesystem --label --help --debug -l -h'; takes='--size --label -l'; source='' ;;
        'volume import') options='--format --help --debug -h'; takes='--format'; source='file' ;;
        'volume ls') options='--json --quiet --help --debug -q -h'; takes=''; source='' ;;
        'volume info') options='--json --help --debug -h'; takes=''; source='volume' ;;
        'volume attach') options='--help --debug -h'; takes=''; source='volume' ;;
        'volume detach') options='--help --debug -h'; takes=''; source='volume' ;;
        'volume resize') options='--help --debug -h'; takes=''; source='volume' ;;
        'volume delete') options='--dry-run --help --debug -h'; takes=''; source='volume' ;;
        'volume ') words='create import ls info attach detach resize delete'; single='' ;;
        'network ls') options='--json --quiet --help --debug -q -h'; takes=''; source='' ;;
        'network info') options='--json --help --debug -h'; takes=''; source='network' ;;
        'network create') options='--ipv4 --ipv6 --isolated --no-nat --mtu --domain --dry-run --json --help --debug -h'; takes='--ipv4 --ipv6 --mtu --domain'; source='' ;;
        'network attach') options='--help --debug -h'; takes=''; source='network' ;;
        'network detach') options='--help --debug -h'; takes=''; source='network' ;;
        'network delete') options='--dry-run --help --debug -h'; takes=''; source='network' ;;
        'network ') words='ls info create attach detach delete'; single='' ;;
        'host info') options='--json --help --debug -h'; takes=''; source='' ;;
        'host ') words='info'; single='' ;;
        'doctor') options='--json --help --debug -h'; takes=''; source='' ;;
        'version') options='--json --help --debug -h'; takes=''; source='' ;;
        'serve') options='--help --debug -h'; takes=''; source='' ;;
        'completion') options='--help --debug -h'; takes=''; source='' ;;
    esac
}
_yurt_choices() {
    words=''
    case $1 in
        'run --size') words='micro small medium large xlarge' ;;
        'run --as') words='microvm container vm' ;;
        'run --accel') words='auto kvm tcg' ;;
        'run --restart') words='no on-failure always' ;;
        'run --ttl-action') words='stop delete' ;;
        'create --size') words='micro small medium large xlarge' ;;
        'create --as') words='microvm container vm' ;;
        'create --accel') words='auto kvm tcg' ;;
        'create --restart') words='no on-failure always' ;;
        'create --ttl-action') words='stop delete' ;;
        'logs --source') words='console lifecycle' ;;
        'wait --for') words='running agent exit' ;;
        'profile create --as') words='microvm container vm' ;;
        'profile create --accel') words='auto kvm tcg' ;;
        'profile create --restart') words='no on-failure always' ;;
        'profile create --ttl-action') words='stop delete' ;;
        'profile set --as') words='microvm container vm' ;;
        'profile set --accel') words='auto kvm tcg' ;;
        'profile set --restart') words='no on-failure always' ;;
        'profile set --ttl-action') words='stop delete' ;;
        'volume import --format') words='raw qcow2 vmdk vhd vhdx vdi parallels' ;;
        'run --network') words="none user $(yurt network ls --quiet 2>/dev/null)" ;;
        'create --network') words="none user $(yurt network ls --quiet 2>/dev/null)" ;;
        'profile create --network') words="none user $(yurt network ls --quiet 2>/dev/null)" ;;
        'profile set --network') words="none user $(yurt network ls --quiet 2>/dev/null)" ;;
    esac
}
_yurt() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local words single options takes source name
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W 'run create start stop kill restart pause resume delete rename set ls info exec shell forward console logs cp wait events top operation image profile volume network host doctor version serve completion --help --version' -- "$cur"))
        return
    fi
    name=${COMP_WORDS[1]}
    _yurt_command "$name "
    if [ -n "$words" ]; then
        if [ "$COMP_CWORD" -eq 2 ]; then
            [ -n "$single" ] && { local inner=$words; _yurt_command "$name"; words="$inner $options"; }
            COMPREPLY=($(compgen -W "$words" -- "$cur"))
            return
        fi
        _yurt_command "$name ${COMP_WORDS[2]}"
        [ -n "$options" ] && name="$name ${COMP_WORDS[2]}"
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
        instance) COMPREPLY=($(compgen -W "$(yurt ls --quiet 2>/dev/null)" -- "$cur")) ;;
        image) COMPREPLY=($(compgen -W "$(yurt image ls --quiet 2>/dev/null) debian tiny" -- "$cur")) ;;
        profile) COMPREPLY=($(compgen -W "$(yurt profile ls --quiet 2>/dev/null)" -- "$cur")) ;;
        network) COMPREPLY=($(compgen -W "$(yurt network ls --quiet 2>/dev/null)" -- "$cur")) ;;
        recipe) COMPREPLY=($(compgen -W "debian tiny" -- "$cur")) ;;
        setting)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "$(yurt ls --quiet 2>/dev/null)" -- "$cur"))
            else
                compopt -o nospace 2>/dev/null
                COMPREPLY=($(compgen -W 'cpus= memory= disk= cpu-shares= cpu-quota= cpu-pin= pids= disk-read-iops= disk-write-iops= disk-read-bps= disk-write-bps= net-in= net-out= processes= open-files= rules= publish= restart= autostart= autostart-order= autostart-delay= ttl= ttl-action= reclaim= protect=' -- "$cur"))
            fi ;;
        volume) COMPREPLY=($(compgen -W "$(yurt volume ls --quiet 2>/dev/null)" -- "$cur")) ;;
        file) COMPREPLY=($(compgen -f -- "$cur") $(compgen -W "$(yurt ls --quiet 2>/dev/null | sed 's/$/:/')" -- "$cur")) ;;
    esac
}
complete -o bashdefault -F _yurt yurt ./yurt
