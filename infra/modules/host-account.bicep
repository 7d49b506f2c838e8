// The account of the machinery: what the Functions host keeps for itself, what is deployed, what the trainers install, and events that
// could not be delivered. No data of the project; the host must own the blobs in here, and only in here.
param name string
param location string
param tags object
param functionsId string
param eventsId string

@description('Empty: no machines.')
param trainerId string

param operatorId string
param operatorType string

var builtIn = loadJsonContent('../roles.json')
var packageRights = [
  { id: trainerId, type: 'ServicePrincipal', role: builtIn.StorageBlobDataReader }
  { id: operatorId, type: operatorType, role: builtIn.StorageBlobDataContributor }
]

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource deployments 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'deployments'
  properties: { publicAccess: 'None' }
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'packages'
  properties: { publicAccess: 'None' }
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'dead-letters'
  properties: { publicAccess: 'None' }
}

// AzureWebJobsStorage by identity asks for the owner of the account's blobs: leases, timers, function keys, the deployed package.
resource functionsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, functionsId, builtIn.StorageBlobDataOwner)
  properties: {
    principalId: functionsId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', builtIn.StorageBlobDataOwner)
  }
}

resource eventsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: deadLetters
  name: guid(deadLetters.id, eventsId, builtIn.StorageBlobDataContributor)
  properties: {
    principalId: eventsId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      builtIn.StorageBlobDataContributor
    )
  }
}

resource packageRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for right in filter(packageRights, held => !empty(held.id)): {
    scope: packages
    name: guid(packages.id, right.id, right.role)
    properties: {
      principalId: right.id
      principalType: right.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', right.role)
    }
  }
]

output id string = account.id
output name string = account.name
output deployments string = deployments.name
output packages string = packages.name
output deadLetters string = deadLetters.name
