# Runs one program, and keeps the lock on descriptor 3 as long as it lives.
# Usage: shim.sh DIRECTORY PROGRAM [ARGUMENT]...
# Descriptor 4 is told when the processes are noted; those from 5 on are the program's.
directory=$1
shift
cd "$directory" || exit 1

# begun PID: when the process began, in clock ticks since boot (proc(5), stat, field 22).
begun() {
	read -r line <"/proc/$1/stat" || return
	set -- ${line##*) }
	echo "${20}"
}

again=
trap 'again=1' HUP INT TERM
"$@" 3>&- 4>&- &
program=$!
{
	cat /proc/sys/kernel/random/boot_id
	echo "$$ $(begun $$)"
	echo "$program $(begun $program 2>/dev/null)" # it may have ended already
} >processes.new && mv processes.new processes
echo up >&4
exec 4>&-

wait $program
code=$?
while [ -n "$again" ]; do # a signal ended the wait, not the program
	again=
	wait $program
	code=$?
done
echo $code >exit.new && mv exit.new exit
