# made by `yurt completion fish`
complete -c yurt -f
complete -c yurt -n __fish_use_subcommand -a run -d 'create and start an instance, then open a shell or run a command in it'
complete -c yurt -n '__fish_seen_subcommand_from run' -l name -d 'what to call it; two words are made up otherwise' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l size -d 'processors and memory by name' -x -a 'micro small medium large xlarge'
complete -c yurt -n '__fish_seen_subcommand_from run' -l profile -d 'take settings from a profile; may be given again, later ones win' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l workdir -d 'directory that the command runs in' -s w -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l user -d 'user that the command runs as' -s u -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l as -d 'what it is made of (default: microvm)' -x -a 'microvm container vm'
complete -c yurt -n '__fish_seen_subcommand_from run' -l cpus -d 'number of virtual CPUs' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l memory -d 'memory, such as `512M` or `2G`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l disk -d 'size of its disk, such as `10G`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l label -d 'attach a label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l network -d 'network of a NIC, such as `default`; may be given again; or `user`: out through the host'\''s own sockets; `none`' -x -a 'none user (yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from run' -l accel -d 'how a VM'\''s CPUs run (default: measured)' -x -a 'auto kvm tcg'
complete -c yurt -n '__fish_seen_subcommand_from run' -l nesting -d 'containers: let it run containers itself; its root reaches more of the host'\''s kernel'
complete -c yurt -n '__fish_seen_subcommand_from run' -l privileged -d 'containers: refused, as it would be root of this host; see `--nesting`'
complete -c yurt -n '__fish_seen_subcommand_from run' -l init -d 'start the image'\''s own init, also when `--rm` comes with a command'
complete -c yurt -n '__fish_seen_subcommand_from run' -l no-init -d 'run the command as the guest'\''s only program, without the image'\''s init'
complete -c yurt -n '__fish_seen_subcommand_from run' -l publish -d 'let a port of the host lead to one of it; may be given again' -s p -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l allow-in -d 'let this reach it, such as `tcp:22`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l deny-in -d 'keep this from it, such as `192.0.2.0/24` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l allow-out -d 'let it reach this, such as `10.0.0.0/8:443` or `example.org:443`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l deny-out -d 'keep it from this, such as `udp` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l restart -d 'start it again when it has ended by itself (default: no)' -x -a 'no on-failure always'
complete -c yurt -n '__fish_seen_subcommand_from run' -l autostart -d 'start it when the host has booted'
complete -c yurt -n '__fish_seen_subcommand_from run' -l autostart-order -d 'lower ones are started first (default: 100)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l autostart-delay -d 'time from its start to the start of the next order' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l ttl -d 'end it after this time, such as `30m`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l ttl-action -d 'what happens then (default: stop)' -x -a 'stop delete'
complete -c yurt -n '__fish_seen_subcommand_from run' -l protect -d 'refuse to delete it, even with --force'
complete -c yurt -n '__fish_seen_subcommand_from run' -l cpu-shares -d 'weight against others when processors are short; 100 is usual' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l cpu-quota -d 'processors'\'' worth of time it gets at most, such as `1.5`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l cpu-pin -d 'processors of the host it may run on, such as `0-3,6`' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l pids -d 'how many processes and threads it may have (containers: 4096 if not given)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l disk-read-iops -d 'read operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l disk-write-iops -d 'write operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l disk-read-bps -d 'bytes read a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l disk-write-bps -d 'bytes written a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l net-in -d 'bits a second towards it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l net-out -d 'bits a second from it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l processes -d 'processes of one user in it' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l open-files -d 'open files of one program in it' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l volume -d 'attach a volume, mounted at PATH; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l mount -d 'show a directory of this host in the guest; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from run' -l interactive -d 'pass on standard input (default: when it is no terminal, or with a tty)' -s i
complete -c yurt -n '__fish_seen_subcommand_from run' -l tty -d 'give the program a terminal (default: when input and output are terminals)' -s t
complete -c yurt -n '__fish_seen_subcommand_from run' -l no-tty -d 'give the program no terminal' -s T
complete -c yurt -n '__fish_seen_subcommand_from run' -l no-stdin -d 'do not read standard input' -s n
complete -c yurt -n '__fish_seen_subcommand_from run' -l rm -d 'delete it when the command or shell ends'
complete -c yurt -n '__fish_seen_subcommand_from run' -l detach -d 'start it, print its name and return' -s d
complete -c yurt -n '__fish_seen_subcommand_from run' -l no-start -d 'only create it'
complete -c yurt -n '__fish_seen_subcommand_from run' -l dry-run -d 'check everything and show the result, but make nothing'
complete -c yurt -n '__fish_seen_subcommand_from run' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from run' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from run' -a '(yurt image ls --quiet 2>/dev/null) debian tiny'
complete -c yurt -n __fish_use_subcommand -a create -d 'create an instance without starting it'
complete -c yurt -n '__fish_seen_subcommand_from create' -l name -d 'what to call it; two words are made up otherwise' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l size -d 'processors and memory by name' -x -a 'micro small medium large xlarge'
complete -c yurt -n '__fish_seen_subcommand_from create' -l profile -d 'take settings from a profile; may be given again, later ones win' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l workdir -d 'directory that the command runs in' -s w -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l user -d 'user that the command runs as' -s u -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l as -d 'what it is made of (default: microvm)' -x -a 'microvm container vm'
complete -c yurt -n '__fish_seen_subcommand_from create' -l cpus -d 'number of virtual CPUs' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l memory -d 'memory, such as `512M` or `2G`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l disk -d 'size of its disk, such as `10G`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l label -d 'attach a label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l network -d 'network of a NIC, such as `default`; may be given again; or `user`: out through the host'\''s own sockets; `none`' -x -a 'none user (yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from create' -l accel -d 'how a VM'\''s CPUs run (default: measured)' -x -a 'auto kvm tcg'
complete -c yurt -n '__fish_seen_subcommand_from create' -l nesting -d 'containers: let it run containers itself; its root reaches more of the host'\''s kernel'
complete -c yurt -n '__fish_seen_subcommand_from create' -l privileged -d 'containers: refused, as it would be root of this host; see `--nesting`'
complete -c yurt -n '__fish_seen_subcommand_from create' -l init -d 'start the image'\''s own init, also when `--rm` comes with a command'
complete -c yurt -n '__fish_seen_subcommand_from create' -l no-init -d 'run the command as the guest'\''s only program, without the image'\''s init'
complete -c yurt -n '__fish_seen_subcommand_from create' -l publish -d 'let a port of the host lead to one of it; may be given again' -s p -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l allow-in -d 'let this reach it, such as `tcp:22`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l deny-in -d 'keep this from it, such as `192.0.2.0/24` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l allow-out -d 'let it reach this, such as `10.0.0.0/8:443` or `example.org:443`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l deny-out -d 'keep it from this, such as `udp` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l restart -d 'start it again when it has ended by itself (default: no)' -x -a 'no on-failure always'
complete -c yurt -n '__fish_seen_subcommand_from create' -l autostart -d 'start it when the host has booted'
complete -c yurt -n '__fish_seen_subcommand_from create' -l autostart-order -d 'lower ones are started first (default: 100)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l autostart-delay -d 'time from its start to the start of the next order' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l ttl -d 'end it after this time, such as `30m`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l ttl-action -d 'what happens then (default: stop)' -x -a 'stop delete'
complete -c yurt -n '__fish_seen_subcommand_from create' -l protect -d 'refuse to delete it, even with --force'
complete -c yurt -n '__fish_seen_subcommand_from create' -l cpu-shares -d 'weight against others when processors are short; 100 is usual' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l cpu-quota -d 'processors'\'' worth of time it gets at most, such as `1.5`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l cpu-pin -d 'processors of the host it may run on, such as `0-3,6`' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l pids -d 'how many processes and threads it may have (containers: 4096 if not given)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l disk-read-iops -d 'read operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l disk-write-iops -d 'write operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l disk-read-bps -d 'bytes read a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l disk-write-bps -d 'bytes written a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l net-in -d 'bits a second towards it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l net-out -d 'bits a second from it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l processes -d 'processes of one user in it' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l open-files -d 'open files of one program in it' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l volume -d 'attach a volume, mounted at PATH; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l mount -d 'show a directory of this host in the guest; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from create' -l dry-run -d 'check everything and show the result, but make nothing'
complete -c yurt -n '__fish_seen_subcommand_from create' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from create' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from create' -a '(yurt image ls --quiet 2>/dev/null) debian tiny'
complete -c yurt -n __fish_use_subcommand -a start -d 'start instances'
complete -c yurt -n '__fish_seen_subcommand_from start' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from start' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from start' -l dry-run -d 'only say whether they would fit on this host'
complete -c yurt -n '__fish_seen_subcommand_from start' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from start' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from start' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a stop -d 'ask guests to shut down; kill those that do not'
complete -c yurt -n '__fish_seen_subcommand_from stop' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from stop' -l timeout -d 'how long the guest may take before it is killed (default: 30s)' -x
complete -c yurt -n '__fish_seen_subcommand_from stop' -l force -d 'do not ask the guest first' -s f
complete -c yurt -n '__fish_seen_subcommand_from stop' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from stop' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from stop' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from stop' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a kill -d 'end instances at once, like pulling the plug'
complete -c yurt -n '__fish_seen_subcommand_from kill' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from kill' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from kill' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from kill' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from kill' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a restart -d 'stop and start instances'
complete -c yurt -n '__fish_seen_subcommand_from restart' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from restart' -l timeout -d 'how long the guest may take before it is killed (default: 30s)' -x
complete -c yurt -n '__fish_seen_subcommand_from restart' -l force -d 'do not ask the guest first' -s f
complete -c yurt -n '__fish_seen_subcommand_from restart' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from restart' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from restart' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from restart' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a pause -d 'freeze running instances'
complete -c yurt -n '__fish_seen_subcommand_from pause' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from pause' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from pause' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from pause' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from pause' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a resume -d 'let paused instances run on'
complete -c yurt -n '__fish_seen_subcommand_from resume' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from resume' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from resume' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from resume' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from resume' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a delete -d 'delete instances and their disks'
complete -c yurt -n '__fish_seen_subcommand_from delete' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from delete' -l force -d 'also when it runs' -s f
complete -c yurt -n '__fish_seen_subcommand_from delete' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from delete' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from delete' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from delete' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a rename -d 'give an instance another name'
complete -c yurt -n '__fish_seen_subcommand_from rename' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from rename' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from rename' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a set -d 'change limits and other settings of an instance, also while it runs'
complete -c yurt -n '__fish_seen_subcommand_from set' -l dry-run -d 'only say what would happen'
complete -c yurt -n '__fish_seen_subcommand_from set' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from set' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from set' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from set' -a '(yurt ls --quiet 2>/dev/null) cpus= memory= disk= cpu-shares= cpu-quota= cpu-pin= pids= disk-read-iops= disk-write-iops= disk-read-bps= disk-write-bps= net-in= net-out= processes= open-files= rules= publish= restart= autostart= autostart-order= autostart-delay= ttl= ttl-action= reclaim= protect='
complete -c yurt -n __fish_use_subcommand -a ls -d 'list instances'
complete -c yurt -n '__fish_seen_subcommand_from ls' -l label -d 'only instances with this label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from ls' -l quiet -d 'print only the name' -s q
complete -c yurt -n '__fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a info -d 'show everything about an instance'
complete -c yurt -n '__fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from info' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a exec -d 'run a command in an instance'
complete -c yurt -n '__fish_seen_subcommand_from exec' -l interactive -d 'pass on standard input (default: when it is no terminal, or with a tty)' -s i
complete -c yurt -n '__fish_seen_subcommand_from exec' -l tty -d 'give the program a terminal (default: when input and output are terminals)' -s t
complete -c yurt -n '__fish_seen_subcommand_from exec' -l no-tty -d 'give the program no terminal' -s T
complete -c yurt -n '__fish_seen_subcommand_from exec' -l no-stdin -d 'do not read standard input' -s n
complete -c yurt -n '__fish_seen_subcommand_from exec' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from exec' -l workdir -d 'directory that it runs in' -s w -x
complete -c yurt -n '__fish_seen_subcommand_from exec' -l user -d 'user that it runs as' -s u -x
complete -c yurt -n '__fish_seen_subcommand_from exec' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from exec' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from exec' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a shell -d 'open a login shell in an instance'
complete -c yurt -n '__fish_seen_subcommand_from shell' -l interactive -d 'pass on standard input (default: when it is no terminal, or with a tty)' -s i
complete -c yurt -n '__fish_seen_subcommand_from shell' -l tty -d 'give the program a terminal (default: when input and output are terminals)' -s t
complete -c yurt -n '__fish_seen_subcommand_from shell' -l no-tty -d 'give the program no terminal' -s T
complete -c yurt -n '__fish_seen_subcommand_from shell' -l no-stdin -d 'do not read standard input' -s n
complete -c yurt -n '__fish_seen_subcommand_from shell' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from shell' -l workdir -d 'directory that it runs in' -s w -x
complete -c yurt -n '__fish_seen_subcommand_from shell' -l user -d 'user that it runs as' -s u -x
complete -c yurt -n '__fish_seen_subcommand_from shell' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from shell' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from shell' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a forward -d 'reach TCP ports inside an instance from here, for as long as the command runs'
complete -c yurt -n '__fish_seen_subcommand_from forward' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from forward' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from forward' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a console -d 'attach to an instance'\''s serial console'
complete -c yurt -n '__fish_seen_subcommand_from console' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from console' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from console' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a logs -d 'show an instance'\''s console or lifecycle log'
complete -c yurt -n '__fish_seen_subcommand_from logs' -l follow -d 'go on as the log grows' -s f
complete -c yurt -n '__fish_seen_subcommand_from logs' -l source -d 'which log (default: console)' -x -a 'console lifecycle'
complete -c yurt -n '__fish_seen_subcommand_from logs' -l tail -d 'how much of its end to show (default: 64K)' -x
complete -c yurt -n '__fish_seen_subcommand_from logs' -l raw -d 'do not make control bytes harmless on a terminal'
complete -c yurt -n '__fish_seen_subcommand_from logs' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from logs' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from logs' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a cp -d 'copy files and directories into or out of an instance'
complete -c yurt -n '__fish_seen_subcommand_from cp' -l follow -d 'copy what a symbolic link in the guest points to' -s L
complete -c yurt -n '__fish_seen_subcommand_from cp' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from cp' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from cp' -F
complete -c yurt -n __fish_use_subcommand -a wait -d 'wait until an instance is ready or has ended'
complete -c yurt -n '__fish_seen_subcommand_from wait' -l for -d 'what to wait for (default: agent)' -x -a 'running agent exit'
complete -c yurt -n '__fish_seen_subcommand_from wait' -l timeout -d 'how long (default: 5m)' -x
complete -c yurt -n '__fish_seen_subcommand_from wait' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from wait' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from wait' -a '(yurt ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a events -d 'follow what happens'
complete -c yurt -n '__fish_seen_subcommand_from events' -l since -d 'begin at this event number' -x
complete -c yurt -n '__fish_seen_subcommand_from events' -l json -d 'one JSON object a line'
complete -c yurt -n '__fish_seen_subcommand_from events' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from events' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a top -d 'watch CPU, memory and disk use of running instances'
complete -c yurt -n '__fish_seen_subcommand_from top' -l once -d 'print one reading and end'
complete -c yurt -n '__fish_seen_subcommand_from top' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from top' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from top' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a operation -d 'follow an operation to its end, or cancel it'
complete -c yurt -n '__fish_seen_subcommand_from operation; and not __fish_seen_subcommand_from ls' -a ls -d 'list recent operations'
complete -c yurt -n '__fish_seen_subcommand_from operation; and __fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from operation; and __fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from operation; and __fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from operation' -l cancel -d 'cancel it and undo what it did'
complete -c yurt -n '__fish_seen_subcommand_from operation' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from operation' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from operation' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a image -d 'image commands'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a ls -d 'list images'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a build -d 'build an image from a recipe'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a import -d 'make an image of an archive'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a info -d 'show everything about an image'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a delete -d 'delete images'
complete -c yurt -n '__fish_seen_subcommand_from image; and not __fish_seen_subcommand_from ls build import info delete prune' -a prune -d 'delete what no image and no instance needs'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from ls' -l quiet -d 'print only the name' -s q
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from build' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from build' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from build' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from build' -a 'debian tiny'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from import' -l detach -d 'do not wait for the end' -s d
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from import' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from import' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from import' -F
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from info' -a '(yurt image ls --quiet 2>/dev/null) debian tiny'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from delete' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from delete' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from delete' -a '(yurt image ls --quiet 2>/dev/null) debian tiny'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from prune' -l dry-run -d 'only say what would go'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from prune' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from prune' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from image; and __fish_seen_subcommand_from prune' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a profile -d 'profile commands'
complete -c yurt -n '__fish_seen_subcommand_from profile; and not __fish_seen_subcommand_from ls info create set delete' -a ls -d 'list profiles'
complete -c yurt -n '__fish_seen_subcommand_from profile; and not __fish_seen_subcommand_from ls info create set delete' -a info -d 'show what a profile holds'
complete -c yurt -n '__fish_seen_subcommand_from profile; and not __fish_seen_subcommand_from ls info create set delete' -a create -d 'make a named set of settings for instances to come'
complete -c yurt -n '__fish_seen_subcommand_from profile; and not __fish_seen_subcommand_from ls info create set delete' -a set -d 'change a profile, for instances to come'
complete -c yurt -n '__fish_seen_subcommand_from profile; and not __fish_seen_subcommand_from ls info create set delete' -a delete -d 'delete profiles'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from ls' -l quiet -d 'print only the name' -s q
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from info' -a '(yurt profile ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l as -d 'what it is made of (default: microvm)' -x -a 'microvm container vm'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l cpus -d 'number of virtual CPUs' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l memory -d 'memory, such as `512M` or `2G`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l disk -d 'size of its disk, such as `10G`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l label -d 'attach a label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l network -d 'network of a NIC, such as `default`; may be given again; or `user`: out through the host'\''s own sockets; `none`' -x -a 'none user (yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l accel -d 'how a VM'\''s CPUs run (default: measured)' -x -a 'auto kvm tcg'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l nesting -d 'containers: let it run containers itself; its root reaches more of the host'\''s kernel'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l privileged -d 'containers: refused, as it would be root of this host; see `--nesting`'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l init -d 'start the image'\''s own init, also when `--rm` comes with a command'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l no-init -d 'run the command as the guest'\''s only program, without the image'\''s init'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l publish -d 'let a port of the host lead to one of it; may be given again' -s p -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l allow-in -d 'let this reach it, such as `tcp:22`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l deny-in -d 'keep this from it, such as `192.0.2.0/24` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l allow-out -d 'let it reach this, such as `10.0.0.0/8:443` or `example.org:443`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l deny-out -d 'keep it from this, such as `udp` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l restart -d 'start it again when it has ended by itself (default: no)' -x -a 'no on-failure always'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l autostart -d 'start it when the host has booted'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l autostart-order -d 'lower ones are started first (default: 100)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l autostart-delay -d 'time from its start to the start of the next order' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l ttl -d 'end it after this time, such as `30m`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l ttl-action -d 'what happens then (default: stop)' -x -a 'stop delete'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l protect -d 'refuse to delete it, even with --force'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l cpu-shares -d 'weight against others when processors are short; 100 is usual' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l cpu-quota -d 'processors'\'' worth of time it gets at most, such as `1.5`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l cpu-pin -d 'processors of the host it may run on, such as `0-3,6`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l pids -d 'how many processes and threads it may have (containers: 4096 if not given)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l disk-read-iops -d 'read operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l disk-write-iops -d 'write operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l disk-read-bps -d 'bytes read a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l disk-write-bps -d 'bytes written a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l net-in -d 'bits a second towards it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l net-out -d 'bits a second from it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l processes -d 'processes of one user in it' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l open-files -d 'open files of one program in it' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l volume -d 'attach a volume, mounted at PATH; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l mount -d 'show a directory of this host in the guest; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from create' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l as -d 'what it is made of (default: microvm)' -x -a 'microvm container vm'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l cpus -d 'number of virtual CPUs' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l memory -d 'memory, such as `512M` or `2G`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l disk -d 'size of its disk, such as `10G`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l env -d 'set an environment variable; may be given again' -s e -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l label -d 'attach a label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l network -d 'network of a NIC, such as `default`; may be given again; or `user`: out through the host'\''s own sockets; `none`' -x -a 'none user (yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l accel -d 'how a VM'\''s CPUs run (default: measured)' -x -a 'auto kvm tcg'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l nesting -d 'containers: let it run containers itself; its root reaches more of the host'\''s kernel'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l privileged -d 'containers: refused, as it would be root of this host; see `--nesting`'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l init -d 'start the image'\''s own init, also when `--rm` comes with a command'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l no-init -d 'run the command as the guest'\''s only program, without the image'\''s init'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l publish -d 'let a port of the host lead to one of it; may be given again' -s p -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l allow-in -d 'let this reach it, such as `tcp:22`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l deny-in -d 'keep this from it, such as `192.0.2.0/24` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l allow-out -d 'let it reach this, such as `10.0.0.0/8:443` or `example.org:443`; all else is then denied' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l deny-out -d 'keep it from this, such as `udp` or `all`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l restart -d 'start it again when it has ended by itself (default: no)' -x -a 'no on-failure always'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l autostart -d 'start it when the host has booted'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l autostart-order -d 'lower ones are started first (default: 100)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l autostart-delay -d 'time from its start to the start of the next order' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l ttl -d 'end it after this time, such as `30m`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l ttl-action -d 'what happens then (default: stop)' -x -a 'stop delete'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l protect -d 'refuse to delete it, even with --force'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l cpu-shares -d 'weight against others when processors are short; 100 is usual' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l cpu-quota -d 'processors'\'' worth of time it gets at most, such as `1.5`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l cpu-pin -d 'processors of the host it may run on, such as `0-3,6`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l pids -d 'how many processes and threads it may have (containers: 4096 if not given)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l disk-read-iops -d 'read operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l disk-write-iops -d 'write operations a second' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l disk-read-bps -d 'bytes read a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l disk-write-bps -d 'bytes written a second, such as `50M` (of 1024)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l net-in -d 'bits a second towards it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l net-out -d 'bits a second from it, such as `100M` (of 1000)' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l processes -d 'processes of one user in it' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l open-files -d 'open files of one program in it' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l volume -d 'attach a volume, mounted at PATH; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l mount -d 'show a directory of this host in the guest; may be given again' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l unset -d 'take a setting away, such as `memory` or `env.A`' -x
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from set' -a '(yurt profile ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from delete' -l force -d 'also when instances were created with it' -s f
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from delete' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from delete' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from profile; and __fish_seen_subcommand_from delete' -a '(yurt profile ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a volume -d 'volume commands'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a create -d 'make an empty volume: storage that outlives instances'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a import -d 'make a block volume of a disk image'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a ls -d 'list volumes'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a info -d 'show everything about a volume'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a attach -d 'give a volume to an instance'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a detach -d 'take volumes from the instances that have them'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a resize -d 'let a volume grow'
complete -c yurt -n '__fish_seen_subcommand_from volume; and not __fish_seen_subcommand_from create import ls info attach detach resize delete' -a delete -d 'delete volumes that no instance has, and what is in them'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from create' -l size -d 'how much it holds (default: 10G; with `--filesystem` no limit)' -x
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from create' -l filesystem -d 'a tree of files, for containers, instead of a disk'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from create' -l label -d 'attach a label; may be given again' -s l -x
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from create' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from create' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from import' -l format -d 'what the image is (default: by the end of its name)' -x -a 'raw qcow2 vmdk vhd vhdx vdi parallels'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from import' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from import' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from import' -F
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from ls' -l quiet -d 'print only the name' -s q
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from info' -a '(yurt volume ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from attach' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from attach' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from attach' -a '(yurt volume ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from detach' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from detach' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from detach' -a '(yurt volume ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from resize' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from resize' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from resize' -a '(yurt volume ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from delete' -l dry-run -d 'only say what would go'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from delete' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from delete' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from volume; and __fish_seen_subcommand_from delete' -a '(yurt volume ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a network -d 'network commands'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a ls -d 'list networks'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a info -d 'show a network and who is on it'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a create -d 'make a network'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a attach -d 'give an instance one more NIC'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a detach -d 'take an instance'\''s NIC away'
complete -c yurt -n '__fish_seen_subcommand_from network; and not __fish_seen_subcommand_from ls info create attach detach delete' -a delete -d 'delete networks that no instance uses'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from ls' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from ls' -l quiet -d 'print only the name' -s q
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from ls' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from ls' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from info' -a '(yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l ipv4 -d 'its IPv4 subnet; `none` for none (default: a free private one)' -x
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l ipv6 -d 'its IPv6 subnet; `none` for none (default: a free private one)' -x
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l isolated -d 'no way out and no way in: its guests reach each other and nobody else'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l no-nat -d 'guests keep their addresses on their way out; others must route back to them'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l mtu -d 'largest packet (default: 1500)' -x
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l domain -d 'what follows the names of its guests (default: yurt)' -x
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l dry-run -d 'check everything and show the result, but make nothing'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from create' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from attach' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from attach' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from attach' -a '(yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from detach' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from detach' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from detach' -a '(yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from delete' -l dry-run -d 'only say whether they can be deleted'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from delete' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from delete' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n '__fish_seen_subcommand_from network; and __fish_seen_subcommand_from delete' -a '(yurt network ls --quiet 2>/dev/null)'
complete -c yurt -n __fish_use_subcommand -a host -d 'host commands'
complete -c yurt -n '__fish_seen_subcommand_from host; and not __fish_seen_subcommand_from info' -a info -d 'show what this host is and has'
complete -c yurt -n '__fish_seen_subcommand_from host; and __fish_seen_subcommand_from info' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from host; and __fish_seen_subcommand_from info' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from host; and __fish_seen_subcommand_from info' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a doctor -d 'check what this host can do and how to mend what it cannot'
complete -c yurt -n '__fish_seen_subcommand_from doctor' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from doctor' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from doctor' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a version -d 'show the versions of client and daemon'
complete -c yurt -n '__fish_seen_subcommand_from version' -l json -d 'print JSON'
complete -c yurt -n '__fish_seen_subcommand_from version' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from version' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a serve -d 'run the daemon in the foreground'
complete -c yurt -n '__fish_seen_subcommand_from serve' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from serve' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
complete -c yurt -n __fish_use_subcommand -a completion -d 'print a completion script for a shell'
complete -c yurt -n '__fish_seen_subcommand_from completion' -l help -d 'show this help' -s h
complete -c yurt -n '__fish_seen_subcommand_from completion' -l debug -d 'show where an error comes from (also YURT_DEBUG=1)'
