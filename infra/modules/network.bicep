// Where the machines stand: no way in, one way out. Blobs go by the subnet's endpoint of the storage service, not by the gateway.
param token string
param location string
param tags object

resource guard 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: 'nsg-${token}'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'nobody-comes-in'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 4096
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

// The gateway's address, not a machine's: answers come back through it, nobody gets in.
resource address 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: 'pip-${token}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource gateway 'Microsoft.Network/natGateways@2024-05-01' = {
  name: 'ng-${token}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: address.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: 'vnet-${token}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.20.0.0/24'] }
    subnets: [
      {
        name: 'trainers'
        properties: {
          addressPrefix: '10.20.0.0/25'
          defaultOutboundAccess: false
          natGateway: { id: gateway.id }
          networkSecurityGroup: { id: guard.id }
          serviceEndpoints: [{ service: 'Microsoft.Storage' }]
        }
      }
    ]
  }
}

output subnetId string = '${network.id}/subnets/trainers'
