import JSON
import TestSupport
import Testing

@testable import APIServer
@testable import KubernetesAPI

/// `Warning:` headers about what is accepted and better not used.
@Suite(.offPool) struct WarningTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let spec: JSONValue
        var annotations: JSONValue = [:]
        let texts: [String]
        var testDescription: String { spec.serializedText }
    }

    static let cases = [
        Case(spec: ["clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]], texts: []),
        Case(
            spec: [:], annotations: ["service.kubernetes.io/topology-aware-hints": "Auto"],
            texts: [
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
                    + "service.kubernetes.io/topology-mode instead"
            ]),
        Case(
            spec: [
                "clusterIP": "None", "sessionAffinity": "ClientIP", "loadBalancerIP": "192.0.2.1",
            ],
            texts: [
                "spec.loadBalancerIP is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ]),
        Case(spec: ["clusterIP": "None", "sessionAffinity": "None"], texts: []),
        Case(spec: ["externalIPs": ["192.0.2.1"]], texts: ["spec.externalIPs is deprecated"]),
        Case(
            spec: ["type": "ExternalName", "externalName": "a.b", "externalIPs": ["192.0.2.1"]],
            texts: [
                "spec.externalIPs is deprecated",
                "spec.externalIPs is ignored when spec.type is \"ExternalName\"",
            ]),
        Case(
            spec: ["type": "ClusterIP", "externalName": "a.b"],
            texts: ["spec.externalName is ignored when spec.type is not \"ExternalName\""]),
        Case(
            spec: ["trafficDistribution": "PreferClose"],
            texts: [
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
            ]),
        Case(
            spec: [
                "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.1.2.3/8", "10.0.0.0/8"],
            ],
            texts: [
                "spec.loadBalancerSourceRanges[0]: CIDR value \"10.1.2.3/8\" is ambiguous in this "
                    + "context (should be \"10.0.0.0/8\" or \"10.1.2.3/32\"?)"
            ]),
        Case(
            spec: [
                "type": "LoadBalancer", "clusterIPs": ["10.96.0.1", "fd00:0:0::5"],
                "loadBalancerIP": "2001:DB8::1", "loadBalancerSourceRanges": ["2001:db8:0::/64"],
            ],
            texts: [
                "spec.clusterIPs[1]: IPv6 address \"fd00:0:0::5\" should be in RFC 5952 canonical "
                    + "format (\"fd00::5\")",
                "spec.loadBalancerIP: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical "
                    + "format (\"2001:db8::1\")",
                "spec.loadBalancerSourceRanges[0]: IPv6 CIDR value \"2001:db8:0::/64\" should be "
                    + "in RFC 5952 canonical format (\"2001:db8::/64\")",
            ]),
    ]

    @Test(arguments: cases) func ofServices(_ sample: Case) throws {
        let service: JSONValue = [
            "metadata": ["name": "s", "annotations": sample.annotations], "spec": sample.spec,
        ]
        let kind = try #require(KindRegistry.builtIn[.services])
        #expect(kind.warnings(service) == sample.texts)
    }

    @Test func reachKubectlOnEveryVerb() async throws {
        try await ServerFixture.run { fixture in
            let old =
                "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 "
                + "EndpointSlice"
            for arguments in [
                ["get", "endpoints"], ["get", "endpoints", "kubernetes"],
                ["label", "endpoints", "kubernetes", "a=b"], ["delete", "endpoints", "kubernetes"],
            ] {
                let result = try await fixture.kubectl(arguments)
                #expect(result.exitCode == 0, "\(result.errorOutput)")
                #expect(result.errorOutput.contains(old), "\(arguments): \(result.errorOutput)")
            }
            let watch = try await fixture.curl(
                "/api/v1/endpoints?watch=true&timeoutSeconds=1", ["-D", "-"])
            #expect(watch.output.contains(String(old.dropFirst("Warning: ".count))))
            let service = """
                {"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},
                "spec":{"ports":[{"port":80}],"externalIPs":["192.0.2.1"]}}
                """
            for verb in ["create", "apply", "replace"] {
                let result = try await fixture.kubectl([verb, "-f", "-"], input: service)
                #expect(
                    result.errorOutput.contains("Warning: spec.externalIPs is deprecated"),
                    "\(verb): \(result.errorOutput)")
            }
        }
    }
}
