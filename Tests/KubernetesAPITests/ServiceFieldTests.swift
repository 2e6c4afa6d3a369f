import JSON
import NetworkTypes
import Testing

@testable import KubernetesAPI

/// The rules of a Service's fields, one by one: what each refuses, and what it allows.
@Suite struct ServiceFieldTests {
    /// A Service that `change` makes, and its faults, one a line.
    struct Case: Sendable, CustomTestStringConvertible {
        let title: String
        let faults: String
        let change: @Sendable (inout JSONValue) -> Void
        var testDescription: String { title }

        init(
            _ title: String, _ faults: String = "",
            _ change: @Sendable @escaping (inout JSONValue) -> Void
        ) {
            self.title = title
            self.faults = faults
            self.change = change
        }
    }

    static let ports: [Case] = [
        Case("headless without ports") {
            $0["spec", "ports"] = nil
            $0["spec", "clusterIP"] = "None"
        },
        Case("ExternalName without ports") {
            $0["spec"] = ["type": "ExternalName", "externalName": "db.example.com."]
        },
        Case(
            "one port and protocol twice",
            #"spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}"#
        ) {
            $0["spec", "ports"] = [["name": "a", "port": 80], ["name": "b", "port": 80]]
        },
        Case("one port for two protocols") {
            $0["spec", "ports"] = [
                ["name": "a", "port": 53], ["name": "b", "port": 53, "protocol": "UDP"],
            ]
        },
        Case("one name twice", #"spec.ports[1].name: Duplicate value: "a""#) {
            $0["spec", "ports"] = [["name": "a", "port": 80], ["name": "a", "port": 81]]
        },
        Case(
            "a node port twice for one protocol",
            "spec.ports[1].nodePort: Duplicate value: 30080"
        ) {
            $0["spec", "type"] = "NodePort"
            $0["spec", "ports"] = [
                ["name": "a", "port": 80, "nodePort": 30080],
                ["name": "b", "port": 81, "nodePort": 30080],
            ]
        },
        Case("a node port for two protocols") {
            $0["spec", "type"] = "NodePort"
            $0["spec", "ports"] = [
                ["name": "a", "port": 53, "nodePort": 30053],
                ["name": "b", "port": 53, "nodePort": 30053, "protocol": "UDP"],
            ]
        },
        Case("a named target") { $0["spec", "ports"] = [["port": 80, "targetPort": "http"]] },
        Case(
            "a target that is too high",
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
        ) {
            $0["spec", "ports"] = [["port": 80, "targetPort": 70000]]
        },
        Case("an application protocol") {
            $0["spec", "ports"] = [["port": 80, "appProtocol": "kubernetes.io/h2c"]]
        },
        Case("SCTP") { $0["spec", "ports"] = [["port": 80, "protocol": "SCTP"]] },
    ]

    static let addresses: [Case] = [
        Case(
            "clusterIPs that begin with another",
            #"spec.clusterIPs: Invalid value: ["10.96.0.3"]: first value must match `clusterIP`"#
        ) {
            $0["spec", "clusterIP"] = "10.96.0.2"
            $0["spec", "clusterIPs"] = ["10.96.0.3"]
        },
        Case(
            "two of one family",
            #"spec.clusterIPs: Invalid value: ["10.96.0.2","10.96.0.3"]: may specify no more than "#
                + "one IP for each IP family"
        ) {
            $0["spec", "clusterIP"] = "10.96.0.2"
            $0["spec", "clusterIPs"] = ["10.96.0.2", "10.96.0.3"]
        },
        Case(
            "None with company",
            #"spec.clusterIPs[0]: Invalid value: ["None","10.96.0.3"]: 'None' must be the first "#
                + "and only value"
        ) {
            $0["spec", "clusterIP"] = "None"
            $0["spec", "clusterIPs"] = ["None", "10.96.0.3"]
        },
        Case(
            "None for a load balancer",
            #"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for "#
                + "LoadBalancer services"
        ) {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "clusterIP"] = "None"
        },
        Case("a family twice", #"spec.ipFamilies[1]: Duplicate value: "IPv4""#) {
            $0["spec", "ipFamilies"] = ["IPv4", "IPv4"]
        },
        Case(
            "a family that is none",
            #"spec.ipFamilies[0]: Unsupported value: "IPX": supported values: "IPv4", "IPv6""#
        ) {
            $0["spec", "ipFamilies"] = ["IPX"]
        },
        Case(
            "a policy that is none",
            #"spec.ipFamilyPolicy: Unsupported value: "Both": supported values: "#
                + #""PreferDualStack", "RequireDualStack", "SingleStack""#
        ) {
            $0["spec", "ipFamilyPolicy"] = "Both"
        },
        Case(
            "an address for an ExternalName",
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services"
        ) {
            $0["spec"] = [
                "type": "ExternalName", "externalName": "x.y", "clusterIP": "10.96.0.2",
            ]
        },
        Case(
            "families for an ExternalName",
            """
            spec.ipFamilies: Forbidden: may not be set for ExternalName services
            spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services
            """
        ) {
            $0["spec"] = [
                "type": "ExternalName", "externalName": "x.y", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
            ]
        },
        Case(
            "an external address that is none",
            #"spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)"#
        ) { $0["spec", "externalIPs"] = ["0.0.0.0"] },
        Case(
            "a link-local external address",
            #"spec.externalIPs[0]: Invalid value: "169.254.1.1": may not be in the link-local "#
                + "range (169.254.0.0/16, fe80::/10)"
        ) { $0["spec", "externalIPs"] = ["169.254.1.1"] },
    ]

    static let traffic: [Case] = [
        Case("affinity with its default time") { $0["spec", "sessionAffinity"] = "ClientIP" },
        // Defaulting drops it, as Kubernetes' does.
        Case("a time without affinity") {
            $0["spec", "sessionAffinity"] = "None"
            $0["spec", "sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": 10]]
        },
        Case(
            "internal policy",
            #"spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "#
                + #""Cluster", "Local""#
        ) { $0["spec", "internalTrafficPolicy"] = "Near" },
        Case("external policy with external addresses") {
            $0["spec", "externalIPs"] = ["192.0.2.1"]
            $0["spec", "externalTrafficPolicy"] = "Local"
        },
        Case(
            "a health port without Local",
            "spec.healthCheckNodePort: Invalid value: 30500: may only be set when `type` is "
                + "'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        ) {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "healthCheckNodePort"] = 30500
        },
        Case("a health port with Local") {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "externalTrafficPolicy"] = "Local"
            $0["spec", "healthCheckNodePort"] = 30500
        },
        Case("sources, padded with spaces") {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "loadBalancerSourceRanges"] = [" 10.0.0.0/8 ", "fd00::/8"]
        },
        Case(
            "sources of a ClusterIP",
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is "
                + "'LoadBalancer'"
        ) { $0["spec", "loadBalancerSourceRanges"] = ["10.0.0.0/8"] },
        Case(
            "sources in the annotation",
            "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid "
                + #"value: "10.0.0.0": must be a comma separated list of CIDRs e.g. "#
                + "192.168.0.0/16,10.0.0.0/8"
        ) {
            $0["spec", "type"] = "LoadBalancer"
            $0["metadata", "annotations"] = [
                "service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0"
            ]
        },
        Case(
            "node ports of a load balancer that is none",
            "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is "
                + "'LoadBalancer'"
        ) { $0["spec", "allocateLoadBalancerNodePorts"] = false },
        Case("a class") {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "loadBalancerClass"] = "example.com/x"
        },
        Case(
            "a distribution that is none",
            #"spec.trafficDistribution: Unsupported value: "Near": supported values: "#
                + #""PreferClose", "PreferSameNode", "PreferSameZone""#
        ) { $0["spec", "trafficDistribution"] = "Near" },
        Case("distributions") { $0["spec", "trafficDistribution"] = "PreferSameNode" },
    ]

    @Test(arguments: ports + addresses + traffic) func creates(_ example: Case) throws {
        let (_, errors, unknown) = try created(service("web", example.change))
        #expect(errors.map(\.description).joined(separator: "\n") == example.faults)
        #expect(unknown.isEmpty)
    }

    @Test func defaults() throws {
        let object = try created(
            service {
                $0["spec", "sessionAffinity"] = "ClientIP"
                $0["spec", "ports"] = [["port": 80]]
            }
        ).object
        #expect(
            object["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"] == 10800)
        #expect(object["spec", "publishNotReadyAddresses"] == nil)
        #expect(object["spec", "externalTrafficPolicy"] == nil)
        #expect(object["spec", "allocateLoadBalancerNodePorts"] == nil)
    }

    // MARK: - Status

    static let statuses: [(String, String)] = [
        (#"[{"ip":"192.0.2.1"}]"#, ""), (#"[{"hostname":"lb.example.com"}]"#, ""),
        (#"[{"ip":"192.0.2.1","ipMode":"Proxy"}]"#, ""),
        (
            #"[{"ip":"x","ipMode":"VIP"}]"#,
            #"status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, "#
                + "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ),
        (
            #"[{"ip":"192.0.2.1","ipMode":"Maybe"}]"#,
            #"status.loadBalancer.ingress[0].ipMode: Unsupported value: "Maybe": supported "#
                + #"values: "Proxy", "VIP""#
        ),
        (
            #"[{"hostname":"a.b","ipMode":"VIP"}]"#,
            "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is "
                + "not set"
        ),
        (
            #"[{"hostname":"192.0.2.1"}]"#,
            #"status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS "#
                + "name, not an IP address"
        ),
    ]

    @Test(arguments: statuses) func ingress(_ ingress: String, _ faults: String) throws {
        let balancer = try created(service { $0["spec", "type"] = "LoadBalancer" }).object
        let kind = try kind(of: balancer)
        var written = balancer
        written["status", "loadBalancer", "ingress"] = try JSONValue(parsing: ingress)
        written = kind.defaulted(written)
        if faults.isEmpty, ingress.contains(#""ip":"#) {
            #expect(written["status", "loadBalancer", "ingress"]?[0]?["ipMode"] != nil)
        }
        #expect(
            kind.validateUpdate(old: balancer, new: written).map(\.description)
                == (faults.isEmpty ? [] : [faults]))
    }

    @Test func onlyLoadBalancersHaveIngress() throws {
        let plain = try created(service()).object
        var written = plain
        written["status", "loadBalancer", "ingress"] = [["ip": "192.0.2.1", "ipMode": "VIP"]]
        #expect(
            try kind(of: plain).validateUpdate(old: plain, new: written).map(\.description) == [
                "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is "
                    + "\"LoadBalancer\""
            ])
    }

    // MARK: - Changes

    /// A change of a Service of this type that is refused.
    private func refusal(
        _ make: (inout JSONValue) -> Void, _ change: (inout JSONValue) -> Void
    ) throws -> [String] {
        let allocator = ServiceAllocator(
            clusterRanges: ["10.96.0.0/16", "fd00:10:96::/112"].compactMap { Prefix($0) })
        let old = try allocator.plan(try created(service("web", make)).object).object
        var new = old
        change(&new)
        let kind = try kind(of: new)
        new = kind.defaulted(new)
        kind.prepareForUpdate(old: old, new: &new)
        ServiceRules.prepareForUpdate(old: old, new: &new)
        return kind.validateUpdate(old: old, new: new).map(\.description)
    }

    @Test func whatTheUserChangedIsNotCleared() throws {
        let ports = try refusal(
            { $0["spec", "type"] = "NodePort" },
            {
                $0["spec", "type"] = "ClusterIP"
                $0["spec", "ports"] = [["port": 80, "nodePort": 30999]]
            })
        #expect(
            ports == [
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
            ])
        let policy = try refusal(
            { $0["spec", "type"] = "NodePort" },
            {
                $0["spec", "type"] = "ClusterIP"
                $0["spec", "externalTrafficPolicy"] = "Local"
            })
        #expect(
            policy == [
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for "
                    + "externally-accessible services"
            ])
        let balancer = try refusal(
            {
                $0["spec", "type"] = "LoadBalancer"
                $0["spec", "loadBalancerClass"] = "example.com/x"
            },
            {
                $0["spec", "type"] = "ClusterIP"
                $0["spec", "loadBalancerClass"] = "example.com/y"
                $0["spec", "allocateLoadBalancerNodePorts"] = false
            })
        #expect(
            balancer == [
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is "
                    + "'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is "
                    + "'LoadBalancer'",
            ])
    }

    @Test func whatMayNotChange() throws {
        #expect(
            try refusal(
                {
                    $0["spec", "type"] = "LoadBalancer"
                    $0["spec", "loadBalancerClass"] = "example.com/x"
                }, { $0["spec", "loadBalancerClass"] = "example.com/y" }) == [
                    "spec.loadBalancerClass: Invalid value: \"example.com/y\": may not change once "
                        + "set"
                ])
        let local: (inout JSONValue) -> Void = {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "externalTrafficPolicy"] = "Local"
        }
        #expect(
            try refusal(local, { $0["spec", "healthCheckNodePort"] = 31999 }) == [
                "spec.healthCheckNodePort: Invalid value: 31999: field is immutable"
            ])
        // Given up with the policy that needs it.
        #expect(try refusal(local, { $0["spec", "externalTrafficPolicy"] = "Cluster" }).isEmpty)
        let both: (inout JSONValue) -> Void = { $0["spec", "ipFamilyPolicy"] = "RequireDualStack" }
        #expect(
            try refusal(both, { $0["spec", "ipFamilies"] = ["IPv6", "IPv4"] }).contains {
                $0.hasPrefix("spec.ipFamilies[0]: Invalid value: ")
            })
        // A headless Service without a selector may.
        #expect(
            try refusal(
                { $0["spec"] = ["clusterIP": "None"] },
                { $0["spec", "ipFamilies"] = ["IPv6", "IPv4"] }
            ).isEmpty)
    }
}
