// The function app: nothing while nothing happens, a few instances when uploads come. It signs in everywhere as one identity.
param name string
param planName string
param location string
param tags object
param identityId string
param identityClientId string
param hostAccount string
param deploymentContainer string

@description('Says where to send to; writing there takes the identity.')
param insightsConnection string

param storeAccount string
param store string
param queuePrefix string

@description('Resource ids of the scale sets, in order of preference, with commas between; empty: no machines.')
param scaleSets string

var suffix = environment().suffixes.storage
var common = {
  ACTIVELEARNING_STORE: store
  ACTIVELEARNING_QUEUE_PREFIX: queuePrefix
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnection
  AZURE_CLIENT_ID: identityClientId
  AzureWebJobsStorage__blobServiceUri: 'https://${hostAccount}.blob.${suffix}'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__credential: 'managedidentity'
  Store__blobServiceUri: 'https://${storeAccount}.blob.${suffix}'
  Store__clientId: identityClientId
  Store__credential: 'managedidentity'
  Store__queueServiceUri: 'https://${storeAccount}.queue.${suffix}'
}
var settings = union(common, empty(scaleSets) ? {} : { ACTIVELEARNING_SCALE_SETS: scaleSets })

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'functions' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: 'https://${hostAccount}.blob.${suffix}/${deploymentContainer}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      runtime: { name: 'python', version: '3.12' }
      // A few would do; 40 is the least that Azure has always taken.
      scaleAndConcurrency: { instanceMemoryMB: 2048, maximumInstanceCount: 40 }
    }
    siteConfig: { ftpsState: 'Disabled', minTlsVersion: '1.2' }
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: site
  name: 'appsettings'
  properties: settings
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: site
  name: 'ftp'
  properties: { allow: false }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: site
  name: 'scm'
  properties: { allow: false }
}

output name string = site.name
