# After everything was made: the trainers' machines install the project from a wheel, so build it and put it where they look. Whoever
# deploys was given the right to write there a moment ago, which takes Azure up to some minutes to notice. Safe to repeat.
$ErrorActionPreference = 'Stop'

if (($env:ACTIVELEARNING_TRAINERS ?? 'true') -ne 'true') { exit 0 }
Remove-Item -ErrorAction SilentlyContinue "dist/$env:ACTIVELEARNING_PACKAGE"
& ($env:PYTHON ?? 'python') -m pip wheel . --quiet --no-deps --wheel-dir dist
if ($LASTEXITCODE -ne 0) { exit 1 }

function Put([string] $name, [string] $file) {
  az storage blob upload --auth-mode login --account-name $env:ACTIVELEARNING_PACKAGES_ACCOUNT `
    --container-name $env:ACTIVELEARNING_PACKAGES_CONTAINER --name $name --file $file --overwrite --only-show-errors --output none
  return $LASTEXITCODE -eq 0
}

foreach ($try in 1..10) {
  if ((Put $env:ACTIVELEARNING_PACKAGE "dist/$env:ACTIVELEARNING_PACKAGE") -and (Put 'constraints.txt' 'constraints.txt')) { exit 0 }
  if ($try -lt 10) { Start-Sleep -Seconds ($env:RETRY_SECONDS ?? 30) }
}
[Console]::Error.WriteLine("The trainers' package could not be uploaded; the machines cannot start without it: run ``azd hooks run postprovision`` again.")
exit 1
