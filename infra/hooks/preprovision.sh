#!/bin/sh
# Before anything is made: what the template needs is there, and so is the resource group of the data. The template does not make that
# group, because `azd down` deletes every group that its template made. Safe to repeat.
set -eu

if [ "${TRAINERS:-true}" = true ] && [ -z "${TRAINER_SSH_PUBLIC_KEY:-}" ]; then
  echo 'The machines need a public SSH key: azd env set TRAINER_SSH_PUBLIC_KEY "$(cat ~/.ssh/id_ed25519.pub)", or TRAINERS false.' >&2
  exit 1
fi
if [ -n "${EXISTING_ACCOUNT:-}" ]; then
  if [ -z "${EXISTING_ACCOUNT_GROUP:-}" ]; then
    echo "EXISTING_ACCOUNT is set, its resource group is not: azd env set EXISTING_ACCOUNT_GROUP NAME." >&2
    exit 1
  fi
  exit 0
fi
az group create --subscription "$AZURE_SUBSCRIPTION_ID" --name "rg-$AZURE_ENV_NAME-data" --location "$AZURE_LOCATION" --output none
