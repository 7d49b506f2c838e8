// Who may start and remove machines. Rule: nothing here reaches beyond the trainers' own resource group, which holds nothing else.
param token string
param functionsId string
param trainerId string

var here = resourceGroup().id

// Raising the capacity of a scale set makes machines that join its network and act as its identity, so both rights belong to it.
resource keeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(here, 'keeper of the trainers')
  properties: {
    roleName: 'Active learning: keeper of the trainers (${token})'
    description: 'Raises the capacity of the scale sets, lists their machines and removes one.'
    type: 'CustomRole'
    assignableScopes: [here]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/read'
          'Microsoft.Compute/virtualMachineScaleSets/write'
          'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/virtualMachines/delete'
          'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action'
          'Microsoft.Network/networkSecurityGroups/join/action'
          'Microsoft.Network/virtualNetworks/subnets/join/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource leaver 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(here, 'a trainer that leaves')
  properties: {
    roleName: 'Active learning: a trainer that leaves (${token})'
    description: 'Removes a machine of the trainers\' resource group.'
    type: 'CustomRole'
    assignableScopes: [here]
    permissions: [
      {
        actions: ['Microsoft.Compute/virtualMachines/read', 'Microsoft.Compute/virtualMachines/delete']
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource functionsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(here, functionsId, keeper.id)
  properties: { principalId: functionsId, principalType: 'ServicePrincipal', roleDefinitionId: keeper.id }
}

resource trainerRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(here, trainerId, leaver.id)
  properties: { principalId: trainerId, principalType: 'ServicePrincipal', roleDefinitionId: leaver.id }
}
