#!/usr/bin/env bash
# Starts the head of a Ray cluster on this machine, with token authentication.
# Usage: infra/ray-head.sh [PORT]      (then infra/ray-node.sh on the other machines)
set -euo pipefail
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
umask 077
token=$HOME/.ray/auth_token
mkdir -p "$HOME/.ray" && chmod 700 "$HOME/.ray"
if [ -n "$(find "$token" -perm /077 2> /dev/null)" ]; then
  echo "others could read $token: a new one is made; copy it to the other machines" >&2
  rm "$token"
fi
ray get-auth-token --generate > /dev/null  # an existing one stays
exec ray start --head --port "${1:-6379}" --include-dashboard=false
