# What the scripts of a node share: `. /scripts/common.sh`. ENGINE, SERVICE and NODES come from the environment.

# cli HOST COMMAND...
cli() { timeout 5 "$ENGINE-cli" -h "$@" 2>/dev/null; }
here() { cli 127.0.0.1 "$@"; }

hosts() { number=0; while [ "$number" -lt "$NODES" ]; do echo "$SERVICE-$number.$SERVICE"; number=$((number + 1)); done; }
address() { getent hosts "$1" | awk '{print $1; exit}'; }

# info HOST FIELD: a number out of CLUSTER INFO; nothing where the host does not answer.
info() { cli "$1" cluster info | tr -d '\r' | awk -F: -v field="$2" '$1 == field {print $2}'; }

# Whether the host sees all slots in hands.
stands() { [ "$(info "$1" cluster_slots_assigned)" = 16384 ]; }

# Primaries that own slots and are well, as seen by the host: id, then how many replicas each has; fewest first.
primaries() {
  cli "$1" cluster nodes | awk '
    $3 !~ /fail|handshake|noaddr/ && $3 ~ /master/ && NF > 8 {replicas[$1] += 0}
    $3 !~ /fail|handshake|noaddr/ && $3 ~ /slave/ {has[$4]++}
    END {for (id in replicas) print has[id] + 0, id}' | sort -n | awk '{print $2, $1}'
}
