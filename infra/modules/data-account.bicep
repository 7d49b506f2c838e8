// The account that keeps images, labels and queues. Nothing that was acknowledged is lost: versions and thirty days to undelete.
// No lifecycle rule: which old version or prediction nobody needs any more is not for a clock to say.
param name string
param location string
param tags object
param sku string

@description('Lock the account against deletion.')
param protect bool

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isHnsEnabled: false // versioning and hierarchical namespaces exclude each other
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: true
    changeFeed: { enabled: true, retentionInDays: 90 }
    deleteRetentionPolicy: { enabled: true, days: 30 }
    containerDeleteRetentionPolicy: { enabled: true, days: 30 }
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (protect) {
  scope: account
  name: 'keep-the-data'
  properties: { level: 'CanNotDelete', notes: 'Images and labels. infra/README.md says how to delete them on purpose.' }
}
