#!/bin/sh
# Beside a node, as long as it lives: keeps it in touch with the others, whose addresses change with their pods.
. /scripts/common.sh

# Makes this node known to those whose present address it does not have.
meet() {
  known=$(here cluster nodes)
  for host in $(hosts); do
    there=$(address "$host")
    case "$there" in "" | "$POD_IP") continue ;; esac
    case "$known" in *"$there:"*) ;; *) here cluster meet "$there" 6379 >/dev/null ;; esac
  done
}

# Lets every node forget whom this pod was before, once nothing is in its hands any more.
forget_former() {
  me=$(here cluster myid)
  for host in $(hosts); do
    cli "$host" cluster nodes | awk -v me="$me" -v name=",$POD_NAME.$SERVICE." '
      index($2, name) && $1 != me && NF <= 8 {print $1}' |
      while read -r former; do cli "$host" cluster forget "$former" >/dev/null; done
  done
}

# Forgets in this node's own view whom the others were before: once every pod is there by its name and well, whoever fails
# and holds nothing is nobody. All do so within seconds, so that nobody is told of them again.
forget_lost() {
  nodes=$(here cluster nodes)
  names=$(echo "$nodes" | awk '$3 !~ /fail|handshake|noaddr/ {split($2, at, ","); if (at[2] != "") print at[2]}' | sort -u | grep -c .)
  [ "$names" = "$NODES" ] || return 0
  echo "$nodes" | awk '$3 ~ /fail|noaddr/ && NF <= 8 {print $1}' |
    while read -r lost; do here cluster forget "$lost" >/dev/null; done
}

# Becomes a replica of the primary that has the fewest.
follow() {
  primaries 127.0.0.1 | while read -r primary _; do
    here cluster replicate "$primary" >/dev/null
    break
  done
}

is_primary() { here role | grep -qx master; }
is_synced() { here info replication | tr -d '\r' | grep -qx 'master_link_status:up'; }

until [ "$(here ping)" = PONG ]; do sleep 1; done
while :; do
  if [ -e /run/redis/joining ]; then
    meet
    forget_former
    if stands 127.0.0.1; then
      # Once: to be told again to replicate begins all over, and a copy takes its time.
      if is_synced; then rm /run/redis/joining; elif is_primary; then follow; fi
    fi
    sleep 1
  else
    # Before the cluster is made, its making has to do this.
    if stands 127.0.0.1; then
      meet
      forget_lost
    fi
    sleep 10
  fi
done
