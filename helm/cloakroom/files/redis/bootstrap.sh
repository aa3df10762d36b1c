#!/bin/sh
# Makes a cluster of the nodes, the first half of them primaries. Can be run again at any point, and then goes on.
set -eu
. /scripts/common.sh

for host in $(hosts); do
  until [ "$(cli "$host" ping)" = PONG ]; do echo "waiting for $host"; sleep 0.5; done
done
if stands "$SERVICE-0.$SERVICE"; then
  echo "the cluster stands"
  exit 0
fi

first=$SERVICE-0.$SERVICE
for host in $(hosts); do cli "$first" cluster meet "$(address "$host")" 6379 >/dev/null; done
for host in $(hosts); do
  until [ "$(cli "$host" cluster nodes | grep -c connected)" = "$NODES" ]; do echo "waiting for $host to know all"; sleep 0.5; done
done

primaries=$((NODES / 2)) number=0
while [ "$number" -lt "$primaries" ]; do
  host=$SERVICE-$number.$SERVICE
  from=$((16384 * number / primaries)) to=$((16384 * (number + 1) / primaries - 1))
  # Those that it owns already, from a run that was cut off, are refused, and that is well.
  cli "$host" cluster addslotsrange "$from" "$to"
  number=$((number + 1))
done
for host in $(hosts); do until stands "$host"; do echo "waiting for $host to see all slots"; sleep 0.5; done; done

while [ "$number" -lt "$NODES" ]; do
  primary=$(cli "$SERVICE-$((number - primaries)).$SERVICE" cluster myid)
  until cli "$SERVICE-$number.$SERVICE" cluster replicate "$primary" | grep -q OK; do sleep 0.5; done
  number=$((number + 1))
done
echo "made a cluster of $primaries primaries, each with a replica"
