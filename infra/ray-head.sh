#!/usr/bin/env bash
# Starts the head of a Ray cluster on this machine, with token authentication.
# Usage: infra/ray-head.sh [PORT]      (then infra/ray-node.sh on the other machines)
set -euo pipefail
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
umask 077
ray get-auth-token --generate > /dev/null  # kept in ~/.ray/auth_token; an existing one stays
exec ray start --head --port "${1:-6379}" --include-dashboard=false
