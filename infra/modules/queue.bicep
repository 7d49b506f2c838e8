// One queue and who may do what with it.
param account string
param name string

@description('Objects { who: { id, type }, role }; one with an empty id is dropped.')
param rights array

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: account
}

resource service 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' existing = {
  parent: storage
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' = {
  parent: service
  name: name
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for right in filter(rights, held => !empty(held.who.id)): {
    scope: queue
    name: guid(queue.id, right.who.id, right.role)
    properties: {
      principalId: right.who.id
      principalType: right.who.type
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', right.role)
    }
  }
]
