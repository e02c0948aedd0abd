# Runs one program, and keeps the lock on descriptor 3 as long as it lives.
# Usage: shim.sh DIRECTORY LIMIT PROGRAM [ARGUMENT]...
# Descriptor 4 is told when the processes are noted; those from 5 on are the program's. With a LIMIT, what the program prints arrives
# at standard input, and is kept in two files of at most so many bytes.
directory=$1 limit=$2
shift 2
cd "$directory" || exit 1

# begun PID: when the process began, in clock ticks since boot (proc(5), stat, field 22).
begun() {
	read -r line <"/proc/$1/stat" || return
	set -- ${line##*) }
	echo "${20}"
}

# keep: standard input to its end. While the disk is full the output is lost, but the program is not held up.
keep() {
	while :; do
		size=$(wc -c <output)
		if [ "${size:-0}" -ge "$limit" ]; then
			mv output output.1
			size=0
		fi
		if stdbuf -o0 head -c $((limit - ${size:-0})) >>output; then
			[ "$(wc -c <output)" -ge "$limit" ] || return
		else
			[ "$(head -c 65536 | wc -c)" -gt 0 ] || return
		fi
	done
}

again=
trap 'again=1' HUP INT TERM
trap : PIPE # whoever is told may have been killed; unlike an ignored signal, this is not passed on to the program
echo 000 >exit.new # takes the room for the code now, when a full disk is still told
"$@" </dev/null 3>&- 4>&- &
program=$!
{
	cat /proc/sys/kernel/random/boot_id &&
		echo "$$ $(begun $$)" &&
		echo "$program $(begun $program 2>/dev/null)" # it may have ended already
} >processes.new && mv processes.new processes || {
	kill -9 $program
	exit 1
}
echo up >&4
exec 4>&-

if [ "$limit" -gt 0 ]; then
	exec >/dev/null 2>&1 # or else the input would have no end
	keep 3>&-
fi
wait $program
code=$?
while [ -n "$again" ]; do # a signal ended the wait, not the program
	again=
	wait $program
	code=$?
done
printf '%03d\n' $code 1<>exit.new && mv exit.new exit
