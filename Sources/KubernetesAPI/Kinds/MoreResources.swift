extension Resource {
    public static let replicationControllers = Resource(
        plural: "replicationcontrollers", kind: "ReplicationController")
    public static let statefulSets = Resource(
        group: "apps", plural: "statefulsets", kind: "StatefulSet")
    public static let controllerRevisions = Resource(
        group: "apps", plural: "controllerrevisions", kind: "ControllerRevision")
    public static let jobs = Resource(group: "batch", plural: "jobs", kind: "Job")
    public static let ingresses = Resource(
        group: "networking.k8s.io", plural: "ingresses", kind: "Ingress")
    public static let ingressClasses = Resource(
        group: "networking.k8s.io", plural: "ingressclasses", kind: "IngressClass",
        isNamespaced: false)
    public static let networkPolicies = Resource(
        group: "networking.k8s.io", plural: "networkpolicies", kind: "NetworkPolicy")
    public static let serviceCIDRs = Resource(
        group: "networking.k8s.io", plural: "servicecidrs", kind: "ServiceCIDR",
        isNamespaced: false)
    public static let ipAddresses = Resource(
        group: "networking.k8s.io", plural: "ipaddresses", kind: "IPAddress", isNamespaced: false)
    public static let roles = Resource(
        group: "rbac.authorization.k8s.io", plural: "roles", kind: "Role")
    public static let roleBindings = Resource(
        group: "rbac.authorization.k8s.io", plural: "rolebindings", kind: "RoleBinding")
    public static let clusterRoles = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterroles", kind: "ClusterRole",
        isNamespaced: false)
    public static let clusterRoleBindings = Resource(
        group: "rbac.authorization.k8s.io", plural: "clusterrolebindings",
        kind: "ClusterRoleBinding", isNamespaced: false)
    public static let podDisruptionBudgets = Resource(
        group: "policy", plural: "poddisruptionbudgets", kind: "PodDisruptionBudget")
    public static let podSecurityPolicies = Resource(
        group: "policy", version: "v1beta1", plural: "podsecuritypolicies",
        kind: "PodSecurityPolicy", isNamespaced: false)
    public static let customResourceDefinitions = Resource(
        group: "apiextensions.k8s.io", plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition", isNamespaced: false)
}
