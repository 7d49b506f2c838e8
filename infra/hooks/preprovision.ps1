# Before anything is made: what the template needs is there, and so is the resource group of the data. The template does not make that
# group, because `azd down` deletes every group that its template made. Safe to repeat.
$ErrorActionPreference = 'Stop'

if (($env:TRAINERS ?? 'true') -eq 'true' -and -not $env:TRAINER_SSH_PUBLIC_KEY) {
  [Console]::Error.WriteLine('The machines need a public SSH key: azd env set TRAINER_SSH_PUBLIC_KEY (Get-Content ~/.ssh/id_ed25519.pub), or TRAINERS false.')
  exit 1
}
if ($env:EXISTING_ACCOUNT) {
  if (-not $env:EXISTING_ACCOUNT_GROUP) {
    [Console]::Error.WriteLine('EXISTING_ACCOUNT is set, its resource group is not: azd env set EXISTING_ACCOUNT_GROUP NAME.')
    exit 1
  }
  exit 0
}
az group create --subscription $env:AZURE_SUBSCRIPTION_ID --name "rg-$env:AZURE_ENV_NAME-data" --location $env:AZURE_LOCATION --output none
exit $LASTEXITCODE
