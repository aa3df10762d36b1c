#!/bin/sh
# Readiness: the node answers, and if it came back with nothing it has caught up.
. /scripts/common.sh
[ ! -e /run/redis/joining ] && [ "$(here ping)" = PONG ]
