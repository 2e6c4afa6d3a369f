import JSON
import KubernetesAPI
import NetworkTypes
import Testing

@testable import Controllers

@Suite struct SlicePackingTests {
    private static let group = SlicePacker.Group(
        addressType: "IPv4", ports: [SlicePort(name: "", transport: .tcp, port: 80)])

    private func packer(limit: Int = 3) -> SlicePacker {
        var template = ObjectMeta(name: "", namespace: "default")
        template.labels = ["kubernetes.io/service-name": "web"]
        return SlicePacker(
            endpointLimit: limit, template: template,
            owner: OwnerReference(
                apiVersion: "v1", kind: "Service", name: "web", uid: "u", isController: true),
            placeholderTypes: ["IPv4"])
    }

    private func endpoints(_ range: Range<Int>, isReady: Bool = true) -> [SliceEndpoint] {
        range.map { SliceEndpoint(address: "10.0.0.\($0)", isReady: isReady) }
    }

    /// Applies a plan as the API server would.
    private func apply(_ plan: SlicePlan, to slices: [SliceRecord], _ next: inout Int)
        -> [SliceRecord]
    {
        var byName = Dictionary(uniqueKeysWithValues: slices.map { ($0.metadata.name, $0) })
        for key in plan.deletes { byName[key.name] = nil }
        for slice in plan.updates { byName[slice.metadata.name] = slice }
        for var slice in plan.creates {
            next += 1
            slice.metadata.name = "web-\(next)"
            byName[slice.metadata.name] = slice
        }
        return byName.values.sorted { $0.key < $1.key }
    }

    @Test func noEndpointsMakeOnePlaceholder() {
        let plan = packer().plan(desired: [:], existing: [])
        #expect(plan.creates.count == 1)
        #expect(plan.creates.first?.endpoints == [])
        #expect(plan.creates.first?.ports == [])
        var next = 0
        let slices = apply(plan, to: [], &next)
        #expect(packer().plan(desired: [:], existing: slices).isEmpty)
    }

    @Test func placeholderTurnsIntoTheFirstSliceWithoutADelete() {
        var next = 0
        let empty = apply(packer().plan(desired: [:], existing: []), to: [], &next)
        let plan = packer().plan(desired: [Self.group: endpoints(0..<2)], existing: empty)
        #expect(plan.creates.isEmpty && plan.deletes.isEmpty)
        #expect(plan.updates.map(\.metadata.name) == ["web-1"])
        #expect(plan.updates.first?.ports == Self.group.ports)
        let back = packer().plan(desired: [:], existing: apply(plan, to: empty, &next))
        #expect(back.updates.map(\.endpoints) == [[]])
        #expect(back.updates.map(\.ports) == [[]])
    }

    @Test func newEndpointsFillTheFittingSlice() {
        var next = 0
        let full = packer().plan(desired: [Self.group: endpoints(0..<4)], existing: [])
        let slices = apply(full, to: [], &next)
        #expect(slices.map(\.endpoints.count) == [3, 1])
        let plan = packer().plan(desired: [Self.group: endpoints(0..<5)], existing: slices)
        #expect(plan.updates.map(\.metadata.name) == ["web-2"])
        #expect(plan.creates.isEmpty)
    }

    @Test func freedRoomIsUsedBeforeAnotherSliceIsTouched() {
        var next = 0
        let all = packer().plan(desired: [Self.group: endpoints(0..<5)], existing: [])
        let slices = apply(all, to: [], &next)
        let changed = Array(endpoints(0..<6).dropFirst())
        let plan = packer().plan(desired: [Self.group: changed], existing: slices)
        #expect(plan.updates.map(\.metadata.name) == ["web-1"])
        #expect(
            plan.updates.first?.endpoints.map(\.address) == ["10.0.0.1", "10.0.0.2", "10.0.0.5"])
    }

    @Test func aConditionChangesOneSliceOnly() {
        var next = 0
        let all = packer().plan(desired: [Self.group: endpoints(0..<6)], existing: [])
        let slices = apply(all, to: [], &next)
        let changed = endpoints(0..<5) + endpoints(5..<6, isReady: false)
        let plan = packer().plan(desired: [Self.group: changed], existing: slices)
        #expect(plan.updates.count == 1)
        #expect(plan.creates.isEmpty && plan.deletes.isEmpty)
    }

    @Test func changedLabelsRewriteEverySlice() {
        var next = 0
        let all = packer().plan(desired: [Self.group: endpoints(0..<4)], existing: [])
        let slices = apply(all, to: [], &next)
        var other = packer()
        other.template.labels["team"] = "harbour"
        let plan = other.plan(desired: [Self.group: endpoints(0..<4)], existing: slices)
        #expect(plan.updates.count == 2)
        #expect(plan.updates.allSatisfy { $0.metadata.labels["team"] == "harbour" })
    }

    /// Any sequence of desired sets ends with slices that hold exactly the set, none above the
    /// limit, and a second look that has nothing to do.
    @Test(arguments: 0..<10) func anySequenceSettles(seed: Int) {
        var generator = SplitMix(state: UInt64(seed))
        var slices: [SliceRecord] = []
        var next = 0
        for _ in 0..<30 {
            var desired: [SlicePacker.Group: [SliceEndpoint]] = [:]
            for port: UInt16 in [80, 81] {
                let group = SlicePacker.Group(
                    addressType: "IPv4", ports: [SlicePort(name: "", transport: .tcp, port: port)])
                desired[group] = (0..<Int.random(in: 0..<20, using: &generator)).filter { _ in
                    Bool.random(using: &generator)
                }.map {
                    SliceEndpoint(
                        address: "10.\(port).0.\($0)", isReady: Bool.random(using: &generator))
                }
            }
            let plan = packer().plan(desired: desired, existing: slices)
            slices = apply(plan, to: slices, &next)
            for (group, endpoints) in desired {
                let found = slices.filter { $0.ports == group.ports }.flatMap(\.endpoints)
                #expect(Set(found) == Set(endpoints))
                #expect(found.count == endpoints.count)
            }
            #expect(slices.allSatisfy { $0.endpoints.count <= 3 })
            #expect(!slices.isEmpty)
            #expect(packer().plan(desired: desired, existing: slices).isEmpty)
        }
    }
}

/// A small generator with a seed (Steele, Lea, Flood 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
