// Everything that the loop needs on Azure, in three resource groups: the data (made by infra/hooks/preprovision, so that
// `azd down` leaves it alone), the functions, and the trainers' machines.
targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Names this installation; every resource is named after it.')
param environmentName string

@minLength(1)
@description('Where everything is made. Must offer Flex Consumption and the trainers\' machine size.')
param location string

@minLength(3)
@maxLength(39)
@description('The container with the images. Labels and queues are named after it unless it is "images"; a queue takes 63 characters.')
param imagesContainer string = 'images'

@description('A storage account that already holds the images container; empty: make one. Its own settings are left as they are.')
param existingAccount string = ''

@description('The resource group of existingAccount.')
param existingAccountGroup string = ''

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
@description('How the data is replicated. Standard_ZRS needs a region with zones.')
param dataSku string = 'Standard_ZRS'

@description('Lock the account that is made for the data against deletion.')
param protectData bool = true

@description('Object id of whoever runs the commands: uploads images, reads the status, retries. Empty: nobody.')
param operatorId string = ''

@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorType string = 'User'

@description('Object id of the group of annotators. Empty: nobody.')
param annotatorsId string = ''

@allowed(['User', 'Group', 'ServicePrincipal'])
param annotatorsType string = 'Group'

@description('Make scale sets for GPU machines. False: run `trainer serve` on a machine of your own.')
param trainers bool = true

@description('A machine size with an NVIDIA GPU.')
param trainerSize string = 'Standard_NC4as_T4_v3'

@minValue(1)
@maxValue(1440)
@description('Minutes without work after which a machine removes itself.')
param trainerIdleMinutes int = 10

@description('Public SSH key of the machines, which nobody can reach from outside; needed if trainers is true.')
param trainerSshPublicKey string = ''

@minValue(0)
@description('Monthly amount, in the subscription\'s currency, at which e-mails are sent; nothing is switched off. 0: no budget.')
param budgetAmount int = 50

@description('Who gets the budget\'s e-mails, beside the owners of the subscription.')
param budgetEmail string = ''

@description('First day of the month in which the budget starts. Leave it.')
param budgetStart string = utcNow('yyyy-MM-01')

var token = toLower(uniqueString(subscription().id, environmentName, location))
// Only the functions' group has azd's tag: azd looks for the service in there.
var tags = { project: 'activelearning', environment: environmentName }
var dataGroup = 'rg-${environmentName}-data'
var madeAccount = 'st${token}data'
var account = empty(existingAccount) ? madeAccount : existingAccount
var accountGroup = empty(existingAccount) ? dataGroup : existingAccountGroup

// The next three say what functions/activelearning says (layout.py, events.py, store/azure_address.py); a test compares them.
var ownNames = imagesContainer == 'images'
var labelsContainer = ownNames ? 'labels' : '${imagesContainer}-labels'
var queuePrefix = ownNames ? '' : '${imagesContainer}-'
var store = 'https://${account}.blob.${environment().suffixes.storage}${ownNames ? '' : '/${imagesContainer}'}'
var subscriptions = [
  { name: 'new-images', container: imagesContainer, prefix: '', suffix: '', queue: '${queuePrefix}new-images' }
  {
    name: 'reviewed-uploads'
    container: labelsContainer
    prefix: 'batches/'
    suffix: '.csv'
    queue: '${queuePrefix}reviewed-uploads'
  }
]
// In order of preference.
var kinds = trainers ? ['spot', 'regular'] : []
var package = 'activelearning-0.5.0-py3-none-any.whl'

resource functionsGroup 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: union(tags, { 'azd-env-name': environmentName })
}

resource trainersGroup 'Microsoft.Resources/resourceGroups@2024-03-01' = if (trainers) {
  name: 'rg-${environmentName}-trainers'
  location: location
  tags: tags
}

module functionsIdentity 'modules/identity.bicep' = {
  name: 'functions-identity'
  scope: functionsGroup
  params: { name: 'id-functions-${token}', location: location, tags: tags }
}

module eventsIdentity 'modules/identity.bicep' = {
  name: 'events-identity'
  scope: functionsGroup
  params: { name: 'id-events-${token}', location: location, tags: tags }
}

module trainerIdentity 'modules/identity.bicep' = if (trainers) {
  name: 'trainer-identity'
  scope: trainersGroup
  params: { name: 'id-trainer-${token}', location: location, tags: tags }
}

module dataAccount 'modules/data-account.bicep' = if (empty(existingAccount)) {
  name: 'data-account'
  scope: resourceGroup(dataGroup)
  params: { name: madeAccount, location: location, tags: tags, sku: dataSku, protect: protectData }
}

module project 'modules/project.bicep' = {
  name: 'project'
  scope: resourceGroup(accountGroup)
  params: {
    account: account
    imagesContainer: imagesContainer
    imagesExist: !empty(existingAccount)
    labelsContainer: labelsContainer
    queuePrefix: queuePrefix
    functionsId: functionsIdentity.outputs.principalId
    eventsId: eventsIdentity.outputs.principalId
    trainerId: trainers ? trainerIdentity!.outputs.principalId : ''
    operatorId: operatorId
    operatorType: operatorType
    annotatorsId: annotatorsId
    annotatorsType: annotatorsType
  }
  dependsOn: [dataAccount]
}

module host 'modules/host-account.bicep' = {
  name: 'host-account'
  scope: functionsGroup
  params: {
    name: 'st${token}host'
    location: location
    tags: tags
    functionsId: functionsIdentity.outputs.principalId
    eventsId: eventsIdentity.outputs.principalId
    trainerId: trainers ? trainerIdentity!.outputs.principalId : ''
    operatorId: operatorId
    operatorType: operatorType
  }
}

module events 'modules/events.bicep' = {
  name: 'events'
  scope: functionsGroup
  params: {
    name: 'evgt-${token}'
    location: project.outputs.location
    tags: tags
    accountId: project.outputs.accountId
    deadLetterAccountId: host.outputs.id
    deadLetterContainer: host.outputs.deadLetters
    identityId: eventsIdentity.outputs.id
    subscriptions: subscriptions
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: functionsGroup
  params: { token: token, location: location, tags: tags, functionsId: functionsIdentity.outputs.principalId }
}

module functions 'modules/functions.bicep' = {
  name: 'functions'
  scope: functionsGroup
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityId: functionsIdentity.outputs.id
    identityClientId: functionsIdentity.outputs.clientId
    hostAccount: host.outputs.name
    deploymentContainer: host.outputs.deployments
    insightsConnection: monitoring.outputs.connectionString
    storeAccount: account
    store: store
    queuePrefix: queuePrefix
    scaleSets: trainers ? '${machines[0].outputs.id},${machines[1].outputs.id}' : ''
  }
}

module network 'modules/network.bicep' = if (trainers) {
  name: 'network'
  scope: trainersGroup
  params: { token: token, location: location, tags: tags }
}

var packageUri = 'https://${host.outputs.name}.blob.${environment().suffixes.storage}/${host.outputs.packages}/${package}'
var forThisStore = replace(loadTextContent('trainer/cloud-init.yaml'), '__STORE__', store)
var withPackage = replace(forThisStore, '__PACKAGE_URI__', packageUri)
var cloudInit = replace(withPackage, '__IDLE_MINUTES__', string(trainerIdleMinutes))

module machines 'modules/scale-set.bicep' = [
  for kind in kinds: {
    name: 'scale-set-${kind}'
    scope: trainersGroup
    params: {
      name: 'trainer-${kind}'
      spot: kind == 'spot'
      location: location
      tags: tags
      size: trainerSize
      subnetId: network!.outputs.subnetId
      identityId: trainerIdentity!.outputs.id
      sshPublicKey: trainerSshPublicKey
      cloudInit: replace(cloudInit, '__CLIENT_ID__', trainerIdentity!.outputs.clientId)
    }
  }
]

module machineRoles 'modules/machine-roles.bicep' = if (trainers) {
  name: 'machine-roles'
  scope: trainersGroup
  params: {
    token: token
    functionsId: functionsIdentity.outputs.principalId
    trainerId: trainerIdentity!.outputs.principalId
  }
}

var contactEmails = empty(budgetEmail) ? [] : [budgetEmail]

// Of the subscription, not of a group: it watches the data too, and goes on doing so after `azd down`.
resource budget 'Microsoft.Consumption/budgets@2023-11-01' = if (budgetAmount > 0) {
  name: 'activelearning-${environmentName}'
  properties: {
    category: 'Cost'
    amount: budgetAmount
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    filter: {
      dimensions: {
        name: 'ResourceGroupName'
        operator: 'In'
        values: ['rg-${environmentName}', 'rg-${environmentName}-trainers', dataGroup]
      }
    }
    notifications: {
      half: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 50
        thresholdType: 'Actual'
        contactEmails: contactEmails
        contactRoles: ['Owner']
      }
      spent: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: contactEmails
        contactRoles: ['Owner']
      }
      foreseen: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: contactEmails
        contactRoles: ['Owner']
      }
    }
  }
}

output ACTIVELEARNING_STORE string = store
output ACTIVELEARNING_QUEUE_PREFIX string = queuePrefix
output ACTIVELEARNING_FUNCTIONS string = functions.outputs.name
output ACTIVELEARNING_DATA_GROUP string = accountGroup
output ACTIVELEARNING_DATA_ACCOUNT string = account
output ACTIVELEARNING_TRAINERS bool = trainers
output ACTIVELEARNING_PACKAGES_ACCOUNT string = host.outputs.name
output ACTIVELEARNING_PACKAGES_CONTAINER string = host.outputs.packages
output ACTIVELEARNING_PACKAGE string = package
output AZURE_RESOURCE_GROUP string = functionsGroup.name
output APPLICATIONINSIGHTS_NAME string = monitoring.outputs.name
