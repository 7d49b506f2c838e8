// Event Grid puts a message into a queue for every new blob that somebody waits for. It signs in as an identity, without keys.
param name string

@description('Must be the account\'s.')
param location string

param tags object
param accountId string
param deadLetterAccountId string
param deadLetterContainer string
param identityId string

@description('Objects { name, container, prefix, suffix, queue }, as `events.SUBSCRIPTIONS` has them.')
param subscriptions array

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: { source: accountId, topicType: 'Microsoft.Storage.StorageAccounts' }
}

// One after the other: the topic takes one change at a time.
@batchSize(1)
resource delivery 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for entry in subscriptions: {
    parent: topic
    name: entry.name
    properties: {
      eventDeliverySchema: 'EventGridSchema'
      filter: {
        includedEventTypes: ['Microsoft.Storage.BlobCreated']
        isSubjectCaseSensitive: true
        subjectBeginsWith: '/blobServices/default/containers/${entry.container}/blobs/${entry.prefix}'
        subjectEndsWith: entry.suffix
        advancedFilters: [
          {
            operatorType: 'StringIn'
            key: 'data.api'
            values: ['PutBlob', 'PutBlockList', 'CopyBlob', 'FlushWithClose']
          }
        ]
      }
      deliveryWithResourceIdentity: {
        identity: { type: 'UserAssigned', userAssignedIdentity: identityId }
        destination: {
          endpointType: 'StorageQueue'
          // -1: a message waits until somebody takes it.
          properties: { resourceId: accountId, queueName: entry.queue, queueMessageTimeToLiveInSeconds: -1 }
        }
      }
      deadLetterWithResourceIdentity: {
        identity: { type: 'UserAssigned', userAssignedIdentity: identityId }
        deadLetterDestination: {
          endpointType: 'StorageBlob'
          properties: { resourceId: deadLetterAccountId, blobContainerName: deadLetterContainer }
        }
      }
      retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
    }
  }
]
