/// Access, policy and extension kinds.
let policySchemaTable = """
    @rbac.v1
    Role* | What may be done in a namespace.
      rules [PolicyRule]
    ClusterRole* | What may be done in the whole cluster.
      aggregationRule AggregationRule
      rules [PolicyRule]
    AggregationRule
      clusterRoleSelectors [LabelSelector]
    PolicyRule
      apiGroups [string]
      nonResourceURLs [string]
      resourceNames [string]
      resources [string]
      verbs! [string]
    RoleBinding* | Who has a role in a namespace.
      roleRef! RoleRef
      subjects [Subject]
    ClusterRoleBinding* | Who has a role in the whole cluster.
      roleRef! RoleRef
      subjects [Subject]
    RoleRef
      apiGroup string =rbac.authorization.k8s.io
      kind! string
      name! string
    Subject
      apiGroup string
      kind! string
      name! string
      namespace string
    @policy.v1
    PodDisruptionBudget* | How many pods may be away at a time.
      spec PodDisruptionBudgetSpec
      status PodDisruptionBudgetStatus ={}
    PodDisruptionBudgetSpec
      maxUnavailable intOrString
      minAvailable intOrString
      selector LabelSelector atomic
      unhealthyPodEvictionPolicy string
    PodDisruptionBudgetStatus
      conditions [Condition] key=type
      currentHealthy int32 =0
      desiredHealthy int32 =0
      disruptedPods {time}
      disruptionsAllowed int32 =0
      expectedPods int32 =0
      observedGeneration int64
    @policy.v1beta1
    PodSecurityPolicy* | Kept for old manifests; nothing acts on it.
      spec PodSecurityPolicySpec
    PodSecurityPolicySpec
      allowPrivilegeEscalation bool
      allowedCSIDrivers [any]
      allowedCapabilities [string]
      allowedFlexVolumes [any]
      allowedHostPaths [any]
      allowedProcMountTypes [string]
      allowedUnsafeSysctls [string]
      defaultAddCapabilities [string]
      defaultAllowPrivilegeEscalation bool
      forbiddenSysctls [string]
      fsGroup! StrategyOptions
      hostIPC bool
      hostNetwork bool
      hostPID bool
      hostPorts [HostPortRange]
      privileged bool
      readOnlyRootFilesystem bool
      requiredDropCapabilities [string]
      runAsGroup StrategyOptions
      runAsUser! StrategyOptions
      runtimeClass any
      seLinux! SELinuxStrategyOptions
      supplementalGroups! StrategyOptions
      volumes [string]
    StrategyOptions
      ranges [IDRange]
      rule string
    IDRange
      max int64
      min int64
    HostPortRange
      max int32
      min int32
    SELinuxStrategyOptions
      rule string
      seLinuxOptions SELinuxOptions
    @apiextensions.v1
    CustomResourceDefinition* | Adds a kind.
      spec! CustomResourceDefinitionSpec
      status CustomResourceDefinitionStatus
    CustomResourceDefinitionSpec
      conversion CustomResourceConversion
      group! string
      names! CustomResourceDefinitionNames
      preserveUnknownFields bool
      scope! string enum=Cluster,Namespaced
      versions! [CustomResourceDefinitionVersion]
    CustomResourceConversion
      strategy! string
      webhook any
    CustomResourceDefinitionNames
      categories [string]
      kind! string
      listKind string
      plural! string
      shortNames [string]
      singular string
    CustomResourceDefinitionVersion
      additionalPrinterColumns [CustomResourceColumnDefinition]
      deprecated bool
      deprecationWarning string
      name! string
      schema CustomResourceValidation
      selectableFields [any]
      served bool
      storage bool
      subresources CustomResourceSubresources
    CustomResourceColumnDefinition
      description string
      format string
      jsonPath! string
      name! string
      priority int32
      type! string
    CustomResourceValidation
      openAPIV3Schema any
    CustomResourceSubresources
      scale CustomResourceSubresourceScale
      status any
    CustomResourceSubresourceScale
      labelSelectorPath string
      specReplicasPath! string
      statusReplicasPath! string
    CustomResourceDefinitionStatus
      acceptedNames CustomResourceDefinitionNames
      conditions [CustomResourceDefinitionCondition] key=type
      observedGeneration int64
      storedVersions [string]
    CustomResourceDefinitionCondition
      lastTransitionTime time
      message string
      observedGeneration int64
      reason string
      status! string
      type! string
    """
