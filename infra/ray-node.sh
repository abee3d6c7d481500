#!/usr/bin/env bash
# Joins this machine to a Ray cluster. Copy ~/.ray/auth_token from the head first (mode 600).
# Usage: infra/ray-node.sh HEAD:PORT
set -euo pipefail
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
exec ray start --address "${1:?usage: infra/ray-node.sh HEAD:PORT}"
