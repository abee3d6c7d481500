#!/usr/bin/env bash
# Joins this machine to a Ray cluster. Copy ~/.ray/auth_token from the head first.
# Usage: infra/ray-node.sh HEAD:PORT
set -euo pipefail
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
if [ -e "$HOME/.ray/auth_token" ]; then
  chmod 700 "$HOME/.ray" && chmod 600 "$HOME/.ray/auth_token"
fi
exec ray start --address "${1:?usage: infra/ray-node.sh HEAD:PORT}"
