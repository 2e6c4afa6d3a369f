import NFTables
import NetworkTypes

/// What one family's table holds in the kernel, as far as it concerns the proxy.
struct KernelReading {
    /// False where the table is not there at all.
    var exists = false
    /// The fingerprint of the chains; nil where there is none.
    var fingerprint: String?
    /// The treatments that have a number and a chain in every map that should lead to them.
    var numbers: [Dispatch: UInt32] = [:]
    /// Chains that are there.
    var chains: Set<String> = []
    /// The elements that Services account for; empty where only their digest was asked for.
    var elements: [ElementID: Value] = [:]
    /// What the elements sum up to.
    var digest = ElementDigest()

    /// True where the sets are those of this layout, so that elements can be compared.
    var hasCurrentLayout: Bool {
        fingerprint?.hasPrefix("portolan layout \(Ruleset.layoutVersion) ") == true
    }

    /// The reading of a table that is not there.
    init() {}

    /// Reads a family's table.
    /// - Parameter keepsElements: false to learn only whether they are those expected, at a
    ///   fraction of the memory and time.
    init(
        _ ruleset: Ruleset, from backend: any NFTablesBackend, keepsElements: Bool = true
    ) throws {
        guard try backend.tables().contains(ruleset.table) else { return }
        exists = true
        chains = Set(try backend.chains(in: ruleset.table).map(\.name))
        guard chains.contains("postrouting") else { return }
        fingerprint = try backend.rules(in: ruleset.table, chain: "postrouting").first?.rule.comment
        guard hasCurrentLayout else { return }
        var found: [Dispatch: [UInt32]] = [:]
        for set in [
            ruleset.treatments, ruleset.guardedTreatments, ruleset.shortCircuitTreatments,
        ] {
            for element in try backend.elements(of: set) {
                guard case .verdict(.goto(let chain)) = element.content,
                    let dispatch = Dispatch(chainName: chain)
                else { continue }
                found[dispatch, default: []].append(element.key.number())
            }
        }
        for (dispatch, these) in found {
            guard let number = these.first,
                these
                    == [UInt32](
                        repeating: number, count: ruleset.treatmentMaps(of: dispatch).count)
            else { continue }
            numbers[dispatch] = number
        }
        for set in ElementSet.allCases {
            try backend.forEachElement(of: set.named(in: ruleset)) { element in
                let id = ElementID(family: ruleset.family, set: set, key: element.key)
                let value = set.value(of: element)
                digest.add(id, value)
                if keepsElements { elements[id] = value }
            }
        }
    }

    /// What must change so that the kernel holds `desired` of this family.
    func difference(
        to desired: [ElementID: Value], _ family: IPAddress.Family
    ) -> ElementChanges {
        var changes = ElementChanges()
        for (id, value) in elements where desired[id] != value { changes.remove(id, value) }
        for (id, value) in desired where id.family == family && elements[id] != value {
            changes.add(id, value)
        }
        return changes
    }
}

/// A sum over elements that does not depend on their order. Equal digests mean equal elements but
/// for one chance in 2^64 (hashes are seeded anew in every process).
struct ElementDigest: Hashable, Sendable {
    private var sum = 0
    private var count = 0

    mutating func add(_ id: ElementID, _ value: Value) {
        var hasher = Hasher()
        hasher.combine(id)
        hasher.combine(value)
        sum &+= hasher.finalize()
        count += 1
    }
}

extension ElementSet {
    /// What `ElementChanges` keeps for an element.
    fileprivate func value(of element: Element) -> Value {
        switch self {
        case .hairpins, .locallyServed: Value()
        case .allowedSources: element.lastKey ?? element.key
        default: if case .value(let value) = element.content { value } else { Value() }
        }
    }
}
