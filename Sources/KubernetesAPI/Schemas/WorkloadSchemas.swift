/// Workloads (apps/v1, batch/v1, autoscaling/v1).
let workloadSchemaTable = """
    @apps.v1
    Deployment* | Declares pods and how they are replaced by newer ones.
      spec DeploymentSpec
      status DeploymentStatus ={}
    DeploymentSpec
      minReadySeconds int32
      paused bool
      progressDeadlineSeconds int32 =600
      replicas int32 =1 | The number of pods wanted.
      revisionHistoryLimit int32 =10
      selector! LabelSelector atomic | Must match the template's labels; cannot be changed.
      strategy DeploymentStrategy ={} retainKeys
      template! PodTemplateSpec | What the pods look like.
    DeploymentStrategy
      rollingUpdate RollingUpdateDeployment
      type string =RollingUpdate enum=Recreate,RollingUpdate
    RollingUpdateDeployment
      maxSurge intOrString =25%
      maxUnavailable intOrString =25%
    DeploymentStatus
      availableReplicas int32
      collisionCount int32
      conditions [DeploymentCondition] key=type
      observedGeneration int64
      readyReplicas int32
      replicas int32
      terminatingReplicas int32
      unavailableReplicas int32
      updatedReplicas int32
    DeploymentCondition
      lastTransitionTime time
      lastUpdateTime time
      message string
      reason string
      status! string
      type! string
    ReplicaSet* | Keeps a number of pods running.
      spec ReplicaSetSpec
      status ReplicaSetStatus ={}
    ReplicaSetSpec
      minReadySeconds int32
      replicas int32 =1
      selector! LabelSelector atomic
      template PodTemplateSpec
    ReplicaSetStatus
      availableReplicas int32
      conditions [ReplicaSetCondition] key=type
      fullyLabeledReplicas int32
      observedGeneration int64
      readyReplicas int32
      replicas int32 =0
      terminatingReplicas int32
    ReplicaSetCondition
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    DaemonSet* | Runs a pod on each node.
      spec DaemonSetSpec
      status DaemonSetStatus ={}
    DaemonSetSpec
      minReadySeconds int32
      revisionHistoryLimit int32 =10
      selector! LabelSelector atomic
      template! PodTemplateSpec
      updateStrategy DaemonSetUpdateStrategy ={}
    DaemonSetUpdateStrategy
      rollingUpdate RollingUpdateDaemonSet
      type string =RollingUpdate enum=OnDelete,RollingUpdate
    RollingUpdateDaemonSet
      maxSurge intOrString =0
      maxUnavailable intOrString =1
    DaemonSetStatus
      collisionCount int32
      conditions [DaemonSetCondition] key=type
      currentNumberScheduled int32 =0
      desiredNumberScheduled int32 =0
      numberAvailable int32
      numberMisscheduled int32 =0
      numberReady int32 =0
      numberUnavailable int32
      observedGeneration int64
      updatedNumberScheduled int32
    DaemonSetCondition
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    StatefulSet* | Pods with stable names and storage.
      spec StatefulSetSpec
      status StatefulSetStatus ={}
    StatefulSetSpec
      minReadySeconds int32
      ordinals StatefulSetOrdinals
      persistentVolumeClaimRetentionPolicy StatefulSetPersistentVolumeClaimRetentionPolicy ={}
      podManagementPolicy string =OrderedReady enum=OrderedReady,Parallel
      replicas int32 =1
      revisionHistoryLimit int32 =10
      selector! LabelSelector atomic
      serviceName string
      template! PodTemplateSpec
      updateStrategy StatefulSetUpdateStrategy ={}
      volumeClaimTemplates [PersistentVolumeClaim]
    StatefulSetOrdinals
      start int32
    StatefulSetPersistentVolumeClaimRetentionPolicy
      whenDeleted string =Retain
      whenScaled string =Retain
    StatefulSetUpdateStrategy
      rollingUpdate RollingUpdateStatefulSetStrategy
      type string =RollingUpdate enum=OnDelete,RollingUpdate
    RollingUpdateStatefulSetStrategy
      maxUnavailable intOrString
      partition int32 =0
    StatefulSetStatus
      availableReplicas int32 =0
      collisionCount int32
      conditions [StatefulSetCondition] key=type
      currentReplicas int32
      currentRevision string
      observedGeneration int64
      readyReplicas int32
      replicas int32 =0
      updateRevision string
      updatedReplicas int32
    StatefulSetCondition
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    ControllerRevision* | A state that a workload can go back to.
      data any
      revision! int64
    @batch.v1
    Job* | Pods that run to completion.
      spec JobSpec
      status JobStatus ={}
    JobSpec
      activeDeadlineSeconds int64
      backoffLimit int32
      backoffLimitPerIndex int32
      completionMode string =NonIndexed
      completions int32
      managedBy string
      manualSelector bool
      maxFailedIndexes int32
      parallelism int32
      podFailurePolicy any
      podReplacementPolicy string
      selector LabelSelector atomic
      successPolicy any
      suspend bool =false
      template! PodTemplateSpec
      ttlSecondsAfterFinished int32
    JobStatus
      active int32
      completedIndexes string
      completionTime time
      conditions [JobCondition] key=type
      failed int32
      failedIndexes string
      ready int32
      startTime time
      succeeded int32
      terminating int32
      uncountedTerminatedPods any
    JobCondition
      lastProbeTime time
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    @autoscaling.v1
    Scale* | How many replicas something has.
      spec ScaleSpec
      status ScaleStatus
    ScaleSpec
      replicas int32
    ScaleStatus
      replicas! int32
      selector string
    """
