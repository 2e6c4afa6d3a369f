/// The core group without pods (v1).
let coreSchemaTable = """
    @core.v1
    Namespace* | A scope for names.
      spec NamespaceSpec
      status NamespaceStatus ={}
    NamespaceSpec
      finalizers [string] | What must be done before the namespace is removed.
    NamespaceStatus
      conditions [NamespaceCondition] key=type
      phase string | Active or Terminating.
    NamespaceCondition
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    ConfigMap* | Configuration data for pods to consume.
      binaryData {bytes} | Base64 values, for what is no UTF-8.
      data {string} | The values.
      immutable bool | True forbids changes of the data.
    Secret* | Secret data of which the total must stay below 1 MiB.
      data {bytes} | Base64 values.
      immutable bool | True forbids changes of the data.
      stringData {string} | Values in plain text, write-only: they are merged into data.
      type string =Opaque | What the secret is for.
    ServiceAccount* | An identity for the processes of a pod.
      automountServiceAccountToken bool
      imagePullSecrets [LocalObjectReference]
      secrets [ObjectReference] key=name
    LocalObjectReference
      name string =""
    ObjectReference
      apiVersion string
      fieldPath string
      kind string
      name string
      namespace string
      resourceVersion string
      uid string
    Event* | A report of something that happened to an object.
      action string
      count int32
      eventTime microTime
      firstTimestamp time
      involvedObject! ObjectReference | What the event is about.
      lastTimestamp time
      message string | A sentence for people.
      reason string | A short CamelCase word for machines.
      related ObjectReference
      reportingComponent string =""
      reportingInstance string =""
      series EventSeries
      source EventSource ={}
      type string | Normal or Warning.
    EventSeries
      count int32
      lastObservedTime microTime
    EventSource
      component string
      host string
    Endpoints* | The addresses that serve a Service (deprecated: EndpointSlice).
      subsets [EndpointSubset]
    EndpointSubset
      addresses [EndpointAddress]
      notReadyAddresses [EndpointAddress]
      ports [EndpointPort]
    EndpointAddress
      hostname string
      ip! string
      nodeName string
      targetRef ObjectReference
    EndpointPort
      appProtocol string
      name string
      port! int32
      protocol string =TCP
    PersistentVolumeClaim* | A request for storage.
      spec PersistentVolumeClaimSpec
      status any
    Service* | A named abstraction of software, such as a database: the port that the proxy \
    listens on, and the selector that says which pods answer.
      spec ServiceSpec | What is wanted.
      status ServiceStatus ={} | What was last seen. Read-only.
    ServiceSpec | The attributes that a user creates on a service.
      allocateLoadBalancerNodePorts bool | False: a LoadBalancer needs no node ports. Default true.
      clusterIP string | The address inside the cluster; None for a headless service.
      clusterIPs [string] | One address a family, the primary first.
      externalIPs [string] | Addresses outside Portolan's care for which nodes accept traffic.
      externalName string | The DNS name a service of type ExternalName stands for.
      externalTrafficPolicy string enum=Cluster,Local | Local keeps the client's address.
      healthCheckNodePort int32 | Where load balancers ask for health under policy Local.
      internalTrafficPolicy string enum=Cluster,Local | Local uses endpoints of the own node only.
      ipFamilies [string] | IPv4, IPv6 or both.
      ipFamilyPolicy string enum=SingleStack,PreferDualStack,RequireDualStack
      loadBalancerClass string | The implementation that should serve this service.
      loadBalancerIP string | A request for one address (deprecated).
      loadBalancerSourceRanges [string] | Clients that the load balancer lets in.
      ports [ServicePort] key=port,protocol | The ports this service exposes.
      publishNotReadyAddresses bool | True: endpoints count as ready whether they are or not.
      selector {string} atomic | Traffic goes to pods with these labels.
      sessionAffinity string =None enum=ClientIP,None | ClientIP keeps a client on one pod.
      sessionAffinityConfig SessionAffinityConfig
      trafficDistribution string | PreferSameZone, PreferSameNode or PreferClose.
      type string =ClusterIP enum=ClusterIP,ExternalName,LoadBalancer,NodePort | How it is exposed.
    ServicePort | One port of a service.
      appProtocol string | The application protocol, as a hint.
      name string | The name within the service; needed where there is more than one port.
      nodePort int32 | The port on each node; allocated where it is needed and not given.
      port! int32 | The port the service exposes.
      protocol string =TCP | TCP, UDP or SCTP.
      targetPort intOrString | The number or name of the port on the pods.
    SessionAffinityConfig
      clientIP ClientIPConfig
    ClientIPConfig
      timeoutSeconds int32 | Seconds a client stays on its pod, 1 to 86400.
    ServiceStatus
      conditions [Condition] key=type
      loadBalancer LoadBalancerStatus ={}
    LoadBalancerStatus
      ingress [LoadBalancerIngress] | The points traffic comes in by.
    LoadBalancerIngress
      hostname string
      ip string
      ipMode string | VIP or Proxy.
      ports [PortStatus]
    PortStatus
      error string
      port! int32
      protocol! string
    Node* | A worker that runs pods.
      spec NodeSpec
      status NodeStatus ={}
    NodeSpec
      configSource any
      externalID string
      podCIDR string
      podCIDRs [string] set merge
      providerID string
      taints [Taint]
      unschedulable bool | True: no new pods.
    Taint
      effect! string
      key! string
      timeAdded time
      value string
    NodeStatus
      addresses [NodeAddress] key=type
      allocatable {quantity}
      capacity {quantity}
      conditions [NodeCondition] key=type
      config any
      daemonEndpoints NodeDaemonEndpoints
      declaredFeatures [string]
      features any
      images [ContainerImage]
      nodeInfo NodeSystemInfo
      phase string
      runtimeHandlers [any]
      volumesAttached [any]
      volumesInUse [string]
    NodeAddress
      address! string
      type! string
    NodeCondition
      lastHeartbeatTime time
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    NodeDaemonEndpoints
      kubeletEndpoint DaemonEndpoint
    DaemonEndpoint
      Port! int32
    ContainerImage
      names [string]
      sizeBytes int64
    NodeSystemInfo
      architecture string =""
      bootID string =""
      containerRuntimeVersion string =""
      kernelVersion string =""
      kubeProxyVersion string =""
      kubeletVersion string =""
      machineID string =""
      operatingSystem string =""
      osImage string =""
      swap any
      systemUUID string =""
    ReplicationController* | Keeps a number of pods running.
      spec ReplicationControllerSpec
      status ReplicationControllerStatus ={}
    ReplicationControllerSpec
      minReadySeconds int32
      replicas int32 =1
      selector {string} atomic
      template PodTemplateSpec
    ReplicationControllerStatus
      availableReplicas int32
      conditions [ReplicationControllerCondition] key=type
      fullyLabeledReplicas int32
      observedGeneration int64
      readyReplicas int32
      replicas int32 =0
    ReplicationControllerCondition
      lastTransitionTime time
      message string
      reason string
      status! string
      type! string
    """
