#compdef yurt
# made by `yurt completion zsh`
_yurt_instances() {
    local -a names; names=(${(f)"$(yurt ls --quiet 2>/dev/null)"}); compadd -a names
}
_yurt_images() {
    local -a names; names=(${(f)"$(yurt image ls --quiet 2>/dev/null)"}); compadd -a names; compadd debian tiny
}
_yurt_volumes() {
    local -a names; names=(${(f)"$(yurt volume ls --quiet 2>/dev/null)"}); compadd -a names
}
_yurt_profiles() {
    local -a names; names=(${(f)"$(yurt profile ls --quiet 2>/dev/null)"}); compadd -a names
}
_yurt_networks() {
    local -a names; names=(${(f)"$(yurt network ls --quiet 2>/dev/null)"}); compadd -a names
}
_yurt() {
    local -a commands
    if (( CURRENT == 2 )); then
        commands=(
            'run:create and start an instance, then open a shell or run a command in it'
            'create:create an instance without starting it'
            'start:start instances'
            'stop:ask guests to shut down; kill those that do not'
            'kill:end instances at once, like pulling the plug'
            'restart:stop and start instances'
            'pause:freeze running instances'
            'resume:let paused instances run on'
            'delete:delete instances and their disks'
            'rename:give an instance another name'
            'set:change limits and other settings of an instance, also while it runs'
            'ls:list instances'
            'info:show everything about an instance'
            'exec:run a command in an instance'
            'shell:open a login shell in an instance'
            'forward:reach TCP ports inside an instance from here, for as long as the command runs'
            'console:attach to an instance'\''s serial console'
            'logs:show an instance'\''s console or lifecycle log'
            'cp:copy files and directories into or out of an instance'
            'wait:wait until an instance is ready or has ended'
            'events:follow what happens'
            'top:watch CPU, memory and disk use of running instances'
            'operation:follow an operation to its end, or cancel it'
            'image:image commands'
            'profile:profile commands'
            'volume:volume commands'
            'network:network commands'
            'host:host commands'
            'doctor:check what this host can do and how to mend what it cannot'
            'version:show the versions of client and daemon'
            'serve:run the daemon in the foreground'
            'completion:print a completion script for a shell'
        )
        _describe command commands
        return
    fi
    local name=$words[2]
    case $name in
        operation) if (( CURRENT == 3 )); then commands=(
            'ls:list recent operations'
            ); _describe command commands; return; fi
            [[ ' ls ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
        image) if (( CURRENT == 3 )); then commands=(
            'ls:list images'
            'build:build an image from a recipe'
            'import:make an image of an archive'
            'info:show everything about an image'
            'delete:delete images'
            'prune:delete what no image and no instance needs'
            ); _describe command commands; return; fi
            [[ ' ls build import info delete prune ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
        profile) if (( CURRENT == 3 )); then commands=(
            'ls:list profiles'
            'info:show what a profile holds'
            'create:make a named set of settings for instances to come'
            'set:change a profile, for instances to come'
            'delete:delete profiles'
            ); _describe command commands; return; fi
            [[ ' ls info create set delete ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
        volume) if (( CURRENT == 3 )); then commands=(
            'create:make an empty volume: storage that outlives instances'
            'ls:list volumes'
            'info:show everything about a volume'
            'attach:give a volume to an instance'
            'detach:take volumes from the instances that have them'
            'resize:let a volume grow'
            'delete:delete volumes that no instance has, and what is in them'
            ); _describe command commands; return; fi
            [[ ' create ls info attach detach resize delete ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
        network) if (( CURRENT == 3 )); then commands=(
            'ls:list networks'
            'info:show a network and who is on it'
            'create:make a network'
            'attach:give an instance one more NIC'
            'detach:take an instance'\''s NIC away'
            'delete:delete networks that no instance uses'
            ); _describe command commands; return; fi
            [[ ' ls info create attach detach delete ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
        host) if (( CURRENT == 3 )); then commands=(
            'info:show what this host is and has'
            ); _describe command commands; return; fi
            [[ ' info ' == *" $words[3] "* ]] && name="$name $words[3]" ;;
    esac
    case $name in
        'run') _arguments '--name[what to call it; two words are made up otherwise]:NAME:' '--size[processors and memory by name]:SIZE:(micro small medium large xlarge)' '*--profile[take settings from a profile; may be given again, later ones win]:PROFILE:' '--workdir[directory that the command runs in]:PATH:' '-w[directory that the command runs in]:PATH:' '--user[user that the command runs as]:USER:' '-u[user that the command runs as]:USER:' '--as[what it is made of (default\: microvm)]:KIND:(microvm container vm)' '--cpus[number of virtual CPUs]:N:' '--memory[memory, such as `512M` or `2G`]:SIZE:' '--disk[size of its disk, such as `10G`]:SIZE:' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '*--label[attach a label; may be given again]:K=V:' '*-l[attach a label; may be given again]:K=V:' '*--network[network of a NIC, such as `default`; may be given again; or `user`\: out through the host'\''s own sockets; `none`]:NAME(,ip=ADDRESS):_yurt_networks' '--accel[how a VM'\''s CPUs run (default\: measured)]:ACCEL:(auto kvm tcg)' '--init[start the image'\''s own init, also when `--rm` comes with a command]' '--no-init[run the command as the guest'\''s only program, without the image'\''s init]' '--restart[start it again when it has ended by itself (default\: no)]:WHEN:(no on-failure always)' '--autostart[start it when the host has booted]' '--autostart-order[lower ones are started first (default\: 100)]:N:' '--autostart-delay[time from its start to the start of the next order]:TIME:' '--ttl[end it after this time, such as `30m`]:TIME:' '--ttl-action[what happens then (default\: stop)]:WHAT:(stop delete)' '--protect[refuse to delete it, even with --force]' '--cpu-shares[weight against others when processors are short; 100 is usual]:N:' '--cpu-quota[processors'\'' worth of time it gets at most, such as `1.5`]:N:' '--cpu-pin[processors of the host it may run on, such as `0-3,6`]:LIST:' '--pids[how many processes and threads it may have (containers\: 4096 if not given)]:N:' '--disk-read-iops[read operations a second]:N:' '--disk-write-iops[write operations a second]:N:' '--disk-read-bps[bytes read a second, such as `50M` (of 1024)]:SIZE:' '--disk-write-bps[bytes written a second, such as `50M` (of 1024)]:SIZE:' '--net-in[bits a second towards it, such as `100M` (of 1000)]:RATE:' '--net-out[bits a second from it, such as `100M` (of 1000)]:RATE:' '--processes[processes of one user in it]:N:' '--open-files[open files of one program in it]:N:' '*--volume[attach a volume, mounted at PATH; may be given again]:NAME(:PATH)(:ro):' '*--mount[show a directory of this host in the guest; may be given again]:DIR:PATH(:ro):' '*--publish[let a port of the host lead to one of it; may be given again]:(ADDRESS:)PORT:PORT(/udp):' '*-p[let a port of the host lead to one of it; may be given again]:(ADDRESS:)PORT:PORT(/udp):' '*--allow-in[let this reach it, such as `tcp\:22`; all else is then denied]:RULE:' '*--deny-in[keep this from it, such as `192.0.2.0/24` or `all`]:RULE:' '*--allow-out[let it reach this, such as `10.0.0.0/8\:443` or `example.org\:443`; all else is then denied]:RULE:' '*--deny-out[keep it from this, such as `udp` or `all`]:RULE:' '--interactive[pass on standard input (default\: when it is no terminal, or with a tty)]' '-i[pass on standard input (default\: when it is no terminal, or with a tty)]' '--tty[give the program a terminal (default\: when input and output are terminals)]' '-t[give the program a terminal (default\: when input and output are terminals)]' '--no-tty[give the program no terminal]' '-T[give the program no terminal]' '--no-stdin[do not read standard input]' '-n[do not read standard input]' '--rm[delete it when the command or shell ends]' '--detach[start it, print its name and return]' '-d[start it, print its name and return]' '--no-start[only create it]' '--dry-run[check everything and show the result, but make nothing]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_images' ;;
        'create') _arguments '--name[what to call it; two words are made up otherwise]:NAME:' '--size[processors and memory by name]:SIZE:(micro small medium large xlarge)' '*--profile[take settings from a profile; may be given again, later ones win]:PROFILE:' '--workdir[directory that the command runs in]:PATH:' '-w[directory that the command runs in]:PATH:' '--user[user that the command runs as]:USER:' '-u[user that the command runs as]:USER:' '--as[what it is made of (default\: microvm)]:KIND:(microvm container vm)' '--cpus[number of virtual CPUs]:N:' '--memory[memory, such as `512M` or `2G`]:SIZE:' '--disk[size of its disk, such as `10G`]:SIZE:' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '*--label[attach a label; may be given again]:K=V:' '*-l[attach a label; may be given again]:K=V:' '*--network[network of a NIC, such as `default`; may be given again; or `user`\: out through the host'\''s own sockets; `none`]:NAME(,ip=ADDRESS):_yurt_networks' '--accel[how a VM'\''s CPUs run (default\: measured)]:ACCEL:(auto kvm tcg)' '--init[start the image'\''s own init, also when `--rm` comes with a command]' '--no-init[run the command as the guest'\''s only program, without the image'\''s init]' '--restart[start it again when it has ended by itself (default\: no)]:WHEN:(no on-failure always)' '--autostart[start it when the host has booted]' '--autostart-order[lower ones are started first (default\: 100)]:N:' '--autostart-delay[time from its start to the start of the next order]:TIME:' '--ttl[end it after this time, such as `30m`]:TIME:' '--ttl-action[what happens then (default\: stop)]:WHAT:(stop delete)' '--protect[refuse to delete it, even with --force]' '--cpu-shares[weight against others when processors are short; 100 is usual]:N:' '--cpu-quota[processors'\'' worth of time it gets at most, such as `1.5`]:N:' '--cpu-pin[processors of the host it may run on, such as `0-3,6`]:LIST:' '--pids[how many processes and threads it may have (containers\: 4096 if not given)]:N:' '--disk-read-iops[read operations a second]:N:' '--disk-write-iops[write operations a second]:N:' '--disk-read-bps[bytes read a second, such as `50M` (of 1024)]:SIZE:' '--disk-write-bps[bytes written a second, such as `50M` (of 1024)]:SIZE:' '--net-in[bits a second towards it, such as `100M` (of 1000)]:RATE:' '--net-out[bits a second from it, such as `100M` (of 1000)]:RATE:' '--processes[processes of one user in it]:N:' '--open-files[open files of one program in it]:N:' '*--volume[attach a volume, mounted at PATH; may be given again]:NAME(:PATH)(:ro):' '*--mount[show a directory of this host in the guest; may be given again]:DIR:PATH(:ro):' '*--publish[let a port of the host lead to one of it; may be given again]:(ADDRESS:)PORT:PORT(/udp):' '*-p[let a port of the host lead to one of it; may be given again]:(ADDRESS:)PORT:PORT(/udp):' '*--allow-in[let this reach it, such as `tcp\:22`; all else is then denied]:RULE:' '*--deny-in[keep this from it, such as `192.0.2.0/24` or `all`]:RULE:' '*--allow-out[let it reach this, such as `10.0.0.0/8\:443` or `example.org\:443`; all else is then denied]:RULE:' '*--deny-out[keep it from this, such as `udp` or `all`]:RULE:' '--dry-run[check everything and show the result, but make nothing]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_images' ;;
        'start') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--dry-run[only say whether they would fit on this host]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'stop') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--timeout[how long the guest may take before it is killed (default\: 30s)]:TIME:' '--force[do not ask the guest first]' '-f[do not ask the guest first]' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'kill') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'restart') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--timeout[how long the guest may take before it is killed (default\: 30s)]:TIME:' '--force[do not ask the guest first]' '-f[do not ask the guest first]' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'pause') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'resume') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'delete') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--force[also when it runs]' '-f[also when it runs]' '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'rename') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'set') _arguments '--dry-run[only say what would happen]' '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '1: :_yurt_instances' '*: :(cpus= memory= disk= cpu-shares= cpu-quota= cpu-pin= pids= disk-read-iops= disk-write-iops= disk-read-bps= disk-write-bps= net-in= net-out= processes= open-files= rules= publish= restart= autostart= autostart-order= autostart-delay= ttl= ttl-action= reclaim= protect=)' ;;
        'ls') _arguments '*--label[only instances with this label; may be given again]:K=V:' '*-l[only instances with this label; may be given again]:K=V:' '--json[print JSON]' '--quiet[print only the name]' '-q[print only the name]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'exec') _arguments '--interactive[pass on standard input (default\: when it is no terminal, or with a tty)]' '-i[pass on standard input (default\: when it is no terminal, or with a tty)]' '--tty[give the program a terminal (default\: when input and output are terminals)]' '-t[give the program a terminal (default\: when input and output are terminals)]' '--no-tty[give the program no terminal]' '-T[give the program no terminal]' '--no-stdin[do not read standard input]' '-n[do not read standard input]' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '--workdir[directory that it runs in]:PATH:' '-w[directory that it runs in]:PATH:' '--user[user that it runs as]:USER:' '-u[user that it runs as]:USER:' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'shell') _arguments '--interactive[pass on standard input (default\: when it is no terminal, or with a tty)]' '-i[pass on standard input (default\: when it is no terminal, or with a tty)]' '--tty[give the program a terminal (default\: when input and output are terminals)]' '-t[give the program a terminal (default\: when input and output are terminals)]' '--no-tty[give the program no terminal]' '-T[give the program no terminal]' '--no-stdin[do not read standard input]' '-n[do not read standard input]' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '--workdir[directory that it runs in]:PATH:' '-w[directory that it runs in]:PATH:' '--user[user that it runs as]:USER:' '-u[user that it runs as]:USER:' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'forward') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'console') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'logs') _arguments '--follow[go on as the log grows]' '-f[go on as the log grows]' '--source[which log (default\: console)]:LOG:(console lifecycle)' '--tail[how much of its end to show (default\: 64K)]:SIZE:' '--raw[do not make control bytes harmless on a terminal]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'cp') _arguments '--follow[copy what a symbolic link in the guest points to]' '-L[copy what a symbolic link in the guest points to]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'wait') _arguments '--for[what to wait for (default\: agent)]:WHAT:(running agent exit)' '--timeout[how long (default\: 5m)]:TIME:' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_instances' ;;
        'events') _arguments '--since[begin at this event number]:NUMBER:' '--json[one JSON object a line]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'top') _arguments '--once[print one reading and end]' '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'operation ls') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'operation') _arguments '--cancel[cancel it and undo what it did]' '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'image ls') _arguments '--json[print JSON]' '--quiet[print only the name]' '-q[print only the name]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'image build') _arguments '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :(debian tiny)' ;;
        'image import') _arguments '--detach[do not wait for the end]' '-d[do not wait for the end]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'image info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_images' ;;
        'image delete') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_images' ;;
        'image prune') _arguments '--dry-run[only say what would go]' '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'profile ls') _arguments '--json[print JSON]' '--quiet[print only the name]' '-q[print only the name]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'profile info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_profiles' ;;
        'profile create') _arguments '--as[what it is made of (default\: microvm)]:KIND:(microvm container vm)' '--cpus[number of virtual CPUs]:N:' '--memory[memory, such as `512M` or `2G`]:SIZE:' '--disk[size of its disk, such as `10G`]:SIZE:' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '*--label[attach a label; may be given again]:K=V:' '*-l[attach a label; may be given again]:K=V:' '*--network[network of a NIC, such as `default`; may be given again; or `user`\: out through the host'\''s own sockets; `none`]:NAME(,ip=ADDRESS):_yurt_networks' '--accel[how a VM'\''s CPUs run (default\: measured)]:ACCEL:(auto kvm tcg)' '--init[start the image'\''s own init, also when `--rm` comes with a command]' '--no-init[run the command as the guest'\''s only program, without the image'\''s init]' '--restart[start it again when it has ended by itself (default\: no)]:WHEN:(no on-failure always)' '--autostart[start it when the host has booted]' '--autostart-order[lower ones are started first (default\: 100)]:N:' '--autostart-delay[time from its start to the start of the next order]:TIME:' '--ttl[end it after this time, such as `30m`]:TIME:' '--ttl-action[what happens then (default\: stop)]:WHAT:(stop delete)' '--protect[refuse to delete it, even with --force]' '--cpu-shares[weight against others when processors are short; 100 is usual]:N:' '--cpu-quota[processors'\'' worth of time it gets at most, such as `1.5`]:N:' '--cpu-pin[processors of the host it may run on, such as `0-3,6`]:LIST:' '--pids[how many processes and threads it may have (containers\: 4096 if not given)]:N:' '--disk-read-iops[read operations a second]:N:' '--disk-write-iops[write operations a second]:N:' '--disk-read-bps[bytes read a second, such as `50M` (of 1024)]:SIZE:' '--disk-write-bps[bytes written a second, such as `50M` (of 1024)]:SIZE:' '--net-in[bits a second towards it, such as `100M` (of 1000)]:RATE:' '--net-out[bits a second from it, such as `100M` (of 1000)]:RATE:' '--processes[processes of one user in it]:N:' '--open-files[open files of one program in it]:N:' '*--volume[attach a volume, mounted at PATH; may be given again]:NAME(:PATH)(:ro):' '*--mount[show a directory of this host in the guest; may be given again]:DIR:PATH(:ro):' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'profile set') _arguments '--as[what it is made of (default\: microvm)]:KIND:(microvm container vm)' '--cpus[number of virtual CPUs]:N:' '--memory[memory, such as `512M` or `2G`]:SIZE:' '--disk[size of its disk, such as `10G`]:SIZE:' '*--env[set an environment variable; may be given again]:K=V:' '*-e[set an environment variable; may be given again]:K=V:' '*--label[attach a label; may be given again]:K=V:' '*-l[attach a label; may be given again]:K=V:' '*--network[network of a NIC, such as `default`; may be given again; or `user`\: out through the host'\''s own sockets; `none`]:NAME(,ip=ADDRESS):_yurt_networks' '--accel[how a VM'\''s CPUs run (default\: measured)]:ACCEL:(auto kvm tcg)' '--init[start the image'\''s own init, also when `--rm` comes with a command]' '--no-init[run the command as the guest'\''s only program, without the image'\''s init]' '--restart[start it again when it has ended by itself (default\: no)]:WHEN:(no on-failure always)' '--autostart[start it when the host has booted]' '--autostart-order[lower ones are started first (default\: 100)]:N:' '--autostart-delay[time from its start to the start of the next order]:TIME:' '--ttl[end it after this time, such as `30m`]:TIME:' '--ttl-action[what happens then (default\: stop)]:WHAT:(stop delete)' '--protect[refuse to delete it, even with --force]' '--cpu-shares[weight against others when processors are short; 100 is usual]:N:' '--cpu-quota[processors'\'' worth of time it gets at most, such as `1.5`]:N:' '--cpu-pin[processors of the host it may run on, such as `0-3,6`]:LIST:' '--pids[how many processes and threads it may have (containers\: 4096 if not given)]:N:' '--disk-read-iops[read operations a second]:N:' '--disk-write-iops[write operations a second]:N:' '--disk-read-bps[bytes read a second, such as `50M` (of 1024)]:SIZE:' '--disk-write-bps[bytes written a second, such as `50M` (of 1024)]:SIZE:' '--net-in[bits a second towards it, such as `100M` (of 1000)]:RATE:' '--net-out[bits a second from it, such as `100M` (of 1000)]:RATE:' '--processes[processes of one user in it]:N:' '--open-files[open files of one program in it]:N:' '*--volume[attach a volume, mounted at PATH; may be given again]:NAME(:PATH)(:ro):' '*--mount[show a directory of this host in the guest; may be given again]:DIR:PATH(:ro):' '*--unset[take a setting away, such as `memory` or `env.A`]:KEY:' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_profiles' ;;
        'profile delete') _arguments '--force[also when instances were created with it]' '-f[also when instances were created with it]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_profiles' ;;
        'volume create') _arguments '--size[how much it holds (default\: 10G; with `--filesystem` no limit)]:SIZE:' '--filesystem[a tree of files, for containers, instead of a disk]' '*--label[attach a label; may be given again]:K=V:' '*-l[attach a label; may be given again]:K=V:' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'volume ls') _arguments '--json[print JSON]' '--quiet[print only the name]' '-q[print only the name]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'volume info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_volumes' ;;
        'volume attach') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_volumes' ;;
        'volume detach') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_volumes' ;;
        'volume resize') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_volumes' ;;
        'volume delete') _arguments '--dry-run[only say what would go]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_volumes' ;;
        'network ls') _arguments '--json[print JSON]' '--quiet[print only the name]' '-q[print only the name]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'network info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_networks' ;;
        'network create') _arguments '--ipv4[its IPv4 subnet; `none` for none (default\: a free private one)]:CIDR:' '--ipv6[its IPv6 subnet; `none` for none (default\: a free private one)]:CIDR:' '--isolated[no way out and no way in\: its guests reach each other and nobody else]' '--no-nat[guests keep their addresses on their way out; others must route back to them]' '--mtu[largest packet (default\: 1500)]:BYTES:' '--domain[what follows the names of its guests (default\: yurt)]:DOMAIN:' '--dry-run[check everything and show the result, but make nothing]' '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'network attach') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_networks' ;;
        'network detach') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_networks' ;;
        'network delete') _arguments '--dry-run[only say whether they can be deleted]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_yurt_networks' ;;
        'host info') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'doctor') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'version') _arguments '--json[print JSON]' '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'serve') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
        'completion') _arguments '--help[show this help]' '-h[show this help]' '--debug[show where an error comes from (also YURT_DEBUG=1)]' '*: :_files' ;;
    esac
}
_yurt "$@"
