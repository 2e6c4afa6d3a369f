public import JSON
public import NetworkTypes

/// The objects in which the API shows what addresses Services have (KEP-1880). Portolan allocates
/// from memory; these are made from the Services so that tools that read them see the truth.
public enum ServiceAddressObjects {
    /// The ServiceCIDR `kubernetes` of the ranges the server was started with.
    public static func defaultServiceCIDR(_ ranges: [Prefix], now: Timestamp) -> JSONValue {
        [
            "apiVersion": .string(Resource.serviceCIDRs.apiVersion), "kind": "ServiceCIDR",
            "metadata": [
                "name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"],
            ],
            "spec": ["cidrs": .array(ranges.map { .string($0.description) })],
            "status": ["conditions": [readyCondition(now)]],
        ]
    }

    private static func readyCondition(_ now: Timestamp) -> JSONValue {
        [
            "type": "Ready", "status": "True", "reason": "",
            "message": "Kubernetes Service CIDR is ready",
            "lastTransitionTime": .string(now.description),
        ]
    }

    /// The IPAddress of one cluster address of a Service.
    public static func ipAddress(_ address: IPAddress, of service: ObjectKey) -> JSONValue {
        [
            "apiVersion": .string(Resource.ipAddresses.apiVersion), "kind": "IPAddress",
            "metadata": [
                "name": .string(address.description),
                "labels": [
                    "ipaddress.kubernetes.io/ip-family": .string(address.family.rawValue),
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                ],
            ],
            "spec": [
                "parentRef": [
                    "group": "", "resource": "services",
                    "namespace": .string(service.namespace), "name": .string(service.name),
                ]
            ],
        ]
    }

    /// The ranges of ServiceCIDR objects that new addresses may come from: those that are
    /// not being deleted, the default one first.
    public static func usableRanges(_ serviceCIDRs: [JSONValue]) -> [Prefix] {
        let usable = serviceCIDRs.filter { object in
            object["metadata", "deletionTimestamp"] == nil
        }
        let isDefault: (JSONValue) -> Bool = { $0["metadata", "name"] == "kubernetes" }
        let sorted = usable.filter(isDefault) + usable.filter { !isDefault($0) }
        return sorted.flatMap { object in
            (object["spec", "cidrs"]?.array ?? []).compactMap { $0.string.flatMap { Prefix($0) } }
        }
    }
}
