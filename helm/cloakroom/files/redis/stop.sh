#!/bin/sh
# Before a node ends: a primary hands over to its replica, which loses nothing.
. /scripts/common.sh
me=$(here cluster myid)
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  here role | grep -qx master || exit 0
  replica=$(here cluster nodes | awk -v me="$me" '$4 == me && $3 !~ /fail|noaddr/ {sub(/:.*/, "", $2); print $2; exit}')
  [ -n "$replica" ] || exit 0
  [ "$attempt" != 1 ] || cli "$replica" cluster failover >/dev/null
  sleep 0.5
done
