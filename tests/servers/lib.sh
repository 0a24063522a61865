# What the scripts that start servers share; to be sourced.

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

debian() { # Debian packages, for commands that are not there
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    DEBIAN_FRONTEND=noninteractive $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# A port that nobody listens on, below those that the system gives to outgoing connections.
free_port() {
    local port
    for _ in $(seq 50); do
        port=$((15000 + RANDOM % 17000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free port"
}

# Waits until `$1` (a command) succeeds; fails after `$2` seconds or when process `$3` is gone.
wait_for() {
    local deadline=$((SECONDS + $2))
    until eval "$1"; do
        if ! kill -0 "$3" 2>/dev/null || [ $SECONDS -gt $deadline ]; then return 1; fi
        sleep 0.1
    done
}

# Kills the process whose number is in file `$1`, and waits until it is gone.
stop() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill -9 "$pid" 2>/dev/null || true
    # A while, not for ever: it may stay as a zombie where nobody reaps.
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    rm -f "$1"
}

# Starts the service `$1` with the settings in the environment on a free port, its log in file `$2`; sets `service_pid` and `service_base`.
start_service() {
    local address=""
    # Settings of tests, and unknown to the service.
    unset QEETID_TEST_CQL QEETID_TEST_REDIS QEETID_TEST_STACK
    : >"$2"
    QEETID_LISTEN=127.0.0.1:0 QEETID_LOG_FORMAT=json "$1" serve >"$2" 2>&1 &
    service_pid=$!
    for _ in $(seq 600); do
        address=$(sed -n 's/.*"message":"listening".*"address":"\([^"]*\)".*/\1/p; s/.*"address":"\([^"]*\)".*"message":"listening".*/\1/p' "$2" | sed -n 1p)
        [ -n "$address" ] && break
        kill -0 "$service_pid" 2>/dev/null || { cat "$2" >&2; die "the service did not start"; }
        sleep 0.1
    done
    [ -n "$address" ] || { cat "$2" >&2; die "the service does not listen"; }
    service_base=http://$address
}
