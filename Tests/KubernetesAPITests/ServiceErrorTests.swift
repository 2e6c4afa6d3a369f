import JSON
import KubernetesAPI
import NetworkTypes
import Testing

/// The errors of Services that users meet, to the letter.
@Suite struct ServiceErrorTests {
    static let labelText =
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
        + "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
        + "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"

    /// A Service that `change` spoils, and the message it gets.
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let change: @Sendable (inout JSONValue) -> Void
        var testDescription: String { text }
    }

    static let cases: [Case] = [
        Case(text: "spec.ports: Required value") { $0["spec", "ports"] = nil },
        Case(text: "spec.ports[0].name: Required value") {
            $0["spec", "ports"] = [["port": 80], ["port": 81, "name": "b"]]
        },
        Case(text: "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'")
        {
            $0["spec", "ports"] = [["port": 80, "nodePort": 30080]]
        },
        Case(
            text: "spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", "
                + "\"ExternalName\", \"LoadBalancer\", \"NodePort\""
        ) { $0["spec", "type"] = "Foo" },
        Case(
            text: "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for "
                + "externally-accessible services"
        ) { $0["spec", "externalTrafficPolicy"] = "Local" },
        Case(text: "metadata.name: Invalid value: \"My\": \(labelText)") {
            $0["metadata", "name"] = "My"
        },
        Case(text: "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive") {
            $0["spec", "ports"] = [["port": 0, "targetPort": 80]]
        },
        Case(
            text: "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: "
                + "\"SCTP\", \"TCP\", \"UDP\""
        ) { $0["spec", "ports"] = [["port": 80, "protocol": "ICMP"]] },
        Case(
            text: "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must "
                + "be greater than 0 and less than 86400"
        ) {
            $0["spec", "sessionAffinity"] = "ClientIP"
            $0["spec", "sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": 90000]]
        },
        Case(text: "spec.externalName: Required value") { $0["spec"] = ["type": "ExternalName"] },
        Case(
            text: "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for "
                + "NodePort services"
        ) {
            $0["spec", "type"] = "NodePort"
            $0["spec", "clusterIP"] = "None"
        },
        Case(
            text: "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback "
                + "range (127.0.0.0/8, ::1/128)"
        ) { $0["spec", "externalIPs"] = ["127.0.0.1"] },
        Case(
            text: "spec.loadBalancerClass: Forbidden: may only be used when `type` is "
                + "'LoadBalancer'"
        ) { $0["spec", "loadBalancerClass"] = "example.com/x" },
    ]

    @Test(arguments: cases) func validation(_ example: Case) throws {
        let (object, errors, _) = try created(service("web", example.change))
        let error = StatusError.invalid(
            .services, name: object["metadata", "name"]?.string ?? "", errors)
        let name = object["metadata", "name"]?.string ?? ""
        #expect(error.message == "Service \"\(name)\" is invalid: \(example.text)")
        #expect(error.code == 422)
        #expect(error.details?["causes"]?.array?.count == 1)
    }

    // MARK: - Allocation

    private func allocator() throws -> ServiceAllocator {
        ServiceAllocator(clusterRanges: [try #require(Prefix("10.96.0.0/16"))])
    }

    private func message(
        _ allocator: ServiceAllocator, _ change: (inout JSONValue) -> Void
    ) throws -> String? {
        let (object, errors, _) = try created(service("web", change))
        #expect(errors.isEmpty)
        return #expect(throws: StatusError.self) { try allocator.plan(object) }?.message
    }

    @Test func allocation() throws {
        var allocator = try allocator()
        let first = try allocator.plan(
            try created(
                service("first") {
                    $0["spec", "type"] = "NodePort"
                    $0["spec", "clusterIP"] = "10.96.0.9"
                    $0["spec", "ports"] = [["port": 80, "nodePort": 30080]]
                }
            ).object)
        allocator.apply(first)
        let prefix = "Service \"web\" is invalid: "
        #expect(
            try message(allocator) {
                $0["spec", "type"] = "NodePort"
                $0["spec", "ports"] = [["port": 80, "nodePort": 80]]
            } == prefix
                + "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid "
                + "range. The range of valid ports is 30000-32767")
        #expect(
            try message(allocator) {
                $0["spec", "type"] = "NodePort"
                $0["spec", "ports"] = [["port": 80, "nodePort": 30080]]
            } == prefix
                + "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
        )
        #expect(
            try message(allocator) { $0["spec", "clusterIP"] = "10.96.0.9" } == prefix
                + "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP "
                + "10.96.0.9: provided IP is already allocated")
        #expect(
            try message(allocator) { $0["spec", "clusterIP"] = "10.0.0.9" } == prefix
                + "spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: failed to allocate IP "
                + "10.0.0.9: the provided network does not match the current range")
    }

    @Test func clusterIPsMayNotChange() throws {
        let allocator = try allocator()
        let old = try allocator.plan(try created(service()).object).object
        var new = old
        new["spec", "clusterIP"] = "10.0.0.2"
        ServiceRules.prepareForUpdate(old: old, new: &new)
        let kind = try kind(of: new)
        let error = StatusError.invalid(
            .services, name: "web", kind.validateUpdate(old: old, new: new))
        #expect(
            error.message == "Service \"web\" is invalid: spec.clusterIPs[0]: Invalid value: "
                + "[\"10.0.0.2\"]: may not change once set")
    }
}
