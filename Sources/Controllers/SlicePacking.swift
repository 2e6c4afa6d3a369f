import KubernetesAPI

/// What has to be written so that slices hold the desired endpoints.
struct SlicePlan: Equatable {
    var creates: [SliceRecord] = []
    var updates: [SliceRecord] = []
    var deletes: [ObjectKey] = []

    var isEmpty: Bool { creates.isEmpty && updates.isEmpty && deletes.isEmpty }
}

/// Spreads endpoints over slices with as few writes as can be, after KEP-752: endpoints stay in the
/// slice that has them, new ones go to slices that are written anyway, then to one slice that has
/// room for them all, then to new slices.
struct SlicePacker {
    /// The endpoints that belong together in slices.
    struct Group: Hashable {
        var addressType: String
        var ports: [SlicePort]
    }

    /// kube-controller-manager's `--max-endpoints-per-slice`.
    var endpointLimit = 100
    /// Labels and annotations, owner and namespace of every slice.
    var template: ObjectMeta
    var owner: OwnerReference
    /// Address types that get an empty placeholder slice when they have no endpoint.
    var placeholderTypes: [String] = []

    func plan(desired: [Group: [SliceEndpoint]], existing: [SliceRecord]) -> SlicePlan {
        var plan = SlicePlan()
        var byGroup: [Group: [SliceRecord]] = [:]
        for slice in existing.sorted(by: { $0.key < $1.key }) {
            byGroup[Group(addressType: slice.addressType, ports: slice.ports), default: []]
                .append(slice)
        }
        var wanted = desired.filter { !$0.value.isEmpty }
        for type in placeholderTypes where !wanted.keys.contains(where: { $0.addressType == type })
        {
            wanted[Group(addressType: type, ports: [])] = []
        }
        var superfluous: [SliceRecord] = []
        for (group, slices) in byGroup where wanted[group] == nil { superfluous += slices }
        for (group, endpoints) in wanted.sorted(by: { Self.isBefore($0.key, $1.key) }) {
            pack(group, endpoints, byGroup[group] ?? [], &plan, &superfluous)
        }
        reuse(&plan, superfluous.sorted { $0.key < $1.key })
        return plan
    }

    private func pack(
        _ group: Group, _ endpoints: [SliceEndpoint], _ slices: [SliceRecord],
        _ plan: inout SlicePlan, _ superfluous: inout [SliceRecord]
    ) {
        if endpoints.isEmpty {
            pack(placeholderOf: group, slices, &plan, &superfluous)
            return
        }
        var missing: [SliceEndpoint.Identity: SliceEndpoint] = [:]
        for endpoint in endpoints { missing[endpoint.identity] = endpoint }
        var touched: [SliceRecord] = []
        var untouched: [SliceRecord] = []
        for slice in slices {
            let kept = keep(slice, &missing)
            if kept.endpoints.isEmpty {
                superfluous.append(slice)
            } else if kept.endpoints != slice.endpoints || isOutdated(slice) {
                touched.append(kept)
            } else {
                untouched.append(kept)
            }
        }
        var rest = endpoints.filter { missing[$0.identity] != nil }
        fill(&touched, &untouched, &rest)
        plan.updates += touched.map(stamped)
        while !rest.isEmpty {
            var slice = SliceRecord(
                metadata: ObjectMeta(name: ""), addressType: group.addressType, ports: group.ports)
            slice.endpoints = Array(rest.prefix(endpointLimit))
            rest.removeFirst(slice.endpoints.count)
            plan.creates.append(stamped(slice))
        }
    }

    /// Puts `rest` into slices that are written anyway, fullest first, then into the one untouched
    /// slice that it fits best.
    private func fill(
        _ touched: inout [SliceRecord], _ untouched: inout [SliceRecord],
        _ rest: inout [SliceEndpoint]
    ) {
        touched.sort { ($1.endpoints.count, $0.key) < ($0.endpoints.count, $1.key) }
        for index in touched.indices where !rest.isEmpty {
            let room = max(0, endpointLimit - touched[index].endpoints.count)
            touched[index].endpoints += rest.prefix(room)
            rest.removeFirst(min(room, rest.count))
        }
        let overflow = rest.count % endpointLimit
        let fitting = untouched.indices
            .filter { untouched[$0].endpoints.count + overflow <= endpointLimit }
            .max { untouched[$0].endpoints.count < untouched[$1].endpoints.count }
        guard overflow > 0, let fitting else { return }
        var slice = untouched.remove(at: fitting)
        slice.endpoints += rest.suffix(overflow)
        rest.removeLast(overflow)
        touched.append(slice)
    }

    private func keep(
        _ slice: SliceRecord, _ missing: inout [SliceEndpoint.Identity: SliceEndpoint]
    ) -> SliceRecord {
        var kept = slice
        kept.endpoints = slice.endpoints.prefix(endpointLimit).compactMap {
            missing.removeValue(forKey: $0.identity)
        }
        return kept
    }

    private func pack(
        placeholderOf group: Group, _ slices: [SliceRecord],
        _ plan: inout SlicePlan, _ superfluous: inout [SliceRecord]
    ) {
        guard var first = slices.first else {
            plan.creates.append(
                stamped(
                    SliceRecord(
                        metadata: ObjectMeta(name: ""), addressType: group.addressType,
                        ports: [])))
            return
        }
        superfluous += slices.dropFirst()
        if isOutdated(first) || !first.endpoints.isEmpty {
            first.endpoints = []
            plan.updates.append(stamped(first))
        }
    }

    /// Turns pairs of delete and create of one address type into updates: a watcher then never
    /// sees a moment without the endpoints.
    private func reuse(_ plan: inout SlicePlan, _ superfluous: [SliceRecord]) {
        for slice in superfluous {
            let index = plan.creates.firstIndex { $0.addressType == slice.addressType }
            guard let index else {
                plan.deletes.append(slice.key)
                continue
            }
            var updated = slice
            updated.ports = plan.creates[index].ports
            updated.endpoints = plan.creates[index].endpoints
            plan.creates.remove(at: index)
            plan.updates.append(stamped(updated))
        }
    }

    // MARK: - Metadata

    private func isOutdated(_ slice: SliceRecord) -> Bool {
        slice.metadata.labels != template.labels || !slice.owners.contains(owner)
    }

    private func stamped(_ slice: SliceRecord) -> SliceRecord {
        var slice = slice
        slice.metadata.namespace = template.namespace
        slice.metadata.labels = template.labels
        slice.metadata.annotations.merge(template.annotations) { $1 }
        slice.owners = [owner]
        return slice
    }

    private static func isBefore(_ left: Group, _ right: Group) -> Bool {
        if left.addressType != right.addressType { return left.addressType < right.addressType }
        return left.ports.lexicographicallyPrecedes(right.ports)
    }
}
