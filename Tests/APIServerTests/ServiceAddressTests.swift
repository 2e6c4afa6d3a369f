import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import Store
import TestSupport
import Testing

@testable import APIServer

/// ServiceCIDRs and IPAddresses, and Services of two families.
@Suite(.offPool) struct ServiceAddressTests {
    private static func service(_ name: String, _ spec: JSONValue = [:]) -> JSONValue {
        var spec = spec
        if spec["ports"] == nil { spec["ports"] = [["port": 80]] }
        return ["metadata": ["name": .string(name), "namespace": "default"], "spec": spec]
    }

    private static func names(
        _ client: any KubernetesClient, _ resource: Resource
    ) async throws -> [String] {
        try await client.list(resource, ListOptions()).items
            .compactMap { $0["metadata", "name"]?.string }
    }

    private static func range(_ name: String, _ cidrs: JSONValue) -> JSONValue {
        ["metadata": ["name": .string(name)], "spec": ["cidrs": cidrs]]
    }

    // MARK: - IPAddresses

    @Test func addressesComeAndGoWithTheirServices() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            #expect(try await Self.names(client, .ipAddresses) == ["10.96.0.1"])
            let made = try await client.create(
                .services, Self.service("a", ["clusterIP": "10.96.9.9"]))
            let address = try await client.get(.ipAddresses, namespace: nil, name: "10.96.9.9")
            #expect(
                address["spec", "parentRef"] == [
                    "group": "", "resource": "services", "namespace": "default", "name": "a",
                ])
            #expect(
                address["metadata", "labels"] == [
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                ])
            // One transaction: the address is one revision after its Service.
            let revisions = [made, address].compactMap {
                $0["metadata", "resourceVersion"]?.string.flatMap { Int64($0) }
            }
            #expect(revisions.count == 2 && revisions[1] == revisions[0] + 1)
            // The address goes where the Service needs none any more, and comes back.
            _ = try await client.patch(
                .services, namespace: "default", name: "a", subresource: nil, type: .merge,
                ["spec": ["type": "ExternalName", "externalName": "x.y"]])
            #expect(try await Self.names(client, .ipAddresses) == ["10.96.0.1"])
            let back = try await client.patch(
                .services, namespace: "default", name: "a", subresource: nil, type: .merge,
                ["spec": ["type": "ClusterIP", "externalName": nil]])
            let fresh = try #require(back["spec", "clusterIP"]?.string)
            #expect(Set(try await Self.names(client, .ipAddresses)) == ["10.96.0.1", fresh])
            try await client.delete(.services, namespace: "default", name: "a", options: nil)
            #expect(try await Self.names(client, .ipAddresses) == ["10.96.0.1"])
            _ = try await client.create(.services, Self.service("h", ["clusterIP": "None"]))
            #expect(try await Self.names(client, .ipAddresses) == ["10.96.0.1"])
        }
    }

    @Test func dryRunsTakeNothing() async throws {
        try await ServerFixture.run { fixture in
            let before = fixture.store.revision
            let manifest = """
                {"apiVersion":"v1","kind":"Service","metadata":{"name":"d"},
                "spec":{"type":"NodePort","clusterIP":"10.96.7.7",
                "ports":[{"port":80,"nodePort":31007}]}}
                """
            for _ in 0..<2 {
                try await fixture.check(
                    ["create", "-f", "-", "--dry-run=server"], input: manifest)
            }
            #expect(fixture.store.revision == before)
            #expect(try await Self.names(fixture.server.client, .ipAddresses) == ["10.96.0.1"])
            try await fixture.check(["create", "-f", "-"], input: manifest)
            try await fixture.check(["delete", "svc", "d", "--dry-run=server"])
            let taken = try await fixture.kubectl(
                ["create", "-f", "-"], input: manifest.replacing("\"d\"", with: "\"e\""))
            #expect(taken.errorOutput.contains("provided IP is already allocated"))
        }
    }

    @Test func addressesOfOthersAreKeptFromServices() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            _ = try await client.create(
                .ipAddresses,
                [
                    "metadata": ["name": "10.96.5.5"],
                    "spec": ["parentRef": ["resource": "gateways", "name": "g", "group": "x.y"]],
                ])
            let refused = await #expect(throws: StatusError.self) {
                try await client.create(
                    .services, Self.service("a", ["clusterIP": "10.96.5.5"]))
            }
            #expect(
                refused?.message
                    == "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.5.5\"]: "
                    + "failed to allocate IP 10.96.5.5: provided IP is already allocated")
            try await client.delete(.ipAddresses, namespace: nil, name: "10.96.5.5", options: nil)
            _ = try await client.create(
                .services, Self.service("a", ["clusterIP": "10.96.5.5"]))
            for name in ["10.96.05.6", "fd00::0:1"] {
                let error = await #expect(throws: StatusError.self) {
                    try await client.create(
                        .ipAddresses,
                        [
                            "metadata": ["name": .string(name)],
                            "spec": ["parentRef": ["resource": "services", "name": "g"]],
                        ])
                }
                #expect(error?.code == 422)
            }
        }
    }

    // MARK: - ServiceCIDRs

    @Test func theDefaultRangeIsThereAndReady() async throws {
        try await ServerFixture.run { fixture in
            let range = try await fixture.server.client.get(
                .serviceCIDRs, namespace: nil, name: "kubernetes")
            #expect(range["spec", "cidrs"] == ["10.96.0.0/16"])
            #expect(
                range["metadata", "finalizers"] == ["networking.k8s.io/service-cidr-finalizer"])
            #expect(range["status", "conditions"]?[0]?["type"] == "Ready")
            #expect(range["status", "conditions"]?[0]?["status"] == "True")
            let table = try await fixture.check(["get", "servicecidrs"])
            #expect(table.contains("CIDRS") && table.contains("10.96.0.0/16"), "\(table)")
            let addresses = try await fixture.check(["get", "ipaddresses"])
            #expect(addresses.contains("PARENTREF"), "\(addresses)")
            #expect(addresses.contains("services/default/kubernetes"), "\(addresses)")
            try await fixture.check(["wait", "--for=condition=Ready", "servicecidr/kubernetes"])
        }
    }

    @Test func moreRangesMakeMoreRoom() async throws {
        try await ServerFixture.run(configure: {
            $0.serviceCIDRs = [Prefix("10.99.0.0/29")].compactMap(\.self)
        }) { fixture in
            let client = fixture.server.client
            // Six addresses, of which the API's own Service has one.
            for index in 0..<5 {
                _ = try await client.create(.services, Self.service("s\(index)"))
            }
            let full = await #expect(throws: StatusError.self) {
                try await client.create(.services, Self.service("more"))
            }
            #expect(full?.message.contains("range is full") == true)
            _ = try await client.create(.serviceCIDRs, Self.range("extra", ["10.99.1.0/28"]))
            let more = try await client.create(.services, Self.service("more"))
            let address = try #require(more["spec", "clusterIP"]?.string)
            #expect(address.hasPrefix("10.99.1."))

            // In use: it waits, gives no address out, and says why.
            try await client.delete(.serviceCIDRs, namespace: nil, name: "extra", options: nil)
            let waiting = try await client.get(.serviceCIDRs, namespace: nil, name: "extra")
            #expect(waiting["metadata", "deletionTimestamp"] != nil)
            #expect(waiting["status", "conditions"]?[0]?["reason"] == "Terminating")
            #expect(waiting["status", "conditions"]?[0]?["status"] == "False")
            await #expect(throws: StatusError.self) {
                try await client.create(.services, Self.service("evenmore"))
            }
            await #expect(throws: StatusError.self) {
                try await client.create(
                    .services, Self.service("asks", ["clusterIP": "10.99.1.9"]))
            }
            // Its last address gone, it goes.
            try await client.delete(.services, namespace: "default", name: "more", options: nil)
            #expect(try await Self.names(client, .serviceCIDRs) == ["kubernetes"])
        }
    }

    @Test func rangesThatOthersCoverOrNobodyUsesGoAtOnce() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            _ = try await client.create(.serviceCIDRs, Self.range("idle", ["10.200.0.0/24"]))
            try await client.delete(.serviceCIDRs, namespace: nil, name: "idle", options: nil)
            // A part of the default range: its addresses lie in the default one as well.
            _ = try await client.create(.serviceCIDRs, Self.range("part", ["10.96.3.0/24"]))
            _ = try await client.create(
                .services, Self.service("a", ["clusterIP": "10.96.3.3"]))
            try await client.delete(.serviceCIDRs, namespace: nil, name: "part", options: nil)
            #expect(try await Self.names(client, .serviceCIDRs) == ["kubernetes"])
            // The default range holds the API's own address.
            try await client.delete(
                .serviceCIDRs, namespace: nil, name: "kubernetes", options: nil)
            #expect(try await Self.names(client, .serviceCIDRs) == ["kubernetes"])
        }
    }

    @Test func refusesRangesThatAreNone() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            for cidrs: JSONValue in [
                [], ["10.1.0.0"], ["10.1.0.5/24"], ["10.1.0.0/24", "10.2.0.0/24"],
            ] {
                let error = await #expect(throws: StatusError.self) {
                    try await client.create(.serviceCIDRs, Self.range("x", cidrs))
                }
                #expect(error?.code == 422)
                #expect(error?.message.contains("spec.cidrs") == true)
            }
            let changed = await #expect(throws: StatusError.self) {
                try await client.patch(
                    .serviceCIDRs, namespace: nil, name: "kubernetes", subresource: nil,
                    type: .merge, ["spec": ["cidrs": ["10.97.0.0/16"]]])
            }
            #expect(changed?.message.contains("field is immutable") == true)
        }
    }

    // MARK: - Two families

    private func dual(
        _ body: @Sendable (ServerFixture, any KubernetesClient) async throws -> Void
    ) async throws {
        try await ServerFixture.run(configure: {
            $0.serviceCIDRs = ["10.96.0.0/16", "fd00:10:96::/112"].compactMap { Prefix($0) }
        }) { try await body($0, $0.server.client) }
    }

    @Test func servicesGainAndLoseASecondFamily() async throws {
        try await dual { fixture, client in
            let single = try await client.create(.services, Self.service("a"))
            #expect(single["spec", "ipFamilies"] == ["IPv4"])
            let first = try #require(single["spec", "clusterIP"]?.string)
            func change(_ spec: JSONValue) async throws -> JSONValue {
                try await client.patch(
                    .services, namespace: "default", name: "a", subresource: nil, type: .merge,
                    ["spec": spec])
            }
            let both = try await change(["ipFamilyPolicy": "RequireDualStack"])
            #expect(both["spec", "ipFamilies"] == ["IPv4", "IPv6"])
            #expect(both["spec", "clusterIPs"]?[0]?.string == first)
            let second = try #require(both["spec", "clusterIPs"]?[1]?.string)
            #expect(second.hasPrefix("fd00:10:96::"))
            let address = try await client.get(.ipAddresses, namespace: nil, name: second)
            #expect(
                address["metadata", "labels"]?["ipaddress.kubernetes.io/ip-family"] == "IPv6")

            let refused = await #expect(throws: StatusError.self) {
                try await change(["clusterIPs": [.string(first)], "ipFamilies": ["IPv4"]])
            }
            #expect(
                refused?.message.contains(
                    "must be set to 'SingleStack' when releasing the secondary") == true)
            let back = try await change(["ipFamilyPolicy": "SingleStack"])
            #expect(back["spec", "clusterIPs"] == [.string(first)])
            #expect(back["spec", "ipFamilies"] == ["IPv4"])
            await #expect(throws: StatusError.self) {
                try await client.get(.ipAddresses, namespace: nil, name: second)
            }
            // The primary family stays.
            await #expect(throws: StatusError.self) { try await change(["ipFamilies": ["IPv6"]]) }

            let six = try await client.create(
                .services,
                Self.service(
                    "six", ["ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"]))
            #expect(six["spec", "clusterIP"]?.string?.hasPrefix("fd00:10:96::") == true)
            #expect(six["spec", "clusterIPs"]?.array?.count == 2)
            let range = try await client.get(.serviceCIDRs, namespace: nil, name: "kubernetes")
            #expect(range["spec", "cidrs"] == ["10.96.0.0/16", "fd00:10:96::/112"])
        }
    }

    @Test func aSecondRangeIsAddedToTheFirst() async throws {
        try await ServerFixture.run { fixture in
            // What a server that is started with a second range does at its start.
            let client = fixture.server.client
            let wider = try await client.patch(
                .serviceCIDRs, namespace: nil, name: "kubernetes", subresource: nil, type: .merge,
                ["spec": ["cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]]])
            #expect(wider["spec", "cidrs"]?.array?.count == 2)
        }
    }

    /// What was started with other ranges says so where users look, until it is put right.
    @Test func otherRangesThanBeforeAreAnEvent() async throws {
        let kept = "/tmp/api-test-ranges-\(UInt32.random(in: 0...UInt32.max))"
        defer { _ = try? Command.run(["rm", "-rf", kept]) }
        for (range, isWarned) in [
            ("10.96.0.0/16", false), ("10.97.0.0/16", true), ("10.96.0.0/16", false),
        ] {
            let prefix = try #require(Prefix(range))
            try await ServerFixture.run(in: kept) {
                $0.serviceCIDRs = [prefix]
            } _: { fixture in
                let events = try await fixture.check(["get", "events"])
                #expect(
                    events.contains("KubernetesDefaultServiceCIDRInconsistent") == isWarned,
                    "\(range): \(events)")
            }
        }
    }

    // MARK: - Repair

    @Test func repairsWhatDisagrees() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            let ip = Resource.ipAddresses.qualifiedName
            for (name, address) in [("a", "10.96.1.1"), ("b", "10.96.1.2"), ("c", "10.96.1.3")] {
                _ = try await client.create(
                    .services, Self.service(name, ["clusterIP": .string(address)]))
            }
            // Damage, past every rule: missing, leaked, of another owner, out of range, twice.
            try await fixture.store.write { transaction in
                try transaction.delete(StoreKey(resource: ip, name: "10.96.1.1"))
                var wrong = try #require(
                    try transaction.get(StoreKey(resource: ip, name: "10.96.1.2"))?.decoded())
                wrong["spec", "parentRef", "name"] = "other"
                try transaction.update(StoreKey(resource: ip, name: "10.96.1.2"), wrong)
                wrong["metadata", "name"] = "10.96.1.9"
                try transaction.create(StoreKey(resource: ip, name: "10.96.1.9"), wrong)
                for (name, address) in [("out", "192.0.2.7"), ("twin", "10.96.1.3")] {
                    let spec: JSONValue = [
                        "type": "ClusterIP", "clusterIP": .string(address),
                        "clusterIPs": [.string(address)], "ports": [["port": 80]],
                    ]
                    try transaction.create(
                        StoreKey(resource: "services", namespace: "default", name: name),
                        Self.service(name, spec))
                }
            }
            let registry = try #require(client as? InProcessClient).registry
            let faults = try await registry.repairAddresses()
            let found = Dictionary(grouping: faults, by: \.kind).mapValues { $0.map(\.value) }
            #expect(
                found == [
                    .missing: ["10.96.1.1"], .wrongReference: ["10.96.1.2"],
                    .leaked: ["10.96.1.9"], .addressOutOfRange: ["192.0.2.7"],
                    .addressDuplicate: ["10.96.1.3"],
                ])
            for (name, owner) in [("10.96.1.1", "a"), ("10.96.1.2", "b"), ("10.96.1.3", "c")] {
                let object = try await client.get(.ipAddresses, namespace: nil, name: name)
                #expect(object["spec", "parentRef", "name"] == .string(owner))
            }
            // What cannot be repaired stays reported, the rest is sound.
            let again = try await registry.repairAddresses()
            #expect(Set(again.map(\.kind)) == [.addressOutOfRange, .addressDuplicate])
            // Freed by the repair, it can be given out.
            _ = try await client.create(
                .services, Self.service("d", ["clusterIP": "10.96.1.9"]))
            let metrics = try await fixture.curl("/metrics").output
            #expect(
                metrics.contains(
                    "kube_apiserver_clusterip_allocator_allocated_ips{cidr=\"10.96.0.0/16\"} 5"),
                "\(metrics)")
            #expect(metrics.contains("clusterip_repair_ip_errors_total{type=\"leaked\"} "))
        }
    }

    @Test func reportsRepairsInEvents() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            _ = try await client.create(
                .services, Self.service("a", ["clusterIP": "10.96.1.1"]))
            _ = try await fixture.store.write { transaction in
                try transaction.delete(
                    StoreKey(resource: Resource.ipAddresses.qualifiedName, name: "10.96.1.1"))
            }
            let registry = try #require(client as? InProcessClient).registry
            let loop = RepairLoop(
                registry: registry, client: client, counters: RepairCounters(),
                logger: registry.logger)
            let running = Task { await loop.run() }
            try await eventually("the event is written", withinSeconds: 60) {
                try await client.list(.events, ListOptions(namespace: "default")).items.contains {
                    $0["reason"] == "ClusterIPNotAllocated"
                        && $0["message"]
                            == "Cluster IP [IPv4]: 10.96.1.1 is not allocated; repairing"
                        && $0["involvedObject", "name"] == "a"
                }
            }
            running.cancel()
            await running.value
            _ = try await client.get(.ipAddresses, namespace: nil, name: "10.96.1.1")
        }
    }
}
