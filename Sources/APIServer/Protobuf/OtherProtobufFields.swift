/// The numbers of the fields of protobuf messages, from generated.proto of the other groups and meta/v1.
/// A message a line: `number` `name` `:` `type`; no type is a string, `i` an integer, `b` a
/// Boolean, `y` bytes, `d` a double, `.Name` a message of the same group, `*` a list, `{}` a map
/// from strings.
let otherProtobufFields = """
    apps.v1.ControllerRevision 1metadata:meta.v1.ObjectMeta 2data:runtime.RawExtension
      3revision:i
    apps.v1.DaemonSet 1metadata:meta.v1.ObjectMeta 2spec:.DaemonSetSpec 3status:.DaemonSetStatus
    apps.v1.DaemonSetCondition 1type 2status 3lastTransitionTime:meta.v1.Time 4reason 5message
    apps.v1.DaemonSetSpec 1selector:meta.v1.LabelSelector 2template:core.v1.PodTemplateSpec
      3updateStrategy:.DaemonSetUpdateStrategy 4minReadySeconds:i 6revisionHistoryLimit:i
    apps.v1.DaemonSetStatus 1currentNumberScheduled:i 2numberMisscheduled:i
      3desiredNumberScheduled:i 4numberReady:i 5observedGeneration:i 6updatedNumberScheduled:i
      7numberAvailable:i 8numberUnavailable:i 9collisionCount:i
      10conditions:*.DaemonSetCondition
    apps.v1.DaemonSetUpdateStrategy 1type 2rollingUpdate:.RollingUpdateDaemonSet
    apps.v1.Deployment 1metadata:meta.v1.ObjectMeta 2spec:.DeploymentSpec
      3status:.DeploymentStatus
    apps.v1.DeploymentCondition 1type 2status 6lastUpdateTime:meta.v1.Time
      7lastTransitionTime:meta.v1.Time 4reason 5message
    apps.v1.DeploymentSpec 1replicas:i 2selector:meta.v1.LabelSelector
      3template:core.v1.PodTemplateSpec 4strategy:.DeploymentStrategy 5minReadySeconds:i
      6revisionHistoryLimit:i 7paused:b 9progressDeadlineSeconds:i
    apps.v1.DeploymentStatus 1observedGeneration:i 2replicas:i 3updatedReplicas:i
      7readyReplicas:i 4availableReplicas:i 5unavailableReplicas:i 9terminatingReplicas:i
      6conditions:*.DeploymentCondition 8collisionCount:i
    apps.v1.DeploymentStrategy 1type 2rollingUpdate:.RollingUpdateDeployment
    apps.v1.ReplicaSet 1metadata:meta.v1.ObjectMeta 2spec:.ReplicaSetSpec
      3status:.ReplicaSetStatus
    apps.v1.ReplicaSetCondition 1type 2status 3lastTransitionTime:meta.v1.Time 4reason 5message
    apps.v1.ReplicaSetSpec 1replicas:i 4minReadySeconds:i 2selector:meta.v1.LabelSelector
      3template:core.v1.PodTemplateSpec
    apps.v1.ReplicaSetStatus 1replicas:i 2fullyLabeledReplicas:i 4readyReplicas:i
      5availableReplicas:i 7terminatingReplicas:i 3observedGeneration:i
      6conditions:*.ReplicaSetCondition
    apps.v1.RollingUpdateDaemonSet 1maxUnavailable:intstr.IntOrString
      2maxSurge:intstr.IntOrString
    apps.v1.RollingUpdateDeployment 1maxUnavailable:intstr.IntOrString
      2maxSurge:intstr.IntOrString
    apps.v1.RollingUpdateStatefulSetStrategy 1partition:i 2maxUnavailable:intstr.IntOrString
    apps.v1.StatefulSet 1metadata:meta.v1.ObjectMeta 2spec:.StatefulSetSpec
      3status:.StatefulSetStatus
    apps.v1.StatefulSetCondition 1type 2status 3lastTransitionTime:meta.v1.Time 4reason 5message
    apps.v1.StatefulSetOrdinals 1start:i
    apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy 1whenDeleted 2whenScaled
    apps.v1.StatefulSetSpec 1replicas:i 2selector:meta.v1.LabelSelector
      3template:core.v1.PodTemplateSpec 4volumeClaimTemplates:*core.v1.PersistentVolumeClaim
      5serviceName 6podManagementPolicy 7updateStrategy:.StatefulSetUpdateStrategy
      8revisionHistoryLimit:i 9minReadySeconds:i
      10persistentVolumeClaimRetentionPolicy:.StatefulSetPersistentVolumeClaimRetentionPolicy
      11ordinals:.StatefulSetOrdinals
    apps.v1.StatefulSetStatus 1observedGeneration:i 2replicas:i 3readyReplicas:i
      4currentReplicas:i 5updatedReplicas:i 6currentRevision 7updateRevision 9collisionCount:i
      10conditions:*.StatefulSetCondition 11availableReplicas:i
    apps.v1.StatefulSetUpdateStrategy 1type 2rollingUpdate:.RollingUpdateStatefulSetStrategy
    authentication.v1.BoundObjectReference 1kind 2apiVersion 3name 4uID
    authentication.v1.SelfSubjectReview 1metadata:meta.v1.ObjectMeta
      2status:.SelfSubjectReviewStatus
    authentication.v1.SelfSubjectReviewStatus 1userInfo:.UserInfo
    authentication.v1.TokenRequest 1metadata:meta.v1.ObjectMeta 2spec:.TokenRequestSpec
      3status:.TokenRequestStatus
    authentication.v1.TokenRequestSpec 1audiences:*s 4expirationSeconds:i
      3boundObjectRef:.BoundObjectReference
    authentication.v1.TokenRequestStatus 1token 2expirationTimestamp:meta.v1.Time
    authentication.v1.TokenReview 1metadata:meta.v1.ObjectMeta 2spec:.TokenReviewSpec
      3status:.TokenReviewStatus
    authentication.v1.TokenReviewSpec 1token 2audiences:*s
    authentication.v1.TokenReviewStatus 1authenticated:b 2user:.UserInfo 4audiences:*s 3error
    authentication.v1.UserInfo 1username 2uid 3groups:*s 4extra:{.ExtraValue}
    authorization.v1.FieldSelectorAttributes 1rawSelector
      2requirements:*meta.v1.FieldSelectorRequirement
    authorization.v1.LabelSelectorAttributes 1rawSelector
      2requirements:*meta.v1.LabelSelectorRequirement
    authorization.v1.LocalSubjectAccessReview 1metadata:meta.v1.ObjectMeta
      2spec:.SubjectAccessReviewSpec 3status:.SubjectAccessReviewStatus
    authorization.v1.NonResourceAttributes 1path 2verb
    authorization.v1.NonResourceRule 1verbs:*s 2nonResourceURLs:*s
    authorization.v1.ResourceAttributes 1namespace 2verb 3group 4version 5resource 6subresource
      7name 8fieldSelector:.FieldSelectorAttributes 9labelSelector:.LabelSelectorAttributes
    authorization.v1.ResourceRule 1verbs:*s 2apiGroups:*s 3resources:*s 4resourceNames:*s
    authorization.v1.SelfSubjectAccessReview 1metadata:meta.v1.ObjectMeta
      2spec:.SelfSubjectAccessReviewSpec 3status:.SubjectAccessReviewStatus
    authorization.v1.SelfSubjectAccessReviewSpec 1resourceAttributes:.ResourceAttributes
      2nonResourceAttributes:.NonResourceAttributes
    authorization.v1.SelfSubjectRulesReview 1metadata:meta.v1.ObjectMeta
      2spec:.SelfSubjectRulesReviewSpec 3status:.SubjectRulesReviewStatus
    authorization.v1.SelfSubjectRulesReviewSpec 1namespace
    authorization.v1.SubjectAccessReview 1metadata:meta.v1.ObjectMeta
      2spec:.SubjectAccessReviewSpec 3status:.SubjectAccessReviewStatus
    authorization.v1.SubjectAccessReviewSpec 1resourceAttributes:.ResourceAttributes
      2nonResourceAttributes:.NonResourceAttributes 3user 4groups:*s 5extra:{.ExtraValue} 6uid
    authorization.v1.SubjectAccessReviewStatus 1allowed:b 4denied:b 2reason 3evaluationError
    authorization.v1.SubjectRulesReviewStatus 1resourceRules:*.ResourceRule
      2nonResourceRules:*.NonResourceRule 3incomplete:b 4evaluationError
    autoscaling.v1.Scale 1metadata:meta.v1.ObjectMeta 2spec:.ScaleSpec 3status:.ScaleStatus
    autoscaling.v1.ScaleSpec 1replicas:i
    autoscaling.v1.ScaleStatus 1replicas:i 2selector
    batch.v1.CronJob 1metadata:meta.v1.ObjectMeta 2spec:.CronJobSpec 3status:.CronJobStatus
    batch.v1.CronJobSpec 1schedule 8timeZone 2startingDeadlineSeconds:i 3concurrencyPolicy
      4suspend:b 5jobTemplate:.JobTemplateSpec 6successfulJobsHistoryLimit:i
      7failedJobsHistoryLimit:i
    batch.v1.CronJobStatus 1active:*core.v1.ObjectReference 4lastScheduleTime:meta.v1.Time
      5lastSuccessfulTime:meta.v1.Time
    batch.v1.Job 1metadata:meta.v1.ObjectMeta 2spec:.JobSpec 3status:.JobStatus
    batch.v1.JobCondition 1type 2status 3lastProbeTime:meta.v1.Time
      4lastTransitionTime:meta.v1.Time 5reason 6message
    batch.v1.JobSpec 1parallelism:i 2completions:i 3activeDeadlineSeconds:i
      11podFailurePolicy:.PodFailurePolicy 16successPolicy:.SuccessPolicy 7backoffLimit:i
      12backoffLimitPerIndex:i 13maxFailedIndexes:i 4selector:meta.v1.LabelSelector
      5manualSelector:b 6template:core.v1.PodTemplateSpec 8ttlSecondsAfterFinished:i
      9completionMode 10suspend:b 14podReplacementPolicy 15managedBy
    batch.v1.JobStatus 1conditions:*.JobCondition 2startTime:meta.v1.Time
      3completionTime:meta.v1.Time 4active:i 5succeeded:i 6failed:i 11terminating:i
      7completedIndexes 10failedIndexes 8uncountedTerminatedPods:.UncountedTerminatedPods
      9ready:i
    batch.v1.JobTemplateSpec 1metadata:meta.v1.ObjectMeta 2spec:.JobSpec
    batch.v1.PodFailurePolicy 1rules:*.PodFailurePolicyRule
    batch.v1.PodFailurePolicyOnExitCodesRequirement 1containerName 2operator 3values:*i
    batch.v1.PodFailurePolicyOnPodConditionsPattern 1type 2status
    batch.v1.PodFailurePolicyRule 1action 2onExitCodes:.PodFailurePolicyOnExitCodesRequirement
      3onPodConditions:*.PodFailurePolicyOnPodConditionsPattern
    batch.v1.SuccessPolicy 1rules:*.SuccessPolicyRule
    batch.v1.SuccessPolicyRule 1succeededIndexes 2succeededCount:i
    batch.v1.UncountedTerminatedPods 1succeeded:*s 2failed:*s
    coordination.v1.Lease 1metadata:meta.v1.ObjectMeta 2spec:.LeaseSpec
    coordination.v1.LeaseSpec 1holderIdentity 2leaseDurationSeconds:i
      3acquireTime:meta.v1.MicroTime 4renewTime:meta.v1.MicroTime 5leaseTransitions:i 6strategy
      7preferredHolder
    discovery.v1.Endpoint 1addresses:*s 2conditions:.EndpointConditions 3hostname
      4targetRef:core.v1.ObjectReference 5deprecatedTopology:{s} 6nodeName 7zone
      8hints:.EndpointHints
    discovery.v1.EndpointConditions 1ready:b 2serving:b 3terminating:b
    discovery.v1.EndpointHints 1forZones:*.ForZone 2forNodes:*.ForNode
    discovery.v1.EndpointPort 1name 2protocol 3port:i 4appProtocol
    discovery.v1.EndpointSlice 1metadata:meta.v1.ObjectMeta 4addressType 2endpoints:*.Endpoint
      3ports:*.EndpointPort
    discovery.v1.ForNode 1name
    discovery.v1.ForZone 1name
    events.v1.Event 1metadata:meta.v1.ObjectMeta 2eventTime:meta.v1.MicroTime
      3series:.EventSeries 4reportingController 5reportingInstance 6action 7reason
      8regarding:core.v1.ObjectReference 9related:core.v1.ObjectReference 10note 11type
      12deprecatedSource:core.v1.EventSource 13deprecatedFirstTimestamp:meta.v1.Time
      14deprecatedLastTimestamp:meta.v1.Time 15deprecatedCount:i
    events.v1.EventSeries 1count:i 2lastObservedTime:meta.v1.MicroTime
    meta.v1.Condition 1type 2status 3observedGeneration:i 4lastTransitionTime:.Time 5reason
      6message
    meta.v1.DeleteOptions 1gracePeriodSeconds:i 2preconditions:.Preconditions
      3orphanDependents:b 4propagationPolicy 5dryRun:*s
      6ignoreStoreReadErrorWithClusterBreakingPotential:b
    meta.v1.FieldSelectorRequirement 1key 2operator 3values:*s
    meta.v1.LabelSelector 1matchLabels:{s} 2matchExpressions:*.LabelSelectorRequirement
    meta.v1.LabelSelectorRequirement 1key 2operator 3values:*s
    meta.v1.ListMeta 1selfLink 2resourceVersion 3continue 4remainingItemCount:i
    meta.v1.ManagedFieldsEntry 1manager 2operation 3apiVersion 4time:.Time 6fieldsType
      7fieldsV1:.FieldsV1 8subresource
    meta.v1.ObjectMeta 1name 2generateName 3namespace 4selfLink 5uid 6resourceVersion
      7generation:i 8creationTimestamp:.Time 9deletionTimestamp:.Time
      10deletionGracePeriodSeconds:i 11labels:{s} 12annotations:{s}
      13ownerReferences:*.OwnerReference 14finalizers:*s 17managedFields:*.ManagedFieldsEntry
    meta.v1.OwnerReference 5apiVersion 1kind 3name 4uid 6controller:b 7blockOwnerDeletion:b
    meta.v1.Preconditions 1uid 2resourceVersion
    meta.v1.Status 1metadata:.ListMeta 2status 3message 4reason 5details:.StatusDetails 6code:i
    meta.v1.StatusCause 1reason 2message 3field
    meta.v1.StatusDetails 1name 2group 3kind 6uid 4causes:*.StatusCause 5retryAfterSeconds:i
    networking.v1.HTTPIngressPath 1path 3pathType 2backend:.IngressBackend
    networking.v1.HTTPIngressRuleValue 1paths:*.HTTPIngressPath
    networking.v1.IPAddress 1metadata:meta.v1.ObjectMeta 2spec:.IPAddressSpec
    networking.v1.IPAddressSpec 1parentRef:.ParentReference
    networking.v1.IPBlock 1cidr 2except:*s
    networking.v1.Ingress 1metadata:meta.v1.ObjectMeta 2spec:.IngressSpec 3status:.IngressStatus
    networking.v1.IngressBackend 4service:.IngressServiceBackend
      3resource:core.v1.TypedLocalObjectReference
    networking.v1.IngressClass 1metadata:meta.v1.ObjectMeta 2spec:.IngressClassSpec
    networking.v1.IngressClassParametersReference 1apiGroup 2kind 3name 4scope 5namespace
    networking.v1.IngressClassSpec 1controller 2parameters:.IngressClassParametersReference
    networking.v1.IngressLoadBalancerIngress 1ip 2hostname 4ports:*.IngressPortStatus
    networking.v1.IngressLoadBalancerStatus 1ingress:*.IngressLoadBalancerIngress
    networking.v1.IngressPortStatus 1port:i 2protocol 3error
    networking.v1.IngressRule 1host 2ingressRuleValue:.IngressRuleValue
    networking.v1.IngressRuleValue 1http:.HTTPIngressRuleValue
    networking.v1.IngressServiceBackend 1name 2port:.ServiceBackendPort
    networking.v1.IngressSpec 4ingressClassName 1defaultBackend:.IngressBackend
      2tls:*.IngressTLS 3rules:*.IngressRule
    networking.v1.IngressStatus 1loadBalancer:.IngressLoadBalancerStatus
    networking.v1.IngressTLS 1hosts:*s 2secretName
    networking.v1.NetworkPolicy 1metadata:meta.v1.ObjectMeta 2spec:.NetworkPolicySpec
    networking.v1.NetworkPolicyEgressRule 1ports:*.NetworkPolicyPort 2to:*.NetworkPolicyPeer
    networking.v1.NetworkPolicyIngressRule 1ports:*.NetworkPolicyPort 2from:*.NetworkPolicyPeer
    networking.v1.NetworkPolicyPeer 1podSelector:meta.v1.LabelSelector
      2namespaceSelector:meta.v1.LabelSelector 3ipBlock:.IPBlock
    networking.v1.NetworkPolicyPort 1protocol 2port:intstr.IntOrString 3endPort:i
    networking.v1.NetworkPolicySpec 1podSelector:meta.v1.LabelSelector
      2ingress:*.NetworkPolicyIngressRule 3egress:*.NetworkPolicyEgressRule 4policyTypes:*s
    networking.v1.ParentReference 1group 2resource 3namespace 4name
    networking.v1.ServiceBackendPort 1name 2number:i
    networking.v1.ServiceCIDR 1metadata:meta.v1.ObjectMeta 2spec:.ServiceCIDRSpec
      3status:.ServiceCIDRStatus
    networking.v1.ServiceCIDRSpec 1cidrs:*s
    networking.v1.ServiceCIDRStatus 1conditions:*meta.v1.Condition
    policy.v1.Eviction 1metadata:meta.v1.ObjectMeta 2deleteOptions:meta.v1.DeleteOptions
    policy.v1.PodDisruptionBudget 1metadata:meta.v1.ObjectMeta 2spec:.PodDisruptionBudgetSpec
      3status:.PodDisruptionBudgetStatus
    policy.v1.PodDisruptionBudgetSpec 1minAvailable:intstr.IntOrString
      2selector:meta.v1.LabelSelector 3maxUnavailable:intstr.IntOrString
      4unhealthyPodEvictionPolicy
    policy.v1.PodDisruptionBudgetStatus 1observedGeneration:i 2disruptedPods:{meta.v1.Time}
      3disruptionsAllowed:i 4currentHealthy:i 5desiredHealthy:i 6expectedPods:i
      7conditions:*meta.v1.Condition
    rbac.v1.AggregationRule 1clusterRoleSelectors:*meta.v1.LabelSelector
    rbac.v1.ClusterRole 1metadata:meta.v1.ObjectMeta 2rules:*.PolicyRule
      3aggregationRule:.AggregationRule
    rbac.v1.ClusterRoleBinding 1metadata:meta.v1.ObjectMeta 2subjects:*.Subject
      3roleRef:.RoleRef
    rbac.v1.PolicyRule 1verbs:*s 2apiGroups:*s 3resources:*s 4resourceNames:*s
      5nonResourceURLs:*s
    rbac.v1.Role 1metadata:meta.v1.ObjectMeta 2rules:*.PolicyRule
    rbac.v1.RoleBinding 1metadata:meta.v1.ObjectMeta 2subjects:*.Subject 3roleRef:.RoleRef
    rbac.v1.RoleRef 1apiGroup 2kind 3name
    rbac.v1.Subject 1kind 2apiGroup 3name 4namespace
    scheduling.v1.PriorityClass 1metadata:meta.v1.ObjectMeta 2value:i 3globalDefault:b
      4description 5preemptionPolicy
    """
