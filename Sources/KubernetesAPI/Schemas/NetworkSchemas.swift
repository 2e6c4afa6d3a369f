/// Kinds around Services (discovery, networking, coordination, metallb.io).
let networkSchemaTable = """
    @discovery.v1
    EndpointSlice* | A part of the addresses that serve a Service.
      addressType! string enum=FQDN,IPv4,IPv6 | Cannot be changed.
      endpoints [Endpoint] | At most 1000.
      ports [EndpointPort] | Every endpoint serves these.
    Endpoint
      addresses! [string] set
      conditions EndpointConditions
      deprecatedTopology {string}
      hints EndpointHints
      hostname string
      nodeName string
      targetRef ObjectReference
      zone string
    EndpointConditions
      ready bool
      serving bool
      terminating bool
    EndpointHints
      forNodes [ForNode]
      forZones [ForZone]
    ForNode
      name! string
    ForZone
      name! string
    EndpointPort
      appProtocol string
      name string =""
      port int32
      protocol string =TCP
    @events.v1
    Event* | A report of something that happened to an object.
      action string | What was done.
      deprecatedCount int32
      deprecatedFirstTimestamp time
      deprecatedLastTimestamp time
      deprecatedSource EventSource ={}
      eventTime microTime | When it was first observed. Required.
      note string | A sentence for people.
      reason string | A short CamelCase word for machines.
      regarding ObjectReference | What the event is about.
      related ObjectReference
      reportingController string =""
      reportingInstance string =""
      series EventSeries
      type string | Normal or Warning.
    EventSeries
      count! int32
      lastObservedTime! microTime
    @coordination.v1
    Lease* | Who leads, or who is alive, and since when.
      spec LeaseSpec
    LeaseSpec
      acquireTime microTime
      holderIdentity string
      leaseDurationSeconds int32
      leaseTransitions int32
      preferredHolder string
      renewTime microTime
      strategy string
    @networking.v1
    Ingress* | Routes HTTP requests to Services.
      spec IngressSpec
      status IngressStatus ={}
    IngressSpec
      defaultBackend IngressBackend
      ingressClassName string
      rules [IngressRule]
      tls [IngressTLS]
    IngressBackend
      resource TypedLocalObjectReference atomic
      service IngressServiceBackend
    IngressServiceBackend
      name! string
      port ServiceBackendPort
    ServiceBackendPort
      name string
      number int32
    TypedLocalObjectReference
      apiGroup string
      kind! string
      name! string
    IngressRule
      host string
      http HTTPIngressRuleValue
    HTTPIngressRuleValue
      paths! [HTTPIngressPath]
    HTTPIngressPath
      backend! IngressBackend
      path string
      pathType! string enum=Exact,ImplementationSpecific,Prefix
    IngressTLS
      hosts [string]
      secretName string
    IngressStatus
      loadBalancer IngressLoadBalancerStatus ={}
    IngressLoadBalancerStatus
      ingress [IngressLoadBalancerIngress]
    IngressLoadBalancerIngress
      hostname string
      ip string
      ports [PortStatus]
    IngressClass* | A kind of ingress controller.
      spec IngressClassSpec
    IngressClassSpec
      controller string
      parameters IngressClassParametersReference
    IngressClassParametersReference
      apiGroup string
      kind! string
      name! string
      namespace string
      scope string =Cluster
    NetworkPolicy* | Which traffic pods may have.
      spec NetworkPolicySpec
    NetworkPolicySpec
      egress [NetworkPolicyEgressRule]
      ingress [NetworkPolicyIngressRule]
      podSelector LabelSelector atomic
      policyTypes [string]
    NetworkPolicyEgressRule
      ports [NetworkPolicyPort]
      to [NetworkPolicyPeer]
    NetworkPolicyIngressRule
      from [NetworkPolicyPeer]
      ports [NetworkPolicyPort]
    NetworkPolicyPort
      endPort int32
      port intOrString
      protocol string =TCP
    NetworkPolicyPeer
      ipBlock IPBlock
      namespaceSelector LabelSelector atomic
      podSelector LabelSelector atomic
    IPBlock
      cidr! string
      except [string]
    ServiceCIDR* | A range that cluster addresses of Services come from.
      spec ServiceCIDRSpec
      status ServiceCIDRStatus
    ServiceCIDRSpec
      cidrs [string] | One or two, of different families.
    ServiceCIDRStatus
      conditions [Condition] key=type
    IPAddress* | An address that is taken.
      spec IPAddressSpec
    IPAddressSpec
      parentRef! ParentReference
    ParentReference
      group string
      name! string
      namespace string
      resource! string
    @metallb.io.v1beta1
    IPAddressPool* | Addresses that load balancers may get.
      spec! IPAddressPoolSpec
      status IPAddressPoolStatus
    IPAddressPoolSpec
      addresses! [string] | Prefixes or ranges, such as 10.1.0.2-10.1.0.100.
      autoAssign bool =true
      avoidBuggyIPs bool =false
      serviceAllocation ServiceAllocation
    ServiceAllocation
      namespaceSelectors [LabelSelector]
      namespaces [string]
      priority int32
      serviceSelectors [LabelSelector]
    IPAddressPoolStatus
      assignedIPv4 int64
      assignedIPv6 int64
      availableIPv4 int64
      availableIPv6 int64
    L2Advertisement* | Pools whose addresses are announced by ARP and NDP.
      spec L2AdvertisementSpec
      status any
    L2AdvertisementSpec
      interfaces [string]
      ipAddressPoolSelectors [LabelSelector]
      ipAddressPools [string]
      nodeSelectors [LabelSelector]
      serviceSelectors [LabelSelector]
    BGPAdvertisement* | Pools whose addresses are announced by BGP.
      spec BGPAdvertisementSpec
      status any
    BGPAdvertisementSpec
      aggregationLength int32 =32
      aggregationLengthV6 int32 =128
      communities [string]
      ipAddressPoolSelectors [LabelSelector]
      ipAddressPools [string]
      localPref int64
      nodeSelectors [LabelSelector]
      peers [string]
      serviceSelectors [LabelSelector]
    BFDProfile* | Timers of bidirectional forwarding detection.
      spec BFDProfileSpec
      status any
    BFDProfileSpec
      detectMultiplier int32
      echoInterval int32
      echoMode bool
      minimumTtl int32
      passiveMode bool
      receiveInterval int32
      transmitInterval int32
    Community* | Names for BGP communities.
      spec CommunitySpec
      status any
    CommunitySpec
      communities [CommunityAlias]
    CommunityAlias
      name string
      value string
    @metallb.io.v1beta2
    BGPPeer* | A router that routes are announced to.
      spec BGPPeerSpec
      status any
    BGPPeerSpec
      bfdProfile string
      connectTime duration
      disableMP bool =false
      dualStackAddressFamily bool =false
      dynamicASN string
      ebgpMultiHop bool
      enableGracefulRestart bool
      holdTime duration
      interface string
      keepaliveTime duration
      myASN! int64
      nodeSelectors [LabelSelector]
      password string
      passwordSecret SecretReference
      peerASN int64
      peerAddress string
      peerPort int32 =179
      routerID string
      sourceAddress string
      vrf string
    SecretReference
      name string
      namespace string
    """
