import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@Suite struct AddressAllocatorTests {
    private func allocator(_ pools: AddressPool...) -> AddressAllocator {
        var allocator = AddressAllocator()
        allocator.setPools(pools)
        return allocator
    }

    @Test func givesTheLowestFreeAddressAndTakesItBack() throws {
        var allocator = allocator(try pool("a", "10.1.0.2-10.1.0.4"))
        for (name, text) in [("x", "10.1.0.2"), ("y", "10.1.0.3"), ("z", "10.1.0.4")] {
            let assignment = try allocator.allocate(try request(name))
            #expect(assignment.addresses == [try address(text)])
            #expect(assignment.pool == "a")
        }
        #expect(throws: AllocationError.exhausted(pools: ["a"], families: [.ipv4])) {
            try allocator.allocate(try request("w"))
        }
        allocator.release(ObjectKey(namespace: "default", name: "x"))
        #expect(try allocator.allocate(try request("w")).addresses == [try address("10.1.0.2")])
    }

    @Test func avoidsBuggyAddresses() throws {
        var allocator = allocator(try pool("a", "10.1.0.254-10.1.1.1", avoidBuggyIPs: true))
        #expect(try allocator.allocate(try request("x")).addresses == [try address("10.1.0.254")])
        #expect(try allocator.allocate(try request("y")).addresses == [try address("10.1.1.1")])
        let asked = try request("z", spec: ["loadBalancerIP": "10.1.0.255"])
        #expect(throws: AllocationError.self) { try allocator.allocate(asked) }
    }

    @Test func triesPinnedPoolsByPriorityAndThenTheRest() throws {
        let first = PoolServiceAllocation(priority: 1, namespaces: ["default"])
        let last = PoolServiceAllocation(priority: 0, namespaces: ["default"])
        let foreign = PoolServiceAllocation(priority: 1, namespaces: ["other"])
        var allocator = allocator(
            try pool("free", "10.9.0.1/32"), try pool("late", "10.4.0.1/32", allocation: last),
            try pool("foreign", "10.3.0.1/32", allocation: foreign),
            try pool("hidden", "10.2.0.1/32", autoAssign: false),
            try pool("early", "10.1.0.1/32", allocation: first))
        let order = try ["a", "b", "c"].map { try allocator.allocate(try request($0)).pool }
        #expect(order == ["early", "late", "free"])
        let asked = try request("d", annotations: ["metallb.io/address-pool": "hidden"])
        #expect(try allocator.allocate(asked).pool == "hidden")
        let pinned = try request("e", annotations: ["metallb.io/address-pool": "foreign"])
        #expect(throws: AllocationError.self) { try allocator.allocate(pinned) }
        let unknown = try request("f", annotations: ["metallb.io/address-pool": "none"])
        #expect(
            throws: AllocationError.unknownPool(
                "none", known: ["free", "late", "foreign", "hidden", "early"])
        ) { try allocator.allocate(unknown) }
    }

    @Test func sharesUnderEqualKeysWithDifferentPorts() throws {
        var allocator = allocator(try pool("a", "10.1.0.0/24"))
        let key = ["metallb.io/allow-shared-ip": "k"]
        let first = try allocator.allocate(try request("x", annotations: key, port: 80))
        let second = try allocator.allocate(try request("y", annotations: key, port: 443))
        #expect(first.addresses == second.addresses)
        #expect(allocator.usedCount(pool: allocator.pools[0], .ipv4) == 1)
        // A port that is taken, another key and another back end each get an address of their own.
        let samePort = try allocator.allocate(try request("z", annotations: key, port: 80))
        #expect(samePort.addresses != first.addresses)
        let other = ["metallb.io/allow-shared-ip": "m"]
        #expect(
            try allocator.allocate(try request("v", annotations: other, port: 8080)).addresses
                != first.addresses)
        let local = try request(
            "w", annotations: key, port: 81, spec: ["externalTrafficPolicy": "Local"])
        #expect(try allocator.allocate(local).addresses != first.addresses)
        allocator.release(ObjectKey(namespace: "default", name: "x"))
        let asked = try request("u", port: 99, spec: ["loadBalancerIP": "10.1.0.0"])
        #expect(throws: AllocationError.self) { try allocator.allocate(asked) }
    }

    @Test func dualStackNeedsBothFamiliesFromOnePool() throws {
        var allocator = allocator(
            try pool("four", "10.1.0.0/24"), try pool("both", "10.2.0.0/24", "2001:db8::/64"))
        let families = ["IPv6", "IPv4"]
        let both = try allocator.allocate(
            try request("x", families: families, policy: "RequireDualStack"))
        #expect(both.pool == "both")
        #expect(both.addresses == [try address("2001:db8::"), try address("10.2.0.0")])
        var narrow = AddressAllocator()
        narrow.setPools([try pool("four", "10.1.0.0/24")])
        let preferred = try narrow.allocate(
            try request("y", families: families, policy: "PreferDualStack"))
        #expect(preferred.addresses == [try address("10.1.0.0")])
        #expect(throws: AllocationError.self) {
            try narrow.allocate(try request("z", families: families, policy: "RequireDualStack"))
        }
    }

    @Test(arguments: [
        (
            ["metallb.io/loadBalancerIPs": "10.1.0.1"],
            ["loadBalancerIP": JSONValue.string("10.1.0.2")], "exclude each other"
        ),
        (["metallb.io/loadBalancerIPs": "10.1.0.1,10.1.0.2"], [:], "more than one IPv4"),
        (["metallb.io/loadBalancerIPs": "2001:db8::1"], [:], "not of the Service's families"),
        (["metallb.io/loadBalancerIPs": "nonsense"], [:], "\"nonsense\" is no IP address"),
    ])
    func refusesRequestsThatCannotBeFollowed(
        annotations: [String: String], spec: [String: JSONValue], text: String
    ) {
        #expect {
            try request("x", annotations: annotations, spec: spec)
        } throws: { error in
            "\(error)".contains(text)
        }
    }

    @Test func oldAnnotationPrefixWorksWithAWarning() throws {
        let read = try request(
            "x", annotations: ["metallb.universe.tf/loadBalancerIPs": "10.1.0.9"])
        #expect(read.addresses == [try address("10.1.0.9")])
        #expect(read.warnings.first?.contains("use metallb.io/loadBalancerIPs") == true)
    }

    /// Against a plain model: no address twice, none outside the pool, and exhaustion only when
    /// every address is taken.
    @Test func randomStepsKeepTheInvariants() throws {
        var allocator = allocator(try pool("a", "10.1.0.0/28", "10.1.1.0/30"))
        var model: [String: IPAddress] = [:]
        for step in 0..<3_000 {
            let name = "s\(Int.random(in: 0..<30))"
            if model[name] != nil, Bool.random() {
                allocator.release(ObjectKey(namespace: "default", name: name))
                model[name] = nil
            } else if model[name] == nil {
                let assignment = try? allocator.allocate(try request(name))
                #expect((assignment == nil) == (model.count == 20), "step \(step)")
                if let given = assignment?.addresses.first {
                    #expect(!model.values.contains(given))
                    #expect(allocator.pools[0].offers(given))
                    model[name] = given
                }
            }
        }
    }
}
