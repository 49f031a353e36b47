# RabbitMQ, as a node of its own. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

rabbitmq_program() {
    local program
    # Debian's program on the path changes to the user rabbitmq; the one behind it runs as whoever calls it.
    for program in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server || true)"; do
        if [ -x "$program" ]; then
            echo "$program"
            return
        fi
    done
    return 1
}

rabbitmq_running() { runs "$folder/rabbitmq"; }

rabbitmq_launch() {
    local home=$folder/rabbitmq program port
    program=$(rabbitmq_program) || fail "RabbitMQ is missing: run deploy/services install"
    mkdir -p "$home/home"
    [ -s "$home/port" ] || free_ports 4 >"$home/port"
    port=$(cat "$home/port")
    echo '[rabbitmq_management].' >"$home/enabled_plugins"
    cat >"$home/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$port
management.tcp.ip = 127.0.0.1
management.tcp.port = $((port + 1))
management_agent.disable_metrics_collector = true
log.file.level = warning
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 50MB
END
    # Its own epmd, Erlang's register of nodes, is what lets each node here have the same name.
    launch "$home" env -i PATH="$PATH" HOME="$home/home" LANG=C.UTF-8 \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((port + 3)) \
        RABBITMQ_NODENAME=gristmill@localhost RABBITMQ_DIST_PORT=$((port + 2)) \
        RABBITMQ_CONFIG_FILE="$home/rabbitmq" RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" \
        RABBITMQ_CONF_ENV_FILE="$home/environment" RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" RABBITMQ_PID_FILE="$home/node.pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}' \
        RUNNING_UNDER_SYSTEMD=true "$program"
}

rabbitmq_await() { await "$folder/rabbitmq" rabbitmq_answers 90; }

# The AMQP greeting is answered, and the management pages are there.
rabbitmq_answers() {
    local port
    port=$(cat "$folder/rabbitmq/port")
    answers "$port" 'AMQP\0\0\11\1' && rabbitmq_overview "$((port + 1))" | grep -q '"rabbitmq_version"'
}

rabbitmq_overview() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET /api/overview HTTP/1.0\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n' >&3
        timeout 5 cat <&3
    ) 2>/dev/null
}

rabbitmq_env() {
    local port version
    port=$(cat "$folder/rabbitmq/port")
    version=$(rabbitmq_overview $((port + 1)) | sed -n 's/.*"rabbitmq_version":"\([^"]*\)".*/\1/p')
    echo "export AMQP_URL='amqp://guest:guest@127.0.0.1:$port/%2f'"
    echo "export RABBITMQ_MANAGEMENT_URL='http://guest:guest@127.0.0.1:$((port + 1))'"
    echo "export AMQP_SERVER='RabbitMQ $version'"
}

# Raises its memory alarm, `on`, or ends that, `off`: while it lasts, nothing that is published is taken.
rabbitmq_alarm() {
    local home=$folder/rabbitmq port limit=1073741824 control=/usr/lib/rabbitmq/bin/rabbitmqctl
    [ -x "$control" ] || control=rabbitmqctl
    [ "$1" = off ] || limit=1024
    port=$(cat "$home/port")
    env -i PATH="$PATH" HOME="$home/home" LANG=C.UTF-8 ERL_EPMD_PORT=$((port + 3)) \
        RABBITMQ_NODENAME=gristmill@localhost RABBITMQ_CONF_ENV_FILE="$home/environment" \
        "$control" --quiet set_vm_memory_high_watermark absolute "$limit"
}

rabbitmq_stop() {
    finish "$folder/rabbitmq" TERM 30
    rabbitmq_stop_epmd
}

rabbitmq_kill() { finish "$folder/rabbitmq" KILL 30; }

# It stays while it knows a node, which one that was killed is for a moment more.
rabbitmq_stop_epmd() {
    local port tries=0
    if [ ! -s "$folder/rabbitmq/port" ] || ! command -v epmd >/dev/null; then return; fi
    port=$(($(cat "$folder/rabbitmq/port") + 3))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [ $tries -lt 50 ]; do
        ERL_EPMD_PORT=$port epmd -kill >/dev/null 2>&1 || sleep 0.1
        tries=$((tries + 1))
    done
}
