import AddressPools
import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@Suite struct AddressAssignerTests {
    private static let config =
        "address-pools:\n- {name: a, protocol: layer2, addresses: [10.1.0.2-10.1.0.3]}"

    private func configuration(_ text: String? = config) throws -> LoadBalancerConfiguration {
        try LoadBalancerConfiguration(configMapText: text, objects: [])
    }

    private func key(_ name: String) -> ObjectKey { ObjectKey(namespace: "default", name: name) }

    private func add(
        _ json: JSONValue, to assigner: inout AddressAssigner
    ) throws -> AddressAssigner.Effects {
        let service = try LoadBalancerService(json: json)
        return assigner.update(service.key, service)
    }

    private func started(_ text: String? = config) throws -> AddressAssigner {
        var assigner = AddressAssigner()
        _ = assigner.update(.success(try configuration(text)))
        _ = assigner.start()
        return assigner
    }

    @Test func saysWhatToDoWhereThereIsNoPool() throws {
        var assigner = try started(nil)
        let effects = try add(serviceJSON("web"), to: &assigner)
        let event = try #require(effects.events.first)
        #expect(event.isWarning && event.reason == "AllocationFailed")
        #expect(event.message.contains("create an IPAddressPool"))
        let patch = try #require(assigner.patches(for: key("web"), now: "T")?.status)
        let condition = patch["status", "conditions"]?[0]
        #expect(condition?["type"] == "portolan.io/LoadBalancerReady")
        #expect(condition?["status"] == "False")
        #expect(condition?["reason"] == "NoAddressPool")
        #expect(condition?["lastTransitionTime"] == "T")
        // The echo of that write changes nothing and says nothing again.
        var echo = serviceJSON("web")
        echo["status", "conditions"] = patch["status", "conditions"]
        #expect(try add(echo, to: &assigner).events.isEmpty)
        #expect(assigner.patches(for: key("web"), now: "U")?.status == nil)
        // A pool ends the wait.
        let pooled = assigner.update(.success(try configuration()))
        #expect(pooled.events.map(\.reason) == ["IPAllocated"])
        #expect(pooled.arePoolsChanged)
        let done = try #require(assigner.patches(for: key("web"), now: "V"))
        #expect(done.status?["status", "loadBalancer", "ingress"] == [["ip": "10.1.0.2"]])
        #expect(done.status?["status", "conditions"]?[0]?["status"] == "True")
        #expect(
            done.metadata?["metadata", "annotations", "metallb.io/ip-allocated-from-pool"] == "a")
    }

    @Test func aRestartKeepsEveryAddress() throws {
        var assigner = AddressAssigner()
        // The newer Service holds what the older would otherwise get.
        _ = try add(serviceJSON("old", created: "2026-01-01T00:00:00Z"), to: &assigner)
        _ = try add(
            serviceJSON("new", ingress: ["10.1.0.2"], created: "2026-01-02T00:00:00Z"),
            to: &assigner)
        _ = assigner.update(.success(try configuration()))
        let effects = assigner.start()
        #expect(effects.events.map(\.reason) == ["IPAllocated"])
        #expect(
            assigner.allocator.assignment(of: key("new"))?.addresses == [try address("10.1.0.2")])
        #expect(
            assigner.allocator.assignment(of: key("old"))?.addresses == [try address("10.1.0.3")])
    }

    @Test func anInvalidConfigurationAtStartTouchesNoAddress() throws {
        var assigner = AddressAssigner()
        _ = try add(serviceJSON("web", ingress: ["10.1.0.2"]), to: &assigner)
        let error = try #require(throws: ConfigurationError.self) { try configuration("pears: 1") }
        let effects = assigner.update(.failure(error))
        #expect(effects.events.first?.subject == .configMap)
        #expect(effects.events.first?.reason == "InvalidConfiguration")
        _ = assigner.start()
        #expect(assigner.patches(for: key("web"), now: "T") == nil)
    }

    @Test func anInvalidChangeKeepsTheLastValidConfiguration() throws {
        var assigner = try started()
        _ = try add(serviceJSON("web"), to: &assigner)
        let error = try #require(throws: ConfigurationError.self) { try configuration("pears: 1") }
        let effects = assigner.update(.failure(error))
        #expect(effects.events.first?.message.contains("last valid") == true)
        #expect(assigner.update(.failure(error)).events.isEmpty)
        #expect(assigner.configuration?.pools.map(\.name) == ["a"])
        #expect(assigner.configurationError != nil)
        #expect(assigner.allocator.assignment(of: key("web")) != nil)
    }

    @Test func aShrunkPoolLeadsToAnotherAddress() throws {
        var assigner = try started()
        _ = try add(serviceJSON("web"), to: &assigner)
        let moved = "address-pools:\n- {name: a, protocol: layer2, addresses: [10.1.0.9/32]}"
        let effects = assigner.update(.success(try configuration(moved)))
        #expect(effects.events.map(\.reason) == ["ClearAssignment", "IPAllocated"])
        #expect(
            assigner.allocator.assignment(of: key("web"))?.addresses == [try address("10.1.0.9")])
    }

    @Test func freedAddressesGoToThoseWhoWait() throws {
        var assigner = try started()
        for name in ["a", "b", "c"] { _ = try add(serviceJSON(name), to: &assigner) }
        #expect(assigner.waiting.keys.sorted() == [key("c")])
        let effects = assigner.update(key("a"), nil)
        #expect(effects.events.map(\.reason) == ["IPAllocated"])
        #expect(assigner.waiting.isEmpty)
    }

    @Test func aChangeOfTypeTakesTheMarksOff() throws {
        var assigner = try started()
        _ = try add(serviceJSON("web"), to: &assigner)
        let patches = try #require(assigner.patches(for: key("web"), now: "T"))
        var json = serviceJSON(
            "web", annotations: ["metallb.io/ip-allocated-from-pool": "a"],
            spec: ["type": "ClusterIP"])
        json["status", "conditions"] = patches.status?["status", "conditions"]
        let effects = try add(json, to: &assigner)
        #expect(effects.events.map(\.reason) == ["ClearAssignment"])
        let off = try #require(assigner.patches(for: key("web"), now: "T"))
        #expect(off.status?["status", "conditions"] == .null)
        #expect(
            off.metadata?["metadata", "annotations", "metallb.io/ip-allocated-from-pool"] == .null)
        #expect(assigner.allocator.assignment(of: key("web")) == nil)
    }

    @Test func otherClassesAreLeftAlone() throws {
        var assigner = try started()
        let json = serviceJSON("web", spec: ["loadBalancerClass": "example.com/other"])
        #expect(try add(json, to: &assigner).events.isEmpty)
        #expect(assigner.patches(for: key("web"), now: "T") == nil)
    }

    @Test func anotherControllersAddressesStayWithoutPools() throws {
        var assigner = try started(nil)
        #expect(try add(serviceJSON("web", ingress: ["203.0.113.9"]), to: &assigner).events.isEmpty)
        #expect(assigner.patches(for: key("web"), now: "T") == nil)
    }

    @Test func steppingAsideWritesNothingAndComingBackKeepsAddresses() throws {
        var assigner = try started()
        _ = try add(serviceJSON("web", ingress: ["10.1.0.3"]), to: &assigner)
        _ = assigner.setAside(true)
        #expect(assigner.patches(for: key("web"), now: "T") == nil)
        let effects = assigner.setAside(false)
        #expect(effects.events.isEmpty)
        #expect(
            assigner.allocator.assignment(of: key("web"))?.addresses == [try address("10.1.0.3")])
    }

    @Test func saysWhereNothingAnnouncesAnAddress() throws {
        let pool = PoolObjectTests.object("IPAddressPool", "p", ["addresses": ["10.1.0.0/24"]])
        var assigner = AddressAssigner()
        _ = assigner.update(
            .success(try LoadBalancerConfiguration(configMapText: nil, objects: [pool])))
        _ = assigner.start()
        let effects = try add(serviceJSON("web"), to: &assigner)
        #expect(effects.events.map(\.reason) == ["IPAllocated", "announceFailed"])
        let patch = try #require(assigner.patches(for: key("web"), now: "T")?.status)
        #expect(patch["status", "conditions"]?[0]?["reason"] == "NoAdvertisement")
        let advertisement = PoolObjectTests.object("L2Advertisement", "l2", [:])
        _ = assigner.update(
            .success(
                try LoadBalancerConfiguration(configMapText: nil, objects: [pool, advertisement])))
        let ready = try #require(assigner.patches(for: key("web"), now: "T")?.status)
        #expect(ready["status", "conditions"]?[0]?["status"] == "True")
    }
}
