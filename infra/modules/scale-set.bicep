// Machines that are not there until somebody asks: capacity 0 here, raised by the functions; each removes itself when idle.
param name string

@description('Spot machines: cheaper, and taken away at half a minute\'s notice.')
param spot bool

param location string
param tags object
param size string
param subnetId string
param identityId string
param sshPublicKey string
param cloudInit string

resource machines 'Microsoft.Compute/virtualMachineScaleSets@2024-07-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  sku: { name: size, tier: 'Standard', capacity: 0 }
  properties: {
    orchestrationMode: 'Flexible'
    platformFaultDomainCount: 1
    virtualMachineProfile: {
      priority: spot ? 'Spot' : 'Regular'
      evictionPolicy: spot ? 'Delete' : null
      billingProfile: spot ? { maxPrice: -1 } : null // -1: up to the regular price
      osProfile: {
        computerNamePrefix: 'trainer'
        adminUsername: 'trainer'
        customData: base64(cloudInit)
        linuxConfiguration: {
          disablePasswordAuthentication: true
          ssh: { publicKeys: [{ path: '/home/trainer/.ssh/authorized_keys', keyData: sshPublicKey }] }
        }
      }
      storageProfile: {
        // Ubuntu 24.04, for its Python 3.12, with NVIDIA's driver. The newest build: it carries the security updates, and no image is kept
        // for ever.
        imageReference: { publisher: 'microsoft-dsvm', offer: 'ubuntu-hpc', sku: '2404', version: 'latest' }
        osDisk: {
          createOption: 'FromImage'
          deleteOption: 'Delete'
          diskSizeGB: 128
          managedDisk: { storageAccountType: 'StandardSSD_LRS' }
        }
      }
      scheduledEventsProfile: { terminateNotificationProfile: { enable: true, notBeforeTimeout: 'PT5M' } }
      networkProfile: {
        networkApiVersion: '2020-11-01'
        networkInterfaceConfigurations: [
          {
            name: 'trainer'
            properties: {
              primary: true
              deleteOption: 'Delete'
              ipConfigurations: [{ name: 'trainer', properties: { primary: true, subnet: { id: subnetId } } }]
            }
          }
        ]
      }
    }
  }
}

output id string = machines.id
