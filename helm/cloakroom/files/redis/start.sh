#!/bin/sh
# Starts a node. One that comes back to a cluster that stands, with nothing of its own, joins it as a replica; one that
# comes back under another address makes itself known.
set -eu
. /scripts/common.sh

# Whatever characters it has.
password=\"$(printf %s "$REDISCLI_AUTH" | sed 's/[\\"]/\\&/g')\"
cat > /run/redis/node.conf <<END
requirepass $password
masterauth $password
maxmemory $MAX_MEMORY
cluster-announce-ip $POD_IP
cluster-announce-hostname $POD_NAME.$SERVICE.$NAMESPACE.svc
END

# Asked before this node answers anybody: the first time, nobody has slots until every node has answered.
if [ ! -s /data/nodes.conf ]; then
  for host in $(hosts); do
    if [ "$host" != "$POD_NAME.$SERVICE" ] && stands "$host"; then
      touch /run/redis/joining
      break
    fi
  done
fi
/scripts/join.sh &
exec "$ENGINE-server" /scripts/redis.conf
