#!/bin/sh
# After everything was made: the trainers' machines install the project from a wheel, so build it and put it where they look. Whoever
# deploys was given the right to write there a moment ago, which takes Azure up to some minutes to notice. Safe to repeat.
set -eu

if [ "${ACTIVELEARNING_TRAINERS:-true}" != true ]; then
  exit 0
fi
rm -f "dist/$ACTIVELEARNING_PACKAGE"
"${PYTHON:-python3}" -m pip wheel . --quiet --no-deps --wheel-dir dist

put() {
  az storage blob upload --auth-mode login --account-name "$ACTIVELEARNING_PACKAGES_ACCOUNT" \
    --container-name "$ACTIVELEARNING_PACKAGES_CONTAINER" --name "$1" --file "$2" --overwrite --only-show-errors --output none
}

tries=0
until put "$ACTIVELEARNING_PACKAGE" "dist/$ACTIVELEARNING_PACKAGE" && put constraints.txt constraints.txt; do
  tries=$((tries + 1))
  if [ "$tries" -ge 10 ]; then
    echo "The trainers' package could not be uploaded; the machines cannot start without it: run \`azd hooks run postprovision\` again." >&2
    exit 1
  fi
  sleep "${RETRY_SECONDS:-30}"
done
