import JSON

/// The table of the kinds that Portolan brings.
enum BuiltInKinds {
    static let library = SchemaLibrary([
        metaSchemaTable, coreSchemaTable, podSchemaTable, volumeSchemaTable, workloadSchemaTable,
        networkSchemaTable, policySchemaTable,
    ])

    static func all() -> [Kind] {
        cluster() + services() + data() + workloads() + network() + policy() + metalLB()
    }

    /// Makes a kind of the schema `group.version.Kind` and lets `change` fill it in.
    private static func kind(
        _ resource: Resource, _ schemaName: String, _ change: (inout Kind) -> Void = { _ in }
    ) -> Kind {
        var kind = Kind(resource, schema: library[schemaName] ?? .any)
        change(&kind)
        return kind
    }

    // MARK: - Core

    private static func cluster() -> [Kind] {
        [
            kind(.namespaces, "core.v1.Namespace") {
                $0.shortNames = ["ns"]
                $0.hasStatus = true
                $0.nameRule = .label
                $0.columns = PrintedColumn.columns("Status,Age")
                $0.rules.row = CoreRows.namespace
                $0.rules.prepareForCreate = NamespaceRules.prepareForCreate
                $0.rules.prepareForUpdate = NamespaceRules.prepareForUpdate
                $0.rules.defaults = NamespaceRules.defaults
            },
            kind(.nodes, "core.v1.Node") {
                $0.shortNames = ["no"]
                $0.hasStatus = true
                $0.columns = PrintedColumn.columns(
                    "Status,Roles,Age,Version,*Internal-IP,*External-IP,*OS-Image,"
                        + "*Kernel-Version,*Container-Runtime")
                $0.rules.row = CoreRows.node
                $0.rules.keepsStatusOnCreate = true
                $0.rules.defaults = NodeRules.defaults
            },
            kind(.pods, "core.v1.Pod") {
                $0.shortNames = ["po"]
                $0.categories = ["all"]
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns(
                    "Ready,Status,Restarts,Age,*IP,*Node,*Nominated Node,*Readiness Gates")
                $0.rules.row = PodRow.row
                $0.rules.defaults = PodRules.defaults
                $0.rules.prepareForCreate = PodRules.prepareForCreate
                $0.rules.validate = PodRules.validate
                $0.rules.validateUpdate = PodRules.validateUpdate
            },
        ]
    }

    private static func services() -> [Kind] {
        [
            kind(.services, "core.v1.Service") {
                $0.shortNames = ["svc"]
                $0.categories = ["all"]
                $0.hasStatus = true
                $0.nameRule = .label
                $0.columns = PrintedColumn.columns(
                    "Type,Cluster-IP,External-IP,Port(s),Age,*Selector")
                $0.rules.row = CoreRows.service
                $0.rules.warnings = ServiceWarnings.warnings
                $0.rules.validatesAllItself = true
                $0.rules.defaults = ServiceRules.applyDefaults
                $0.rules.validate = ServiceValidator.validate
                $0.rules.validateUpdate = ServiceValidator.validateUpdate
            },
            kind(.endpoints, "core.v1.Endpoints") {
                $0.singular = "endpoints"
                $0.shortNames = ["ep"]
                $0.columns = PrintedColumn.columns("Endpoints,Age")
                $0.rules.row = CoreRows.endpoints
                $0.deprecation =
                    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                $0.rules.validate = EndpointRules.validateEndpoints
            },
        ]
    }

    private static func data() -> [Kind] {
        [
            kind(.configMaps, "core.v1.ConfigMap") {
                $0.shortNames = ["cm"]
                $0.columns = PrintedColumn.columns("#Data,Age")
                $0.rules.row = CoreRows.configMap
                $0.rules.validateUpdate = DataRules.validateUpdate
            },
            kind(.secrets, "core.v1.Secret") {
                $0.columns = PrintedColumn.columns("Type,#Data,Age")
                $0.rules.row = CoreRows.secret
                $0.rules.defaults = DataRules.mergeStringData
                $0.rules.validate = SecretRules.validate
                $0.rules.validateUpdate = DataRules.validateUpdate
            },
            kind(.serviceAccounts, "core.v1.ServiceAccount") {
                $0.shortNames = ["sa"]
                $0.columns = PrintedColumn.columns("#Secrets,Age")
                $0.rules.row = CoreRows.serviceAccount
            },
            kind(.events, "core.v1.Event") {
                $0.shortNames = ["ev"]
                $0.columns = eventColumns
                $0.rules.row = CoreRows.event
                $0.rules.validate = EventForms.validateCore
            },
            kind(.newEvents, "events.v1.Event") {
                $0.shortNames = ["ev"]
                $0.columns = eventColumns
                $0.rules.row = EventForms.row
                $0.rules.validate = EventForms.validateNew
                $0.storedForm = Kind.StoredForm(
                    resource: .events, shown: EventForms.shown, stored: EventForms.stored)
            },
            kind(.replicationControllers, "core.v1.ReplicationController") {
                $0.shortNames = ["rc"]
                $0.categories = ["all"]
                $0.hasStatus = true
                $0.scale = .standard
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns(
                    "#Desired,#Current,#Ready,Age,*Containers,*Images,*Selector")
                $0.rules.row = WorkloadRows.replicaSet
                $0.rules.defaults = WorkloadRules.replicationControllerDefaults
                $0.rules.validate = WorkloadRules.validateReplicationController
                $0.advice =
                    "no controller runs ReplicationControllers yet: this one is kept, but starts "
                    + "no pods; use a Deployment"
            },
        ]
    }

    private static let eventColumns: [PrintedColumn] = {
        var columns = PrintedColumn.columns(
            "Type,Reason,Object,*Subobject,*Source,Message,*First Seen,*#Count,*Name")
        columns[0] = PrintedColumn("Last Seen")
        return columns
    }()

    // MARK: - Workloads

    private static let setColumns = "#Desired,#Current,#Ready,Age,*Containers,*Images,*Selector"

    private static func workloads() -> [Kind] {
        [
            workload(.deployments, "apps.v1.Deployment", "deploy") {
                $0.columns = PrintedColumn.columns(
                    "Ready,#Up-to-date,#Available,Age,*Containers,*Images,*Selector")
                $0.rules.row = WorkloadRows.deployment
                $0.rules.defaults = WorkloadRules.deploymentDefaults
            },
            workload(.replicaSets, "apps.v1.ReplicaSet", "rs") {
                $0.columns = PrintedColumn.columns(setColumns)
                $0.rules.row = WorkloadRows.replicaSet
                $0.rules.defaults = WorkloadRules.templateDefaults
            },
            workload(.daemonSets, "apps.v1.DaemonSet", "ds") {
                $0.scale = nil
                $0.columns = PrintedColumn.columns(
                    "#Desired,#Current,#Ready,#Up-to-date,#Available,Node Selector,Age,"
                        + "*Containers,*Images,*Selector")
                $0.rules.row = WorkloadRows.daemonSet
                $0.rules.defaults = WorkloadRules.daemonSetDefaults
            },
            workload(.statefulSets, "apps.v1.StatefulSet", "sts") {
                $0.columns = PrintedColumn.columns("Ready,Age,*Containers,*Images")
                $0.rules.row = WorkloadRows.statefulSet
                $0.rules.defaults = WorkloadRules.statefulSetDefaults
                $0.rules.validateUpdate = WorkloadRules.validateStatefulSetUpdate
                $0.advice =
                    "no controller runs StatefulSets yet: this one is kept, but starts no pods"
            },
            kind(.controllerRevisions, "apps.v1.ControllerRevision") {
                $0.columns = PrintedColumn.columns("Controller,#Revision,Age")
                $0.rules.row = WorkloadRows.controllerRevision
            },
            kind(.jobs, "batch.v1.Job") {
                $0.categories = ["all"]
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns(
                    "Status,Completions,Duration,Age,*Containers,*Images,*Selector")
                $0.rules.row = WorkloadRows.job
                $0.rules.defaults = WorkloadRules.jobDefaults
                $0.rules.prepareForCreate = WorkloadRules.prepareJobForCreate
                $0.rules.validate = WorkloadRules.validateJob
                $0.rules.validateUpdate = WorkloadRules.validateJobUpdate
                $0.advice = "no controller runs Jobs yet: this one is kept, but starts no pod"
            },
        ]
    }

    private static func workload(
        _ resource: Resource, _ schemaName: String, _ shortName: String,
        _ change: (inout Kind) -> Void
    ) -> Kind {
        kind(resource, schemaName) {
            $0.shortNames = [shortName]
            $0.categories = ["all"]
            $0.hasStatus = true
            $0.scale = .standard
            $0.tracksGeneration = true
            $0.rules.validate = WorkloadRules.validate
            $0.rules.validateUpdate = WorkloadRules.validateUpdate
            change(&$0)
        }
    }

    // MARK: - Network

    private static func network() -> [Kind] {
        [
            kind(.endpointSlices, "discovery.v1.EndpointSlice") {
                $0.columns = PrintedColumn.columns("AddressType,Ports,Endpoints,Age")
                $0.rules.row = CoreRows.endpointSlice
                $0.rules.validate = EndpointRules.validateSlice
                $0.rules.validateUpdate = EndpointRules.validateSliceUpdate
                $0.tracksGeneration = true
            },
            kind(.leases, "coordination.v1.Lease") {
                $0.columns = PrintedColumn.columns("Holder,Age")
                $0.rules.row = CoreRows.lease
            },
            kind(.ingresses, "networking.v1.Ingress") {
                $0.shortNames = ["ing"]
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns("Class,Hosts,Address,Ports,Age")
                $0.rules.row = PolicyRows.ingress
                $0.rules.validate = PolicyRules.validateIngress
                $0.advice = "nothing acts on Ingresses yet: this one is kept, but routes nothing"
            },
            kind(.ingressClasses, "networking.v1.IngressClass") {
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns("Controller,Parameters,Age")
                $0.rules.row = PolicyRows.ingressClass
                $0.rules.validate = PolicyRules.validateIngressClass
                $0.rules.validateUpdate = PolicyRules.validateIngressClassUpdate
            },
            kind(.networkPolicies, "networking.v1.NetworkPolicy") {
                $0.shortNames = ["netpol"]
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns("Pod-Selector,Age")
                $0.rules.row = PolicyRows.networkPolicy
                $0.rules.defaults = PolicyDefaults.networkPolicy
                $0.rules.validate = PolicyRules.validateNetworkPolicy
                $0.advice =
                    "nothing acts on NetworkPolicies yet: this one is kept, but blocks nothing"
            },
        ] + addresses(version: "v1") + addresses(version: "v1beta1")
    }

    /// ServiceCIDRs and IPAddresses. What kubectl 1.31 and 1.32 describe is `v1beta1`, the same
    /// objects under an older name.
    private static func addresses(version: String) -> [Kind] {
        func resource(_ stored: Resource) -> Resource {
            Resource(
                group: stored.group, version: version, plural: stored.plural, kind: stored.kind,
                isNamespaced: false)
        }
        func form(_ stored: Resource) -> Kind.StoredForm? {
            version == stored.version ? nil : .renamed(resource(stored), storedAs: stored)
        }
        return [
            kind(resource(.serviceCIDRs), "networking.v1.ServiceCIDR") {
                $0.hasStatus = true
                $0.storedForm = form(.serviceCIDRs)
                $0.columns = PrintedColumn.columns("CIDRs,Age")
                $0.rules.row = PolicyRows.serviceCIDR
                $0.rules.validate = ServiceCIDRRules.validate
                $0.rules.validateUpdate = ServiceCIDRRules.validateUpdate
            },
            kind(resource(.ipAddresses), "networking.v1.IPAddress") {
                $0.shortNames = ["ip"]
                $0.storedForm = form(.ipAddresses)
                $0.nameRule = .address
                $0.columns = PrintedColumn.columns("ParentRef,Age")
                $0.rules.row = PolicyRows.ipAddress
                $0.rules.validateUpdate = ServiceCIDRRules.validateAddressUpdate
            },
        ]
    }

    // MARK: - Access, policy, extensions

    private static func policy() -> [Kind] {
        let bindingColumns = "Role,Age,*Users,*Groups,*ServiceAccounts"
        return [
            access(.roles, "rbac.v1.Role", "Created At", PolicyRows.createdAt),
            access(.roleBindings, "rbac.v1.RoleBinding", bindingColumns, PolicyRows.binding),
            access(.clusterRoles, "rbac.v1.ClusterRole", "Created At", PolicyRows.createdAt),
            access(
                .clusterRoleBindings, "rbac.v1.ClusterRoleBinding", bindingColumns,
                PolicyRows.binding),
            kind(.podDisruptionBudgets, "policy.v1.PodDisruptionBudget") {
                $0.shortNames = ["pdb"]
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns(
                    "Min Available,Max Unavailable,#Allowed Disruptions,Age")
                $0.rules.row = PolicyRows.disruptionBudget
                $0.rules.validate = PolicyRules.validateBudget
            },
            kind(.podSecurityPolicies, "policy.v1beta1.PodSecurityPolicy") {
                $0.shortNames = ["psp"]
                $0.columns = PrintedColumn.columns(
                    "Priv,Caps,SELinux,RunAsUser,FSGroup,SupGroup,ReadOnlyRootFS,Volumes")
                $0.rules.row = PolicyRows.podSecurityPolicy
                $0.advice =
                    "policy/v1beta1 PodSecurityPolicy is unavailable in Kubernetes since v1.25: "
                    + "this one is kept, but nothing acts on it"
            },
            kind(.customResourceDefinitions, "apiextensions.v1.CustomResourceDefinition") {
                $0.shortNames = ["crd", "crds"]
                $0.categories = ["api-extensions"]
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.columns = PrintedColumn.columns("Created At")
                $0.rules.row = PolicyRows.createdAt
                $0.rules.defaults = CustomResourceRules.defaults
                $0.rules.warnings = CustomResourceRules.warnings
                $0.rules.validate = CustomResourceRules.validate
                $0.rules.validateUpdate = CustomResourceRules.validateUpdate
            },
        ]
    }

    private static func access(
        _ resource: Resource, _ schemaName: String, _ columns: String,
        _ row: @escaping @Sendable (_ object: JSONValue, _ now: Timestamp) -> [JSONValue]
    ) -> Kind {
        kind(resource, schemaName) {
            $0.nameRule = .pathSegment
            $0.columns = PrintedColumn.columns(columns)
            $0.rules.row = row
            $0.rules.defaults = PolicyDefaults.binding
            $0.rules.validateUpdate = PolicyDefaults.validateBindingUpdate
        }
    }

    // MARK: - metallb.io

    private static func metalLB() -> [Kind] {
        [
            kind(.ipAddressPools, "metallb.io.v1beta1.IPAddressPool") {
                $0.columns = PrintedColumn.columns("Auto Assign,Avoid Buggy IPs,Addresses")
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.rules.row = PolicyRows.addressPool
                $0.rules.validate = EndpointRules.validateAddressPool
            },
            kind(.l2Advertisements, "metallb.io.v1beta1.L2Advertisement") {
                $0.columns = PrintedColumn.columns(
                    "IPAddressPools,IPAddressPool Selectors,Interfaces")
                $0.hasStatus = true
                $0.tracksGeneration = true
                $0.rules.row = PolicyRows.l2Advertisement
            },
            bgp(
                metalLB("bgpadvertisements", "BGPAdvertisement"),
                "metallb.io.v1beta1.BGPAdvertisement"),
            bgp(metalLB("bfdprofiles", "BFDProfile"), "metallb.io.v1beta1.BFDProfile"),
            bgp(metalLB("communities", "Community"), "metallb.io.v1beta1.Community"),
            bgp(metalLB("bgppeers", "BGPPeer", "v1beta2"), "metallb.io.v1beta2.BGPPeer"),
            bgp(metalLB("bgppeers", "BGPPeer"), "metallb.io.v1beta2.BGPPeer"),
        ]
    }

    private static func bgp(_ resource: Resource, _ schemaName: String) -> Kind {
        kind(resource, schemaName) {
            $0.advice = "nothing speaks BGP yet: this one is kept, but announces nothing"
        }
    }

    private static func metalLB(
        _ plural: String, _ kind: String, _ version: String = "v1beta1"
    ) -> Resource {
        Resource(group: "metallb.io", version: version, plural: plural, kind: kind)
    }
}
