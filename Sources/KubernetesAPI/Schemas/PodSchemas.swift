/// Pods and what they are made of (v1).
let podSchemaTable = """
    @core.v1
    Pod* | A group of containers that run together on one node.
      spec PodSpec | What is wanted.
      status PodStatus ={} | What was last seen. Read-only.
    PodTemplateSpec | What the pods of a workload look like.
      metadata ObjectMeta
      spec PodSpec
    PodSpec
      activeDeadlineSeconds int64
      affinity Affinity
      automountServiceAccountToken bool
      containers! [Container] key=name | At least one.
      dnsConfig PodDNSConfig
      dnsPolicy string =ClusterFirst enum=ClusterFirst,ClusterFirstWithHostNet,Default,None
      enableServiceLinks bool
      ephemeralContainers [EphemeralContainer] key=name
      hostAliases [HostAlias] key=ip
      hostIPC bool
      hostNetwork bool | True: the pod has the node's network.
      hostPID bool
      hostUsers bool
      hostname string
      hostnameOverride string
      imagePullSecrets [LocalObjectReference] key=name
      initContainers [Container] key=name | Run one after the other before the others.
      nodeName string | The node the pod runs on.
      nodeSelector {string} atomic | Labels the node must have.
      os PodOS
      overhead {quantity}
      preemptionPolicy string
      priority int32
      priorityClassName string
      readinessGates [PodReadinessGate]
      resourceClaims [PodResourceClaim] key=name retainKeys
      resources ResourceRequirements
      restartPolicy string =Always enum=Always,Never,OnFailure
      runtimeClassName string
      schedulerName string =default-scheduler
      schedulingGates [PodSchedulingGate] key=name
      schedulingGroup any
      securityContext PodSecurityContext ={}
      serviceAccount string | Deprecated: serviceAccountName.
      serviceAccountName string
      setHostnameAsFQDN bool
      shareProcessNamespace bool
      subdomain string
      terminationGracePeriodSeconds int64 =30
      tolerations [Toleration]
      topologySpreadConstraints [TopologySpreadConstraint] key=topologyKey,whenUnsatisfiable
      volumes [Volume] key=name retainKeys
      workloadRef any
    PodOS
      name! string
    PodReadinessGate
      conditionType! string
    PodResourceClaim
      name! string
      resourceClaimName string
      resourceClaimTemplateName string
      source any
    PodSchedulingGate
      name! string
    PodDNSConfig
      nameservers [string]
      options [PodDNSConfigOption]
      searches [string]
    PodDNSConfigOption
      name string
      value string
    HostAlias
      hostnames [string]
      ip! string
    Toleration
      effect string
      key string
      operator string
      tolerationSeconds int64
      value string
    TopologySpreadConstraint
      labelSelector LabelSelector atomic
      matchLabelKeys [string]
      maxSkew! int32
      minDomains int32
      nodeAffinityPolicy string
      nodeTaintsPolicy string
      topologyKey! string
      whenUnsatisfiable! string
    PodSecurityContext
      appArmorProfile AppArmorProfile
      fsGroup int64
      fsGroupChangePolicy string
      runAsGroup int64
      runAsNonRoot bool
      runAsUser int64
      seLinuxChangePolicy string
      seLinuxOptions SELinuxOptions
      seccompProfile SeccompProfile
      supplementalGroups [int64]
      supplementalGroupsPolicy string
      sysctls [Sysctl]
      windowsOptions WindowsSecurityContextOptions
    AppArmorProfile
      localhostProfile string
      type! string
    SELinuxOptions
      level string
      role string
      type string
      user string
    SeccompProfile
      localhostProfile string
      type! string
    Sysctl
      name! string
      value string
    WindowsSecurityContextOptions
      gmsaCredentialSpec string
      gmsaCredentialSpecName string
      hostProcess bool
      runAsUserName string
    Container | One container of a pod.
      ...ContainerFields
    EphemeralContainer | A container added to a running pod for debugging.
      ...ContainerFields
      targetContainerName string
    ContainerFields
      args [string] | Arguments of the command; the image's own where absent.
      command [string] | What is run; the image's own where absent.
      env [EnvVar] key=name
      envFrom [EnvFromSource]
      image string
      imagePullPolicy string enum=Always,IfNotPresent,Never
      lifecycle Lifecycle
      livenessProbe Probe | Restarts the container when it fails.
      name! string
      ports [ContainerPort] key=containerPort,protocol
      readinessProbe Probe | Takes the pod out of Services when it fails.
      resizePolicy [ContainerResizePolicy]
      resources ResourceRequirements ={}
      restartPolicy string
      restartPolicyRules [any]
      securityContext SecurityContext
      startupProbe Probe
      stdin bool
      stdinOnce bool
      terminationMessagePath string =/dev/termination-log
      terminationMessagePolicy string =File enum=FallbackToLogsOnError,File
      tty bool
      volumeDevices [VolumeDevice] key=devicePath
      volumeMounts [VolumeMount] key=mountPath
      workingDir string
    ContainerPort
      containerPort! int32
      hostIP string
      hostPort int32
      name string
      protocol string =TCP
    ContainerResizePolicy
      resourceName! string
      restartPolicy! string
    EnvVar
      name! string
      value string
      valueFrom EnvVarSource
    EnvVarSource
      configMapKeyRef ConfigMapKeySelector atomic
      fieldRef ObjectFieldSelector atomic
      fileKeyRef any
      resourceFieldRef ResourceFieldSelector atomic
      secretKeyRef SecretKeySelector atomic
    ConfigMapKeySelector
      key! string
      name string =""
      optional bool
    SecretKeySelector
      key! string
      name string =""
      optional bool
    ObjectFieldSelector
      apiVersion string =v1
      fieldPath! string
    ResourceFieldSelector
      containerName string
      divisor quantity
      resource! string
    EnvFromSource
      configMapRef OptionalReference
      prefix string
      secretRef OptionalReference
    OptionalReference
      name string =""
      optional bool
    Lifecycle
      postStart LifecycleHandler
      preStop LifecycleHandler
      stopSignal string
    LifecycleHandler
      exec ExecAction
      httpGet HTTPGetAction
      sleep SleepAction
      tcpSocket TCPSocketAction
    ExecAction
      command [string]
    HTTPGetAction
      host string
      httpHeaders [HTTPHeader]
      path string =/
      port! intOrString
      scheme string =HTTP
    HTTPHeader
      name! string
      value string
    SleepAction
      seconds! int64
    TCPSocketAction
      host string
      port! intOrString
    GRPCAction
      port! int32
      service string =""
    Probe
      exec ExecAction
      failureThreshold int32 =3
      grpc GRPCAction
      httpGet HTTPGetAction
      initialDelaySeconds int32
      periodSeconds int32 =10
      successThreshold int32 =1
      tcpSocket TCPSocketAction
      terminationGracePeriodSeconds int64
      timeoutSeconds int32 =1
    ResourceRequirements
      claims [ResourceClaim] key=name
      limits {quantity}
      requests {quantity}
    ResourceClaim
      name! string
      request string
    SecurityContext
      allowPrivilegeEscalation bool
      appArmorProfile AppArmorProfile
      capabilities Capabilities
      privileged bool
      procMount string
      readOnlyRootFilesystem bool
      runAsGroup int64
      runAsNonRoot bool
      runAsUser int64
      seLinuxOptions SELinuxOptions
      seccompProfile SeccompProfile
      windowsOptions WindowsSecurityContextOptions
    Capabilities
      add [string]
      drop [string]
    VolumeDevice
      devicePath! string
      name! string
    VolumeMount
      mountPath! string
      mountPropagation string
      name! string
      readOnly bool
      recursiveReadOnly string
      subPath string
      subPathExpr string
    Affinity
      nodeAffinity NodeAffinity
      podAffinity PodAffinity
      podAntiAffinity PodAffinity
    NodeAffinity
      preferredDuringSchedulingIgnoredDuringExecution [PreferredSchedulingTerm]
      requiredDuringSchedulingIgnoredDuringExecution NodeSelector atomic
    NodeSelector
      nodeSelectorTerms! [NodeSelectorTerm]
    NodeSelectorTerm
      matchExpressions [NodeSelectorRequirement]
      matchFields [NodeSelectorRequirement]
    NodeSelectorRequirement
      key! string
      operator! string
      values [string]
    PreferredSchedulingTerm
      preference! NodeSelectorTerm
      weight! int32
    PodAffinity
      preferredDuringSchedulingIgnoredDuringExecution [WeightedPodAffinityTerm]
      requiredDuringSchedulingIgnoredDuringExecution [PodAffinityTerm]
    WeightedPodAffinityTerm
      podAffinityTerm! PodAffinityTerm
      weight! int32
    PodAffinityTerm
      labelSelector LabelSelector atomic
      matchLabelKeys [string]
      mismatchLabelKeys [string]
      namespaceSelector LabelSelector atomic
      namespaces [string]
      topologyKey! string
    PodStatus
      allocatedResources {quantity}
      conditions [PodCondition] key=type
      containerStatuses [ContainerStatus]
      ephemeralContainerStatuses [ContainerStatus]
      extendedResourceClaimStatus any
      hostIP string
      hostIPs [HostIP]
      initContainerStatuses [ContainerStatus]
      message string
      nodeAllocatableResourceClaimStatuses [any]
      nominatedNodeName string
      observedGeneration int64
      phase string | Pending, Running, Succeeded, Failed or Unknown.
      podIP string
      podIPs [PodIP] key=ip
      qosClass string
      reason string
      resize string
      resourceClaimStatuses [any]
      resources ResourceRequirements
      startTime time
    HostIP
      ip! string
    PodIP
      ip! string
    PodCondition
      lastProbeTime time
      lastTransitionTime time
      message string
      observedGeneration int64
      reason string
      status! string
      type! string
    ContainerStatus
      allocatedResources {quantity}
      allocatedResourcesStatus [any]
      containerID string
      image string
      imageID string
      lastState ContainerState
      name! string
      ready bool
      resources ResourceRequirements
      restartCount int32
      started bool
      state ContainerState
      stopSignal string
      user any
      volumeMounts [any]
    ContainerState
      running ContainerStateRunning
      terminated ContainerStateTerminated
      waiting ContainerStateWaiting
    ContainerStateRunning
      startedAt time
    ContainerStateTerminated
      containerID string
      exitCode! int32
      finishedAt time
      message string
      reason string
      signal int32
      startedAt time
    ContainerStateWaiting
      message string
      reason string
    """
