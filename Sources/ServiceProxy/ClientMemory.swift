import NFTables
import NetworkTypes

/// A way to remember clients: one chain for all frontends of a kind with the same timeout.
struct Remembering: Hashable, Sendable {
    var kind: FrontendKind
    var timeoutSeconds: Int

    /// What stands for it in the maps.
    var number: UInt32 { UInt32(timeoutSeconds) * 2 + (kind == .address ? 0 : 1) }

    /// The chain's name.
    var chainName: String {
        (kind == .address ? "remember-" : "remember-port-") + "\(timeoutSeconds)"
    }
}

extension Dispatch {
    /// How the treatment's clients are remembered; nil without affinity.
    var remembering: Remembering? {
        affinityTimeoutSeconds.map { Remembering(kind: kind, timeoutSeconds: $0) }
    }
}

extension FrontendRules {
    /// How the frontend's clients are remembered; nil without affinity.
    var remembering: Remembering? { dispatch.remembering ?? shortCircuit?.remembering }
}

extension RulesetOptions {
    /// The bit of the packet mark that asks to remember the client: the one after masquerading's.
    var rememberBit: UInt32 { masqueradeBit << 1 | masqueradeBit >> 31 }
}

/// Clients are remembered once their destination is translated: the packet then tells both where
/// it was sent and where it goes. Every new connection starts the timeout anew.
extension Ruleset {
    /// Leads marked packets to `remember`.
    func remembering(_ chain: String) -> Rule {
        rule(chain, [.match(mark: options.rememberBit), .verdict(.jump("remember"))])
    }

    /// Finds out by what key and for how long the client is to be remembered.
    var rememberRules: [Rule] {
        let keys: [([Selector], NamedSet)] = [
            ([.ctOriginalDestination(family)] + originalPort, sticky),
            (originalPort, nodePortSticky),
        ]
        return [rule("remember", [.clearMark(bits: options.rememberBit)])]
            + keys.map { key, map in
                rule(
                    "remember",
                    [
                        .setMeta(.priority, .map(key, name: map.name, fields: [.classID])),
                        .verdictMap([.priority], name: rememberers.name),
                    ])
            }
    }

    /// The rule of the chain that remembers.
    func rule(for remembering: Remembering) -> Rule {
        let isAddress = remembering.kind == .address
        return rule(
            remembering.chainName,
            [
                .update(
                    set: isAddress ? affinity.name : nodePortAffinity.name,
                    key: [.ctOriginalSource(family)]
                        + (isAddress ? [.ctOriginalDestination(family)] : []) + originalPort,
                    data: [destination, .destinationPort],
                    timeoutMilliseconds: UInt64(remembering.timeoutSeconds) * 1000)
            ])
    }

    /// Makes the chain that remembers so, and the element that leads to it.
    func add(_ remembering: Remembering, to transaction: inout Transaction) {
        transaction.add(Chain(remembering.chainName, in: table))
        transaction.flush(chain: remembering.chainName, in: table)
        transaction.add(rule(for: remembering))
        transaction.add([element(remembering)], to: rememberers)
    }

    /// Takes both away.
    func remove(_ remembering: Remembering, from transaction: inout Transaction) {
        transaction.delete([element(remembering)], from: rememberers)
        transaction.delete(chain: remembering.chainName, in: table)
    }

    private func element(_ remembering: Remembering) -> Element {
        Element(Value(.number(remembering.number)), .verdict(.goto(remembering.chainName)))
    }

    private var originalPort: [Selector] { [.transportProtocol, .ctOriginalDestinationPort] }
}
