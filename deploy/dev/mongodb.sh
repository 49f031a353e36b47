# MongoDB: a real mongod where there is one, else the stand-in of mongodb-standin/. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

mongodb_running() { runs "$folder/mongodb"; }

mongodb_launch() {
    local home=$folder/mongodb port
    mkdir -p "$home/data"
    [ -s "$home/port" ] || free_ports 1 >"$home/port"
    port=$(cat "$home/port")
    if command -v mongod >/dev/null; then
        echo "MongoDB $(mongod --version | sed -n 's/^db version v//p')" >"$home/server"
        launch "$home" mongod --dbpath "$home/data" --port "$port" --bind_ip 127.0.0.1 --quiet
    else
        standin_build
        echo "the stand-in mongo-java-server $(standin_version)" >"$home/server"
        # shellcheck disable=SC2086
        launch "$home" java ${STANDIN_JAVA_FLAGS:--Xmx1g -XX:+UseSerialGC} \
            -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
            -cp "$standin_built/classes:$standin_built/lib/*" standin.Main "$port"
    fi
}

mongodb_await() { await "$folder/mongodb" mongodb_answers 60; }

# An OP_MSG with the document {hello: 1, $db: "admin"} is answered.
mongodb_answers() {
    # The dollar is MongoDB's.
    # shellcheck disable=SC2016
    answers "$(cat "$folder/mongodb/port")" \
        '\x34\0\0\0\1\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1f\0\0\0\x10hello\0\1\0\0\0\2$db\0\6\0\0\0admin\0\0'
}

mongodb_env() {
    echo "export MONGODB_URL='mongodb://127.0.0.1:$(cat "$folder/mongodb/port")'"
    echo "export MONGODB_SERVER='$(cat "$folder/mongodb/server")'"
}

mongodb_stop() { finish "$folder/mongodb" TERM 20; }
mongodb_kill() { finish "$folder/mongodb" KILL 20; }

standin_source=$here/mongodb-standin

standin_version() {
    sed -n '/mongo-java-server/{n;s/.*<version>\(.*\)<.*/\1/p;}' "$standin_source/pom.xml"
}

# Fetches the libraries and compiles, once for each version of the sources: an older one may be running still.
standin_build() {
    local building
    standin_built=$target/mongodb-standin/$(cat "$standin_source/pom.xml" "$standin_source"/src/standin/*.java | cksum | cut -d ' ' -f 1)
    [ ! -d "$standin_built" ] || return 0
    command -v javac >/dev/null || fail "a Java compiler is missing: run deploy/services install"
    command -v mvn >/dev/null || fail "Maven is missing: run deploy/services install"
    mkdir -p "$target/mongodb-standin"
    building=$(mktemp -d "$target/mongodb-standin/building.XXXXXX")
    mvn --batch-mode --quiet --file "$standin_source/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$building/lib" --log-file "$building/maven.log" >/dev/null ||
        { cat "$building/maven.log" >&2 && fail "Maven could not fetch the stand-in's libraries"; }
    javac -d "$building/classes" -cp "$building/lib/*" "$standin_source"/src/standin/*.java >&2
    # Whoever is first wins; the other's work is thrown away.
    mv -T "$building" "$standin_built" 2>/dev/null || rm -rf "$building"
}
