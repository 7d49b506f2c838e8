// One project inside a storage account: two containers, the queues, and who may do what with each.
// Rule: a right is given on one container or one queue; the one that Azure gives on accounts only is the delegation key. A right
// of nobody (an empty id) is dropped.
param account string
param imagesContainer string

@description('The images container is somebody else\'s: give rights on it, leave it as it is.')
param imagesExist bool

param labelsContainer string
param queuePrefix string
param functionsId string
param eventsId string

@description('Empty: no machines.')
param trainerId string

param operatorId string
param operatorType string
param annotatorsId string
param annotatorsType string

var roles = loadJsonContent('../roles.json')
var functionsAs = { id: functionsId, type: 'ServicePrincipal' }
var eventsAs = { id: eventsId, type: 'ServicePrincipal' }
var trainerAs = { id: trainerId, type: 'ServicePrincipal' }
var operatorAs = { id: operatorId, type: operatorType }
var annotatorsAs = { id: annotatorsId, type: annotatorsType }

var imagesRights = [
  { who: functionsAs, role: roles.StorageBlobDataReader }
  { who: trainerAs, role: roles.StorageBlobDataReader }
  { who: annotatorsAs, role: roles.StorageBlobDataReader }
  { who: operatorAs, role: roles.StorageBlobDataContributor }
]
var labelsRights = [
  { who: functionsAs, role: roles.StorageBlobDataContributor }
  { who: trainerAs, role: roles.StorageBlobDataContributor }
  { who: annotatorsAs, role: roles.StorageBlobDataContributor }
  { who: operatorAs, role: roles.StorageBlobDataContributor }
]
var delegators = [functionsAs, operatorAs]

var heard = [
  { who: functionsAs, role: roles.StorageQueueDataContributor }
  { who: eventsAs, role: roles.StorageQueueDataMessageSender }
  { who: operatorAs, role: roles.StorageQueueDataContributor }
]
var heardPoison = [
  { who: functionsAs, role: roles.StorageQueueDataContributor }
  { who: operatorAs, role: roles.StorageQueueDataContributor }
]
var jobs = [
  { who: functionsAs, role: roles.StorageQueueDataReader }
  { who: functionsAs, role: roles.StorageQueueDataMessageSender }
  { who: trainerAs, role: roles.StorageQueueDataContributor }
  { who: operatorAs, role: roles.StorageQueueDataContributor }
]
var watched = [
  { who: functionsAs, role: roles.StorageQueueDataReader }
  { who: trainerAs, role: roles.StorageQueueDataContributor }
  { who: operatorAs, role: roles.StorageQueueDataContributor }
]
var queues = [
  { name: 'new-images', rights: heard }
  { name: 'new-images-poison', rights: heardPoison }
  { name: 'reviewed-uploads', rights: heard }
  { name: 'reviewed-uploads-poison', rights: heardPoison }
  { name: 'train-jobs', rights: jobs }
  { name: 'train-jobs-poison', rights: watched }
  { name: 'predict-shards', rights: watched }
  { name: 'predict-shards-poison', rights: watched }
]

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: account
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: storage
  name: 'default'
}

resource newImages 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = if (!imagesExist) {
  parent: blobs
  name: imagesContainer
  properties: { publicAccess: 'None' }
}

resource images 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: imagesContainer
}

resource labels 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: labelsContainer
  properties: { publicAccess: 'None' }
}

resource imagesRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for right in filter(imagesRights, held => !empty(held.who.id)): {
    scope: images
    name: guid(images.id, right.who.id, right.role)
    properties: {
      principalId: right.who.id
      principalType: right.who.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', right.role)
    }
    dependsOn: [newImages]
  }
]

resource labelsRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for right in filter(labelsRights, held => !empty(held.who.id)): {
    scope: labels
    name: guid(labels.id, right.who.id, right.role)
    properties: {
      principalId: right.who.id
      principalType: right.who.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', right.role)
    }
  }
]

// A key to sign links with is the account's; what a link opens is bounded by the signer's own rights on the containers.
resource delegatorRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for who in filter(delegators, held => !empty(held.id)): {
    scope: storage
    name: guid(storage.id, who.id, roles.StorageBlobDelegator)
    properties: {
      principalId: who.id
      principalType: who.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.StorageBlobDelegator)
    }
  }
]

module queue 'queue.bicep' = [
  for entry in queues: {
    name: 'queue-${entry.name}-${uniqueString(queuePrefix)}'
    params: { account: account, name: '${queuePrefix}${entry.name}', rights: entry.rights }
  }
]

output accountId string = storage.id
output location string = storage.location
