// MARK: - The other resources that are served

extension Resource {
    /// `Event` of `events.k8s.io`: the events of the core group in another form.
    public static let newEvents = Resource(
        group: "events.k8s.io", plural: "events", kind: "Event")
    /// `ReplicationController`
    public static let replicationControllers = Resource(
        plural: "replicationcontrollers", kind: "ReplicationController")
    /// `StatefulSet`
    public static let statefulSets = Resource(
        group: "apps", plural: "statefulsets", kind: "StatefulSet")
    /// `ControllerRevision`
    public static let controllerRevisions = Resource(
        group: "apps", plural: "controllerrevisions", kind: "ControllerRevision")
    /// `Job`
    public static let jobs = Resource(group: "batch", plural: "jobs", kind: "Job")
    /// `Ingress`
    public static let ingresses = Resource(
        group: "networking.k8s.io", plural: "ingresses", kind: "Ingress")
    /// `IngressClass`
    public static let ingressClasses = Resource(
        group: "networking.k8s.io", plural: "ingressclasses", kind: "IngressClass",
        isNamespaced: false)
    /// `NetworkPolicy`
    public static let networkPolicies = Resource(
        group: "networking.k8s.io", plural: "networkpolicies", kind: "NetworkPolicy")
    /// `ServiceCIDR`
    public static let serviceCIDRs = Resource(
        group: "networking.k8s.io", plural: "servicecidrs", kind: "ServiceCIDR",
        isNamespaced: false)
    /// `IPAddress`
    public static let ipAddresses = Resource(
        group: "networking.k8s.io", plural: "ipaddresses", kind: "IPAddress", isNamespaced: false)
    /// `Role`
    public static let roles = Resource(
        group: "rbac.authorization.k8s.io", plural: "roles", kind: "Role")
    /// `RoleBinding`
    public static let roleBindings = Resource(
        group: "rbac.authorization.k8s.io", plural: "rolebindings", kind: "RoleBinding")
    /// `ClusterRole`
    public static let clusterRoles = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterroles", kind: "ClusterRole",
        isNamespaced: false)
    /// `ClusterRoleBinding`
    public static let clusterRoleBindings = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterrolebindings",
        kind: "ClusterRoleBinding", isNamespaced: false)
    /// `PodDisruptionBudget`
    public static let podDisruptionBudgets = Resource(
        group: "policy", plural: "poddisruptionbudgets", kind: "PodDisruptionBudget")
    /// `PodSecurityPolicy`
    public static let podSecurityPolicies = Resource(
        group: "policy", version: "v1beta1", plural: "podsecuritypolicies",
        kind: "PodSecurityPolicy", isNamespaced: false)
    /// `CustomResourceDefinition`
    public static let customResourceDefinitions = Resource(
        group: "apiextensions.k8s.io", plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition", isNamespaced: false)
}
