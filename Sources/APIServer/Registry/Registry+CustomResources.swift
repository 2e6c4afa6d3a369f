import Informer
import JSON
import KubernetesAPI
import Store

/// CustomResourceDefinitions: what is stored of them decides which kinds are served.
extension Registry {
    private static let definitions = "customresourcedefinitions.apiextensions.k8s.io"

    private func isDefinition(_ kind: Kind) -> Bool {
        kind.resource.qualifiedName == Self.definitions
    }

    /// Serves the kinds of every stored definition: at start.
    func loadCustomKinds() throws {
        let stored = store.list(resource: Self.definitions, namespace: nil).objects
        guard !stored.isEmpty else { return }
        let added = try stored.flatMap { CustomResourceRules.kinds(of: try $0.decoded()) }
        changeKinds { kinds in
            for kind in added { kinds.add(kind) }
        }
    }

    /// A definition is established by the write that makes it: nothing has to be waited for.
    func establish(_ kind: Kind, _ object: inout JSONValue) {
        guard isDefinition(kind) else { return }
        let wanted = CustomResourceRules.establishedStatus(object, now: .now)
        // Conditions that hold already keep their times.
        guard object["status", "acceptedNames"] != wanted["acceptedNames"] else { return }
        object["status"] = wanted
    }

    /// Serves what a written definition says, or no longer what a removed one said.
    func kindsChanged(
        by kind: Kind, _ stored: StoredObject, isRemoved: Bool = false
    ) throws {
        guard isDefinition(kind) else { return }
        let definition = try stored.decoded()
        let group = definition["spec", "group"]?.string ?? ""
        let plural = definition["spec", "names", "plural"]?.string ?? ""
        let added = isRemoved ? [] : CustomResourceRules.kinds(of: definition)
        changeKinds { kinds in
            kinds.remove(qualifiedName: "\(plural).\(group)")
            for kind in added { kinds.add(kind) }
        }
    }

    /// Objects of a kind go with its definition.
    func removeInstances(
        of kind: Kind, _ definition: JSONValue, in transaction: inout StoreTransaction
    ) throws {
        guard isDefinition(kind) else { return }
        let group = definition["spec", "group"]?.string ?? ""
        let plural = definition["spec", "names", "plural"]?.string ?? ""
        for object in transaction.list(resource: "\(plural).\(group)", namespace: nil) {
            try transaction.delete(object.key)
        }
    }
}
