# Processes and ports. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

fail() {
    echo "deploy/services: $*" >&2
    exit 1
}

# When process $1 began: with its number, it tells a process from a later one with the same number. Nothing for one
# that has ended and is only not collected yet.
began() {
    local stat
    if [ -d /proc/self ]; then
        read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
        # What follows the name, which may have spaces: the state is its first field, the time of start its twentieth.
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        [ "$1" = Z ] || echo "${20}"
    else
        ps -o lstart= -p "$1" 2>/dev/null || true
    fi
}

# Starts the command in the background, detached from the terminal and from our output, and writes $1/pid.
launch() {
    local home=$1
    shift
    set -m
    (
        trap '' HUP
        exec "$@" </dev/null >"$home/output" 2>&1 9>&-
    ) &
    set +m
    disown $!
    echo "$! $(began $!)" >"$home/pid"
}

# Whether the process that $1/pid tells of still runs.
runs() {
    local pid since
    [ -r "$1/pid" ] || return 1
    read -r pid since <"$1/pid"
    [ -n "$since" ] && [ "$(began "$pid")" = "$since" ]
}

# Sends signal $2 to the process of $1/pid and waits until it is gone; after $3 seconds it is killed.
finish() {
    local pid tenths=$(($3 * 10))
    runs "$1" || return 0
    read -r pid _ <"$1/pid"
    kill "-$2" "$pid" 2>/dev/null || true
    while runs "$1"; do
        sleep 0.1
        tenths=$((tenths - 1))
        [ $tenths -ne 0 ] || kill -KILL "$pid" 2>/dev/null || true
    done
    rm -f "$1/pid"
}

# Waits, for $3 seconds at most, until `$2` holds for the server of folder $1.
await() {
    local until=$((SECONDS + $3))
    until "$2"; do
        runs "$1" || { tail -n 20 "$1/output" >&2 && fail "$(basename "$1") ended; its output is in $1"; }
        [ $SECONDS -lt $until ] || fail "$(basename "$1") did not answer within $3 s; its output is in $1"
        sleep 0.1
    done
}

# Prints the first of $1 neighbouring ports that nobody listens on, below the range that the system gives out itself.
free_ports() {
    local first port
    while :; do
        first=$((12000 + (RANDOM % 5000) * 4))
        for ((port = first; port < first + $1; port++)); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue 2; fi
        done
        echo $first
        return
    done
}

# Whether the server at port $1 sends something back for the bytes that printf makes of $2.
answers() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        # The format is the message.
        # shellcheck disable=SC2059
        printf "$2" >&3
        IFS= read -r -t 2 -N 1 <&3
    ) 2>/dev/null
}
