#!/bin/sh
# Liveness: the node answers, if only that it is loading its file.
. /scripts/common.sh
case "$(here ping)" in PONG | LOADING* | MASTERDOWN*) ;; *) exit 1 ;; esac
