/// The numbers of the fields of protobuf messages, from generated.proto of core/v1.
/// A message a line: `number` `name` `:` `type`; no type is a string, `i` an integer, `b` a
/// Boolean, `y` bytes, `d` a double, `.Name` a message of the same group, `*` a list, `{}` a map
/// from strings.
let coreProtobufFields = """
    core.v1.AWSElasticBlockStoreVolumeSource 1volumeID 2fsType 3partition:i 4readOnly:b
    core.v1.Affinity 1nodeAffinity:.NodeAffinity 2podAffinity:.PodAffinity
      3podAntiAffinity:.PodAntiAffinity
    core.v1.AppArmorProfile 1type 2localhostProfile
    core.v1.AttachedVolume 1name 2devicePath
    core.v1.AzureDiskVolumeSource 1diskName 2diskURI 3cachingMode 4fsType 5readOnly:b 6kind
    core.v1.AzureFileVolumeSource 1secretName 2shareName 3readOnly:b
    core.v1.Binding 1metadata:meta.v1.ObjectMeta 2target:.ObjectReference
    core.v1.CSIVolumeSource 1driver 2readOnly:b 3fsType 4volumeAttributes:{s}
      5nodePublishSecretRef:.LocalObjectReference
    core.v1.Capabilities 1add:*s 2drop:*s
    core.v1.CephFSVolumeSource 1monitors:*s 2path 3user 4secretFile
      5secretRef:.LocalObjectReference 6readOnly:b
    core.v1.CinderVolumeSource 1volumeID 2fsType 3readOnly:b 4secretRef:.LocalObjectReference
    core.v1.ClientIPConfig 1timeoutSeconds:i
    core.v1.ClusterTrustBundleProjection 1name 2signerName 3labelSelector:meta.v1.LabelSelector
      5optional:b 4path
    core.v1.ConfigMap 1metadata:meta.v1.ObjectMeta 4immutable:b 2data:{s} 3binaryData:{y}
    core.v1.ConfigMapEnvSource 1localObjectReference:.LocalObjectReference 2optional:b
    core.v1.ConfigMapKeySelector 1localObjectReference:.LocalObjectReference 2key 3optional:b
    core.v1.ConfigMapNodeConfigSource 1namespace 2name 3uid 4resourceVersion 5kubeletConfigKey
    core.v1.ConfigMapProjection 1localObjectReference:.LocalObjectReference 2items:*.KeyToPath
      4optional:b
    core.v1.ConfigMapVolumeSource 1localObjectReference:.LocalObjectReference 2items:*.KeyToPath
      3defaultMode:i 4optional:b
    core.v1.Container 1name 2image 3command:*s 4args:*s 5workingDir 6ports:*.ContainerPort
      19envFrom:*.EnvFromSource 7env:*.EnvVar 8resources:.ResourceRequirements
      23resizePolicy:*.ContainerResizePolicy 24restartPolicy 9volumeMounts:*.VolumeMount
      21volumeDevices:*.VolumeDevice 10livenessProbe:.Probe 11readinessProbe:.Probe
      22startupProbe:.Probe 12lifecycle:.Lifecycle 13terminationMessagePath
      20terminationMessagePolicy 14imagePullPolicy 15securityContext:.SecurityContext 16stdin:b
      17stdinOnce:b 18tty:b
    core.v1.ContainerImage 1names:*s 2sizeBytes:i
    core.v1.ContainerPort 1name 2hostPort:i 3containerPort:i 4protocol 5hostIP
    core.v1.ContainerResizePolicy 1resourceName 2restartPolicy
    core.v1.ContainerState 1waiting:.ContainerStateWaiting 2running:.ContainerStateRunning
      3terminated:.ContainerStateTerminated
    core.v1.ContainerStateRunning 1startedAt:meta.v1.Time
    core.v1.ContainerStateTerminated 1exitCode:i 2signal:i 3reason 4message
      5startedAt:meta.v1.Time 6finishedAt:meta.v1.Time 7containerID
    core.v1.ContainerStateWaiting 1reason 2message
    core.v1.ContainerStatus 1name 2state:.ContainerState 3lastState:.ContainerState 4ready:b
      5restartCount:i 6image 7imageID 8containerID 9started:b
      10allocatedResources:{resource.Quantity} 11resources:.ResourceRequirements
      12volumeMounts:*.VolumeMountStatus 13user:.ContainerUser
      14allocatedResourcesStatus:*.ResourceStatus 15stopSignal
    core.v1.ContainerUser 1linux:.LinuxContainerUser
    core.v1.DaemonEndpoint 1Port:i
    core.v1.DownwardAPIProjection 1items:*.DownwardAPIVolumeFile
    core.v1.DownwardAPIVolumeFile 1path 2fieldRef:.ObjectFieldSelector
      3resourceFieldRef:.ResourceFieldSelector 4mode:i
    core.v1.DownwardAPIVolumeSource 1items:*.DownwardAPIVolumeFile 2defaultMode:i
    core.v1.EmptyDirVolumeSource 1medium 2sizeLimit:resource.Quantity
    core.v1.EndpointAddress 1ip 3hostname 4nodeName 2targetRef:.ObjectReference
    core.v1.EndpointPort 1name 2port:i 3protocol 4appProtocol
    core.v1.EndpointSubset 1addresses:*.EndpointAddress 2notReadyAddresses:*.EndpointAddress
      3ports:*.EndpointPort
    core.v1.Endpoints 1metadata:meta.v1.ObjectMeta 2subsets:*.EndpointSubset
    core.v1.EnvFromSource 1prefix 2configMapRef:.ConfigMapEnvSource 3secretRef:.SecretEnvSource
    core.v1.EnvVar 1name 2value 3valueFrom:.EnvVarSource
    core.v1.EnvVarSource 1fieldRef:.ObjectFieldSelector 2resourceFieldRef:.ResourceFieldSelector
      3configMapKeyRef:.ConfigMapKeySelector 4secretKeyRef:.SecretKeySelector
    core.v1.EphemeralContainer 1ephemeralContainerCommon:.EphemeralContainerCommon
      2targetContainerName
    core.v1.EphemeralContainerCommon 1name 2image 3command:*s 4args:*s 5workingDir
      6ports:*.ContainerPort 19envFrom:*.EnvFromSource 7env:*.EnvVar
      8resources:.ResourceRequirements 23resizePolicy:*.ContainerResizePolicy 24restartPolicy
      9volumeMounts:*.VolumeMount 21volumeDevices:*.VolumeDevice 10livenessProbe:.Probe
      11readinessProbe:.Probe 22startupProbe:.Probe 12lifecycle:.Lifecycle
      13terminationMessagePath 20terminationMessagePolicy 14imagePullPolicy
      15securityContext:.SecurityContext 16stdin:b 17stdinOnce:b 18tty:b
    core.v1.EphemeralVolumeSource 1volumeClaimTemplate:.PersistentVolumeClaimTemplate
    core.v1.Event 1metadata:meta.v1.ObjectMeta 2involvedObject:.ObjectReference 3reason 4message
      5source:.EventSource 6firstTimestamp:meta.v1.Time 7lastTimestamp:meta.v1.Time 8count:i
      9type 10eventTime:meta.v1.MicroTime 11series:.EventSeries 12action
      13related:.ObjectReference 14reportingComponent 15reportingInstance
    core.v1.EventSeries 1count:i 2lastObservedTime:meta.v1.MicroTime
    core.v1.EventSource 1component 2host
    core.v1.ExecAction 1command:*s
    core.v1.FCVolumeSource 1targetWWNs:*s 2lun:i 3fsType 4readOnly:b 5wwids:*s
    core.v1.FlexVolumeSource 1driver 2fsType 3secretRef:.LocalObjectReference 4readOnly:b
      5options:{s}
    core.v1.FlockerVolumeSource 1datasetName 2datasetUUID
    core.v1.GCEPersistentDiskVolumeSource 1pdName 2fsType 3partition:i 4readOnly:b
    core.v1.GRPCAction 1port:i 2service
    core.v1.GitRepoVolumeSource 1repository 2revision 3directory
    core.v1.GlusterfsVolumeSource 1endpoints 2path 3readOnly:b
    core.v1.HTTPGetAction 1path 2port:intstr.IntOrString 3host 4scheme 5httpHeaders:*.HTTPHeader
    core.v1.HTTPHeader 1name 2value
    core.v1.HostAlias 1ip 2hostnames:*s
    core.v1.HostIP 1ip
    core.v1.HostPathVolumeSource 1path 2type
    core.v1.ISCSIVolumeSource 1targetPortal 2iqn 3lun:i 4iscsiInterface 5fsType 6readOnly:b
      7portals:*s 8chapAuthDiscovery:b 11chapAuthSession:b 10secretRef:.LocalObjectReference
      12initiatorName
    core.v1.ImageVolumeSource 1reference 2pullPolicy
    core.v1.KeyToPath 1key 2path 3mode:i
    core.v1.Lifecycle 1postStart:.LifecycleHandler 2preStop:.LifecycleHandler 3stopSignal
    core.v1.LifecycleHandler 1exec:.ExecAction 2httpGet:.HTTPGetAction
      3tcpSocket:.TCPSocketAction 4sleep:.SleepAction
    core.v1.LimitRange 1metadata:meta.v1.ObjectMeta 2spec:.LimitRangeSpec
    core.v1.LimitRangeItem 1type 2max:{resource.Quantity} 3min:{resource.Quantity}
      4default:{resource.Quantity} 5defaultRequest:{resource.Quantity}
      6maxLimitRequestRatio:{resource.Quantity}
    core.v1.LimitRangeSpec 1limits:*.LimitRangeItem
    core.v1.LinuxContainerUser 1uid:i 2gid:i 3supplementalGroups:*i
    core.v1.LoadBalancerIngress 1ip 2hostname 3ipMode 4ports:*.PortStatus
    core.v1.LoadBalancerStatus 1ingress:*.LoadBalancerIngress
    core.v1.LocalObjectReference 1name
    core.v1.ModifyVolumeStatus 1targetVolumeAttributesClassName 2status
    core.v1.NFSVolumeSource 1server 2path 3readOnly:b
    core.v1.Namespace 1metadata:meta.v1.ObjectMeta 2spec:.NamespaceSpec 3status:.NamespaceStatus
    core.v1.NamespaceCondition 1type 2status 4lastTransitionTime:meta.v1.Time 5reason 6message
    core.v1.NamespaceSpec 1finalizers:*s
    core.v1.NamespaceStatus 1phase 2conditions:*.NamespaceCondition
    core.v1.Node 1metadata:meta.v1.ObjectMeta 2spec:.NodeSpec 3status:.NodeStatus
    core.v1.NodeAddress 1type 2address
    core.v1.NodeAffinity 1requiredDuringSchedulingIgnoredDuringExecution:.NodeSelector
      2preferredDuringSchedulingIgnoredDuringExecution:*.PreferredSchedulingTerm
    core.v1.NodeCondition 1type 2status 3lastHeartbeatTime:meta.v1.Time
      4lastTransitionTime:meta.v1.Time 5reason 6message
    core.v1.NodeConfigSource 2configMap:.ConfigMapNodeConfigSource
    core.v1.NodeConfigStatus 1assigned:.NodeConfigSource 2active:.NodeConfigSource
      3lastKnownGood:.NodeConfigSource 4error
    core.v1.NodeDaemonEndpoints 1kubeletEndpoint:.DaemonEndpoint
    core.v1.NodeFeatures 1supplementalGroupsPolicy:b
    core.v1.NodeRuntimeHandler 1name 2features:.NodeRuntimeHandlerFeatures
    core.v1.NodeRuntimeHandlerFeatures 1recursiveReadOnlyMounts:b 2userNamespaces:b
    core.v1.NodeSelector 1nodeSelectorTerms:*.NodeSelectorTerm
    core.v1.NodeSelectorRequirement 1key 2operator 3values:*s
    core.v1.NodeSelectorTerm 1matchExpressions:*.NodeSelectorRequirement
      2matchFields:*.NodeSelectorRequirement
    core.v1.NodeSpec 1podCIDR 7podCIDRs:*s 3providerID 4unschedulable:b 5taints:*.Taint
      6configSource:.NodeConfigSource 2externalID
    core.v1.NodeStatus 1capacity:{resource.Quantity} 2allocatable:{resource.Quantity} 3phase
      4conditions:*.NodeCondition 5addresses:*.NodeAddress 6daemonEndpoints:.NodeDaemonEndpoints
      7nodeInfo:.NodeSystemInfo 8images:*.ContainerImage 9volumesInUse:*s
      10volumesAttached:*.AttachedVolume 11config:.NodeConfigStatus
      12runtimeHandlers:*.NodeRuntimeHandler 13features:.NodeFeatures
    core.v1.NodeSwapStatus 1capacity:i
    core.v1.NodeSystemInfo 1machineID 2systemUUID 3bootID 4kernelVersion 5osImage
      6containerRuntimeVersion 7kubeletVersion 8kubeProxyVersion 9operatingSystem 10architecture
      11swap:.NodeSwapStatus
    core.v1.ObjectFieldSelector 1apiVersion 2fieldPath
    core.v1.ObjectReference 1kind 2namespace 3name 4uid 5apiVersion 6resourceVersion 7fieldPath
    core.v1.PersistentVolumeClaim 1metadata:meta.v1.ObjectMeta 2spec:.PersistentVolumeClaimSpec
      3status:.PersistentVolumeClaimStatus
    core.v1.PersistentVolumeClaimCondition 1type 2status 3lastProbeTime:meta.v1.Time
      4lastTransitionTime:meta.v1.Time 5reason 6message
    core.v1.PersistentVolumeClaimSpec 1accessModes:*s 4selector:meta.v1.LabelSelector
      2resources:.VolumeResourceRequirements 3volumeName 5storageClassName 6volumeMode
      7dataSource:.TypedLocalObjectReference 8dataSourceRef:.TypedObjectReference
      9volumeAttributesClassName
    core.v1.PersistentVolumeClaimStatus 1phase 2accessModes:*s 3capacity:{resource.Quantity}
      4conditions:*.PersistentVolumeClaimCondition 5allocatedResources:{resource.Quantity}
      7allocatedResourceStatuses:{s} 8currentVolumeAttributesClassName
      9modifyVolumeStatus:.ModifyVolumeStatus
    core.v1.PersistentVolumeClaimTemplate 1metadata:meta.v1.ObjectMeta
      2spec:.PersistentVolumeClaimSpec
    core.v1.PersistentVolumeClaimVolumeSource 1claimName 2readOnly:b
    core.v1.PhotonPersistentDiskVolumeSource 1pdID 2fsType
    core.v1.Pod 1metadata:meta.v1.ObjectMeta 2spec:.PodSpec 3status:.PodStatus
    core.v1.PodAffinity 1requiredDuringSchedulingIgnoredDuringExecution:*.PodAffinityTerm
      2preferredDuringSchedulingIgnoredDuringExecution:*.WeightedPodAffinityTerm
    core.v1.PodAffinityTerm 1labelSelector:meta.v1.LabelSelector 2namespaces:*s 3topologyKey
      4namespaceSelector:meta.v1.LabelSelector 5matchLabelKeys:*s 6mismatchLabelKeys:*s
    core.v1.PodAntiAffinity 1requiredDuringSchedulingIgnoredDuringExecution:*.PodAffinityTerm
      2preferredDuringSchedulingIgnoredDuringExecution:*.WeightedPodAffinityTerm
    core.v1.PodCondition 1type 7observedGeneration:i 2status 3lastProbeTime:meta.v1.Time
      4lastTransitionTime:meta.v1.Time 5reason 6message
    core.v1.PodDNSConfig 1nameservers:*s 2searches:*s 3options:*.PodDNSConfigOption
    core.v1.PodDNSConfigOption 1name 2value
    core.v1.PodIP 1ip
    core.v1.PodOS 1name
    core.v1.PodReadinessGate 1conditionType
    core.v1.PodResourceClaim 1name 3resourceClaimName 4resourceClaimTemplateName
    core.v1.PodResourceClaimStatus 1name 2resourceClaimName
    core.v1.PodSchedulingGate 1name
    core.v1.PodSecurityContext 1seLinuxOptions:.SELinuxOptions
      8windowsOptions:.WindowsSecurityContextOptions 2runAsUser:i 6runAsGroup:i 3runAsNonRoot:b
      4supplementalGroups:*i 12supplementalGroupsPolicy 5fsGroup:i 7sysctls:*.Sysctl
      9fsGroupChangePolicy 10seccompProfile:.SeccompProfile 11appArmorProfile:.AppArmorProfile
      13seLinuxChangePolicy
    core.v1.PodSpec 1volumes:*.Volume 20initContainers:*.Container 2containers:*.Container
      34ephemeralContainers:*.EphemeralContainer 3restartPolicy 4terminationGracePeriodSeconds:i
      5activeDeadlineSeconds:i 6dnsPolicy 7nodeSelector:{s} 8serviceAccountName 9serviceAccount
      21automountServiceAccountToken:b 10nodeName 11hostNetwork:b 12hostPID:b 13hostIPC:b
      27shareProcessNamespace:b 14securityContext:.PodSecurityContext
      15imagePullSecrets:*.LocalObjectReference 16hostname 17subdomain 18affinity:.Affinity
      19schedulerName 22tolerations:*.Toleration 23hostAliases:*.HostAlias 24priorityClassName
      25priority:i 26dnsConfig:.PodDNSConfig 28readinessGates:*.PodReadinessGate
      29runtimeClassName 30enableServiceLinks:b 31preemptionPolicy
      32overhead:{resource.Quantity} 33topologySpreadConstraints:*.TopologySpreadConstraint
      35setHostnameAsFQDN:b 36os:.PodOS 37hostUsers:b 38schedulingGates:*.PodSchedulingGate
      39resourceClaims:*.PodResourceClaim 40resources:.ResourceRequirements
    core.v1.PodStatus 17observedGeneration:i 1phase 2conditions:*.PodCondition 3message 4reason
      11nominatedNodeName 5hostIP 16hostIPs:*.HostIP 6podIP 12podIPs:*.PodIP
      7startTime:meta.v1.Time 10initContainerStatuses:*.ContainerStatus
      8containerStatuses:*.ContainerStatus 9qosClass
      13ephemeralContainerStatuses:*.ContainerStatus 14resize
      15resourceClaimStatuses:*.PodResourceClaimStatus
    core.v1.PodTemplate 1metadata:meta.v1.ObjectMeta 2template:.PodTemplateSpec
    core.v1.PodTemplateSpec 1metadata:meta.v1.ObjectMeta 2spec:.PodSpec
    core.v1.PortStatus 1port:i 2protocol 3error
    core.v1.PortworxVolumeSource 1volumeID 2fsType 3readOnly:b
    core.v1.PreferredSchedulingTerm 1weight:i 2preference:.NodeSelectorTerm
    core.v1.Probe 1handler:.ProbeHandler 2initialDelaySeconds:i 3timeoutSeconds:i
      4periodSeconds:i 5successThreshold:i 6failureThreshold:i 7terminationGracePeriodSeconds:i
    core.v1.ProbeHandler 1exec:.ExecAction 2httpGet:.HTTPGetAction 3tcpSocket:.TCPSocketAction
      4grpc:.GRPCAction
    core.v1.ProjectedVolumeSource 1sources:*.VolumeProjection 2defaultMode:i
    core.v1.QuobyteVolumeSource 1registry 2volume 3readOnly:b 4user 5group 6tenant
    core.v1.RBDVolumeSource 1monitors:*s 2image 3fsType 4pool 5user 6keyring
      7secretRef:.LocalObjectReference 8readOnly:b
    core.v1.ReplicationController 1metadata:meta.v1.ObjectMeta 2spec:.ReplicationControllerSpec
      3status:.ReplicationControllerStatus
    core.v1.ReplicationControllerCondition 1type 2status 3lastTransitionTime:meta.v1.Time
      4reason 5message
    core.v1.ReplicationControllerSpec 1replicas:i 4minReadySeconds:i 2selector:{s}
      3template:.PodTemplateSpec
    core.v1.ReplicationControllerStatus 1replicas:i 2fullyLabeledReplicas:i 4readyReplicas:i
      5availableReplicas:i 3observedGeneration:i 6conditions:*.ReplicationControllerCondition
    core.v1.ResourceClaim 1name 2request
    core.v1.ResourceFieldSelector 1containerName 2resource 3divisor:resource.Quantity
    core.v1.ResourceHealth 1resourceID 2health
    core.v1.ResourceQuota 1metadata:meta.v1.ObjectMeta 2spec:.ResourceQuotaSpec
      3status:.ResourceQuotaStatus
    core.v1.ResourceQuotaSpec 1hard:{resource.Quantity} 2scopes:*s 3scopeSelector:.ScopeSelector
    core.v1.ResourceQuotaStatus 1hard:{resource.Quantity} 2used:{resource.Quantity}
    core.v1.ResourceRequirements 1limits:{resource.Quantity} 2requests:{resource.Quantity}
      3claims:*.ResourceClaim
    core.v1.ResourceStatus 1name 2resources:*.ResourceHealth
    core.v1.SELinuxOptions 1user 2role 3type 4level
    core.v1.ScaleIOVolumeSource 1gateway 2system 3secretRef:.LocalObjectReference 4sslEnabled:b
      5protectionDomain 6storagePool 7storageMode 8volumeName 9fsType 10readOnly:b
    core.v1.ScopeSelector 1matchExpressions:*.ScopedResourceSelectorRequirement
    core.v1.ScopedResourceSelectorRequirement 1scopeName 2operator 3values:*s
    core.v1.SeccompProfile 1type 2localhostProfile
    core.v1.Secret 1metadata:meta.v1.ObjectMeta 5immutable:b 2data:{y} 4stringData:{s} 3type
    core.v1.SecretEnvSource 1localObjectReference:.LocalObjectReference 2optional:b
    core.v1.SecretKeySelector 1localObjectReference:.LocalObjectReference 2key 3optional:b
    core.v1.SecretProjection 1localObjectReference:.LocalObjectReference 2items:*.KeyToPath
      4optional:b
    core.v1.SecretVolumeSource 1secretName 2items:*.KeyToPath 3defaultMode:i 4optional:b
    core.v1.SecurityContext 1capabilities:.Capabilities 2privileged:b
      3seLinuxOptions:.SELinuxOptions 10windowsOptions:.WindowsSecurityContextOptions
      4runAsUser:i 8runAsGroup:i 5runAsNonRoot:b 6readOnlyRootFilesystem:b
      7allowPrivilegeEscalation:b 9procMount 11seccompProfile:.SeccompProfile
      12appArmorProfile:.AppArmorProfile
    core.v1.Service 1metadata:meta.v1.ObjectMeta 2spec:.ServiceSpec 3status:.ServiceStatus
    core.v1.ServiceAccount 1metadata:meta.v1.ObjectMeta 2secrets:*.ObjectReference
      3imagePullSecrets:*.LocalObjectReference 4automountServiceAccountToken:b
    core.v1.ServiceAccountTokenProjection 1audience 2expirationSeconds:i 3path
    core.v1.ServicePort 1name 2protocol 6appProtocol 3port:i 4targetPort:intstr.IntOrString
      5nodePort:i
    core.v1.ServiceSpec 1ports:*.ServicePort 2selector:{s} 3clusterIP 18clusterIPs:*s 4type
      5externalIPs:*s 7sessionAffinity 8loadBalancerIP 9loadBalancerSourceRanges:*s
      10externalName 11externalTrafficPolicy 12healthCheckNodePort:i
      13publishNotReadyAddresses:b 14sessionAffinityConfig:.SessionAffinityConfig
      19ipFamilies:*s 17ipFamilyPolicy 20allocateLoadBalancerNodePorts:b 21loadBalancerClass
      22internalTrafficPolicy 23trafficDistribution
    core.v1.ServiceStatus 1loadBalancer:.LoadBalancerStatus 2conditions:*meta.v1.Condition
    core.v1.SessionAffinityConfig 1clientIP:.ClientIPConfig
    core.v1.SleepAction 1seconds:i
    core.v1.StorageOSVolumeSource 1volumeName 2volumeNamespace 3fsType 4readOnly:b
      5secretRef:.LocalObjectReference
    core.v1.Sysctl 1name 2value
    core.v1.TCPSocketAction 1port:intstr.IntOrString 2host
    core.v1.Taint 1key 2value 3effect 4timeAdded:meta.v1.Time
    core.v1.Toleration 1key 2operator 3value 4effect 5tolerationSeconds:i
    core.v1.TopologySpreadConstraint 1maxSkew:i 2topologyKey 3whenUnsatisfiable
      4labelSelector:meta.v1.LabelSelector 5minDomains:i 6nodeAffinityPolicy 7nodeTaintsPolicy
      8matchLabelKeys:*s
    core.v1.TypedLocalObjectReference 1apiGroup 2kind 3name
    core.v1.TypedObjectReference 1apiGroup 2kind 3name 4namespace
    core.v1.Volume 1name 2volumeSource:.VolumeSource
    core.v1.VolumeDevice 1name 2devicePath
    core.v1.VolumeMount 1name 2readOnly:b 7recursiveReadOnly 3mountPath 4subPath
      5mountPropagation 6subPathExpr
    core.v1.VolumeMountStatus 1name 2mountPath 3readOnly:b 4recursiveReadOnly
    core.v1.VolumeProjection 1secret:.SecretProjection 2downwardAPI:.DownwardAPIProjection
      3configMap:.ConfigMapProjection 4serviceAccountToken:.ServiceAccountTokenProjection
      5clusterTrustBundle:.ClusterTrustBundleProjection
    core.v1.VolumeResourceRequirements 1limits:{resource.Quantity} 2requests:{resource.Quantity}
    core.v1.VolumeSource 1hostPath:.HostPathVolumeSource 2emptyDir:.EmptyDirVolumeSource
      3gcePersistentDisk:.GCEPersistentDiskVolumeSource
      4awsElasticBlockStore:.AWSElasticBlockStoreVolumeSource 5gitRepo:.GitRepoVolumeSource
      6secret:.SecretVolumeSource 7nfs:.NFSVolumeSource 8iscsi:.ISCSIVolumeSource
      9glusterfs:.GlusterfsVolumeSource
      10persistentVolumeClaim:.PersistentVolumeClaimVolumeSource 11rbd:.RBDVolumeSource
      12flexVolume:.FlexVolumeSource 13cinder:.CinderVolumeSource 14cephfs:.CephFSVolumeSource
      15flocker:.FlockerVolumeSource 16downwardAPI:.DownwardAPIVolumeSource 17fc:.FCVolumeSource
      18azureFile:.AzureFileVolumeSource 19configMap:.ConfigMapVolumeSource
      20vsphereVolume:.VsphereVirtualDiskVolumeSource 21quobyte:.QuobyteVolumeSource
      22azureDisk:.AzureDiskVolumeSource
      23photonPersistentDisk:.PhotonPersistentDiskVolumeSource
      26projected:.ProjectedVolumeSource 24portworxVolume:.PortworxVolumeSource
      25scaleIO:.ScaleIOVolumeSource 27storageos:.StorageOSVolumeSource 28csi:.CSIVolumeSource
      29ephemeral:.EphemeralVolumeSource 30image:.ImageVolumeSource
    core.v1.VsphereVirtualDiskVolumeSource 1volumePath 2fsType 3storagePolicyName
      4storagePolicyID
    core.v1.WeightedPodAffinityTerm 1weight:i 2podAffinityTerm:.PodAffinityTerm
    core.v1.WindowsSecurityContextOptions 1gmsaCredentialSpecName 2gmsaCredentialSpec
      3runAsUserName 4hostProcess:b
    """
