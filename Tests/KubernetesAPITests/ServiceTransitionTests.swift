import JSON
import NetworkTypes
import Testing

@testable import KubernetesAPI

/// What a change of a Service keeps, inherits and clears.
@Suite struct ServiceTransitionTests {
    let kind: Kind
    let allocator: ServiceAllocator

    init() throws {
        kind = try #require(KindRegistry.builtIn[.services])
        allocator = ServiceAllocator(clusterRanges: [try #require(Prefix("10.96.0.0/16"))])
    }

    private func create(_ change: (inout JSONValue) -> Void) throws -> JSONValue {
        let (object, errors, _) = try created(service("web", change))
        #expect(errors.isEmpty, "\(errors)")
        return try allocator.plan(object).object
    }

    /// A PUT of `old` with `change`.
    private func update(
        _ old: JSONValue, _ change: (inout JSONValue) -> Void
    ) throws -> (object: JSONValue, allocation: ServiceAllocation, errors: [FieldError]) {
        var new = old
        change(&new)
        new = kind.defaulted(try kind.decode(new).object)
        kind.prepareForUpdate(old: old, new: &new)
        ServiceRules.prepareForUpdate(old: old, new: &new)
        let errors = kind.validateUpdate(old: old, new: new)
        let allocation = try allocator.plan(new, old: old)
        return (allocation.object, allocation, errors)
    }

    @Test func creationFillsEverythingIn() throws {
        let object = try create {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "externalTrafficPolicy"] = "Local"
        }
        let spec = try #require(object["spec"])
        #expect(spec["clusterIP"] == spec["clusterIPs"]?[0])
        #expect(spec["ipFamilies"] == ["IPv4"])
        #expect(spec["ipFamilyPolicy"] == "SingleStack")
        #expect(spec["sessionAffinity"] == "None")
        #expect(spec["internalTrafficPolicy"] == "Cluster")
        #expect(spec["allocateLoadBalancerNodePorts"] == true)
        #expect(spec["ports"]?[0]?["targetPort"] == 80)
        #expect(spec["ports"]?[0]?["protocol"] == "TCP")
        let nodePort = try #require(spec["ports"]?[0]?["nodePort"]?.int)
        let healthPort = try #require(spec["healthCheckNodePort"]?.int)
        #expect((30086...32767).contains(nodePort))
        #expect((30086...32767).contains(healthPort))
        #expect(nodePort != healthPort)
        #expect(object["status", "loadBalancer"] == [:])
    }

    @Test func aPutInheritsWhatItOmits() throws {
        let old = try create {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "externalTrafficPolicy"] = "Local"
            $0["spec", "ports"] = [["name": "a", "port": 80], ["name": "b", "port": 81]]
        }
        let (new, allocation, errors) = try update(old) {
            $0["spec", "clusterIP"] = nil
            $0["spec", "clusterIPs"] = nil
            $0["spec", "healthCheckNodePort"] = nil
            $0["spec", "ports"] = [["name": "b", "port": 8081], ["name": "c", "port": 82]]
        }
        #expect(errors.isEmpty)
        #expect(new["spec", "clusterIP"] == old["spec", "clusterIP"])
        #expect(new["spec", "healthCheckNodePort"] == old["spec", "healthCheckNodePort"])
        #expect(
            new["spec", "ports"]?[0]?["nodePort"] == old["spec", "ports"]?[1]?["nodePort"])
        #expect(allocation.takenPorts.count == 1)
        #expect(allocation.releasedPorts.count == 1)
        #expect(allocation.takenAddresses.isEmpty)
    }

    @Test func leavingNodePortReleasesPorts() throws {
        let old = try create { $0["spec", "type"] = "NodePort" }
        let (new, allocation, errors) = try update(old) { $0["spec", "type"] = "ClusterIP" }
        #expect(errors.isEmpty)
        #expect(new["spec", "ports"]?[0]?["nodePort"] == nil)
        #expect(new["spec", "externalTrafficPolicy"] == nil)
        #expect(allocation.releasedPorts.count == 1)
    }

    @Test func leavingLoadBalancerClearsItsFields() throws {
        let created = try create {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "externalTrafficPolicy"] = "Local"
            $0["spec", "loadBalancerClass"] = "example.com/x"
        }
        var old = created
        old["status", "loadBalancer", "ingress"] = [["ip": "10.1.0.2"]]
        let (new, _, errors) = try update(old) { $0["spec", "type"] = "NodePort" }
        #expect(errors.isEmpty)
        #expect(new["spec", "healthCheckNodePort"] == nil)
        #expect(new["spec", "allocateLoadBalancerNodePorts"] == nil)
        #expect(new["spec", "loadBalancerClass"] == nil)
        #expect(new["spec", "externalTrafficPolicy"] == "Local")
        #expect(new["status", "loadBalancer"] == [:])
        #expect(new["spec", "ports"] == old["spec", "ports"])
    }

    @Test func becomingExternalNameGivesTheAddressBack() throws {
        let old = try create { _ in }
        let (new, allocation, errors) = try update(old) {
            $0["spec", "type"] = "ExternalName"
            $0["spec", "externalName"] = "my.database.com"
        }
        #expect(errors.isEmpty)
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            #expect(new["spec", key] == nil)
        }
        #expect(new["spec", "selector"] == old["spec", "selector"])
        #expect(allocation.releasedAddresses.count == 1)
        let (back, second, _) = try update(new) {
            $0["spec", "type"] = "ClusterIP"
            $0["spec", "externalName"] = nil
        }
        #expect(back["spec", "clusterIP"]?.string != nil)
        #expect(second.takenAddresses.count == 1)
    }

    @Test func headlessServicesWithoutSelectorAreDualStack() throws {
        let object = try create {
            $0["spec"] = ["clusterIP": "None"]
        }
        #expect(object["spec", "ipFamilyPolicy"] == "RequireDualStack")
        #expect(object["spec", "ipFamilies"] == ["IPv4", "IPv6"])
        #expect(object["spec", "clusterIPs"] == ["None"])
        let selecting = try create { $0["spec", "clusterIP"] = "None" }
        #expect(selecting["spec", "ipFamilyPolicy"] == "SingleStack")
    }

    @Test func dualStackClusters() throws {
        let dual = ServiceAllocator(
            clusterRanges: [
                try #require(Prefix("10.96.0.0/16")), try #require(Prefix("fd00:10:96::/112")),
            ])
        let (prefer, _, _) = try created(
            service { $0["spec", "ipFamilyPolicy"] = "PreferDualStack" })
        let both = try dual.plan(prefer).object
        #expect(both["spec", "ipFamilies"] == ["IPv4", "IPv6"])
        #expect(both["spec", "clusterIPs"]?.array?.count == 2)
        let (single, _, _) = try created(service { $0["spec", "ipFamilies"] = ["IPv6"] })
        let six = try dual.plan(single).object
        #expect(six["spec", "clusterIP"]?.string?.hasPrefix("fd00:10:96::") == true)
        var trimmed = both
        trimmed["spec", "ipFamilyPolicy"] = "SingleStack"
        ServiceRules.prepareForUpdate(old: both, new: &trimmed)
        #expect(kind.validateUpdate(old: both, new: trimmed).isEmpty)
        let plan = try dual.plan(trimmed, old: both)
        #expect(plan.object["spec", "clusterIPs"]?.array?.count == 1)
        #expect(plan.releasedAddresses.count == 1)
        let (required, _, _) = try created(
            service { $0["spec", "ipFamilyPolicy"] = "RequireDualStack" })
        let error = #expect(throws: StatusError.self) { try allocator.plan(required) }
        #expect(
            error?.message == "Service \"web\" is invalid: spec.ipFamilyPolicy: Invalid value: "
                + "\"RequireDualStack\": this cluster is not configured for dual-stack services")
    }

    @Test func oneNodePortServesEqualPortsOfTwoProtocols() throws {
        let object = try create {
            $0["spec", "type"] = "NodePort"
            $0["spec", "ports"] = [
                ["name": "t", "port": 53, "protocol": "TCP"],
                ["name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053],
                ["name": "o", "port": 54],
            ]
        }
        let ports = (object["spec", "ports"]?.array ?? []).map { $0["nodePort"]?.int }
        #expect(ports[0] == 30053)
        #expect(ports[1] == 30053)
        #expect(ports[2] != 30053)
    }

    @Test func noNodePortsWhereNoneAreWanted() throws {
        let object = try create {
            $0["spec", "type"] = "LoadBalancer"
            $0["spec", "allocateLoadBalancerNodePorts"] = false
            $0["spec", "ports"] = [
                ["name": "a", "port": 80], ["name": "b", "port": 81, "nodePort": 30081],
            ]
        }
        #expect(object["spec", "ports"]?[0]?["nodePort"] == nil)
        #expect(object["spec", "ports"]?[1]?["nodePort"] == 30081)
    }
}

@Suite struct AllocatorTests {
    @Test func addressesComeFromTheUpperBandFirst() throws {
        let prefix = try #require(Prefix("10.0.0.0/24"))
        var allocator = ClusterIPAllocator(prefixes: [prefix])
        var generator = SeededGenerator(seed: 1)
        var order: [IPAddress] = []
        while let address = allocator.free(using: &generator) {
            #expect(allocator.isAllocatable(address))
            let isNew = allocator.insert(address)
            #expect(isNew)
            order.append(address)
        }
        #expect(order.count == 254)
        let lowest = try #require(IPAddress("10.0.0.16"))
        #expect(order.prefix(239).allSatisfy { $0 >= lowest })
        #expect(order.suffix(15).allSatisfy { $0 < lowest })
        #expect(!allocator.isAllocatable(prefix.address))
        #expect(!allocator.isAllocatable(prefix.lastAddress))
        let middle = try #require(IPAddress("10.0.0.100"))
        allocator.remove(middle)
        let again = allocator.free(using: &generator)
        #expect(again == middle)
    }

    @Test(arguments: [
        (UInt64(8), UInt64(0)), (16, 0), (32, 16), (256, 16), (4096, 256), (65536, 256),
    ])
    func staticBands(size: UInt64, band: UInt64) {
        #expect(ClusterIPAllocator.staticBand(size: size) == band)
    }

    @Test func nodePortsComeFromTheUpperBandFirst() {
        #expect(NodePortAllocator.staticBand(size: 2768) == 86)
        var allocator = NodePortAllocator(range: 30000...30099)
        var generator = SeededGenerator(seed: 2)
        var order: [Int] = []
        while let port = allocator.free(using: &generator) {
            let isNew = allocator.insert(port)
            #expect(isNew)
            order.append(port)
        }
        #expect(order.sorted() == Array(30000...30099))
        #expect(order.prefix(84).allSatisfy { $0 >= 30016 })
    }

    /// Whatever is applied and reverted, what is used is what the stored Services say.
    @Test func incrementalStateEqualsRepairedState() throws {
        let prefix = try #require(Prefix("10.96.0.0/24"))
        var allocator = ServiceAllocator(clusterRanges: [prefix], nodePortRange: 30000...30199)
        var generator = SeededGenerator(seed: 3)
        var stored: [String: JSONValue] = [:]
        for step in 0..<600 {
            let name = "s\(Int.random(in: 0..<40, using: &generator))"
            if let old = stored[name], Bool.random(using: &generator) {
                allocator.apply(allocator.release(old))
                stored[name] = nil
                continue
            }
            let type = ["ClusterIP", "NodePort", "ExternalName"].randomElement(using: &generator)
            var object = try created(
                service(name) {
                    $0["spec", "type"] = .string(type ?? "ClusterIP")
                    $0["spec", "externalName"] = "x.y"
                }
            ).object
            if let old = stored[name] { ServiceRules.prepareForUpdate(old: old, new: &object) }
            let plan = try allocator.plan(object, old: stored[name], using: &generator)
            allocator.apply(plan)
            if step.isMultiple(of: 7) {
                allocator.revert(plan)
            } else {
                stored[name] = plan.object
            }
        }
        let used = (allocator.addresses[0].usedCount, allocator.ports.usedCount)
        let corrected = allocator.repair(stored.values)
        #expect(corrected == 0)
        #expect(used == (allocator.addresses[0].usedCount, allocator.ports.usedCount))
        let addresses = stored.values.compactMap { $0["spec", "clusterIP"]?.string }
        #expect(Set(addresses).count == addresses.count)
    }
}
