/// What every kind shares (meta/v1).
let metaSchemaTable = """
    @meta.v1
    ObjectMeta | The data that every stored object has: its name, namespace, labels and so on.
      annotations {string} | Free key-value pairs for tools; not selectable.
      creationTimestamp time | When the server made the object. Read-only.
      deletionGracePeriodSeconds int64 | Seconds given to end gracefully. Read-only.
      deletionTimestamp time | When the object is to be gone. Read-only.
      finalizers [string] set merge | What must be done before the object is removed.
      generateName string | A prefix from which the server makes a unique name.
      generation int64 | Counts the changes of the wanted state. Read-only.
      labels {string} | Key-value pairs by which objects are selected.
      managedFields [ManagedFieldsEntry] | Which manager set which fields.
      name string | Unique within a namespace; cannot be changed.
      namespace string | The space the name is unique in; cannot be changed.
      ownerReferences [OwnerReference] key=uid | The objects this one depends on.
      resourceVersion string | Changes with each write. Read-only.
      selfLink string | No longer used.
      uid string | Unique in time and space. Read-only.
    ManagedFieldsEntry
      apiVersion string
      fieldsType string
      fieldsV1 any
      manager string
      operation string
      subresource string
      time time
    OwnerReference
      apiVersion! string
      blockOwnerDeletion bool
      controller bool
      kind! string
      name! string
      uid! string
    LabelSelector | Selects objects by their labels; all terms must hold.
      matchExpressions [LabelSelectorRequirement] | Terms with operators.
      matchLabels {string} | Labels that must be there with these values.
    LabelSelectorRequirement
      key! string
      operator! string
      values [string]
    Condition
      lastTransitionTime! time
      message string
      observedGeneration int64
      reason! string
      status! string
      type! string
    ListMeta | What a list knows about itself.
      continue string | Where the next part of the list begins.
      remainingItemCount int64
      resourceVersion string
      selfLink string
    Preconditions
      resourceVersion string
      uid string
    DeleteOptions | How an object is deleted.
      apiVersion string
      dryRun [string]
      gracePeriodSeconds int64
      ignoreStoreReadErrorWithClusterBreakingPotential bool
      kind string
      orphanDependents bool
      preconditions Preconditions
      propagationPolicy string
    Status | The outcome of a call.
      apiVersion string
      code int32
      details StatusDetails
      kind string
      message string
      metadata ListMeta
      reason string
      status string
    StatusDetails
      causes [StatusCause]
      group string
      kind string
      name string
      retryAfterSeconds int32
      uid string
    StatusCause
      field string
      message string
      reason string
    Patch | A patch in one of the four formats.
    """
