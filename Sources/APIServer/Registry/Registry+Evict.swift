import Informer
import JSON
import KubernetesAPI
import Store

extension Registry {
    /// Evicts a pod (`policy/v1` Eviction): deletes it where its PodDisruptionBudget allows. The
    /// budget is charged in the transaction of the deletion, so two evictions never share a place.
    /// - Throws: 429 where the budget forbids it; 400 where the names differ.
    func evict(
        pod name: String, namespace: String, _ eviction: JSONValue, options: DeleteOptions
    ) async throws {
        guard let kind = kinds[.pods] else { throw StatusError.pathNotFound }
        guard eviction["metadata", "name"]?.string == name else {
            throw StatusError.badRequest("name in URL does not match name in Eviction object")
        }
        let key = key(kind, namespace: namespace, name: name)
        try await commit(isDryRun: options.isDryRun) { [self] transaction in
            guard let stored = transaction.get(key) else {
                throw StatusError.notFound(.pods, name: name)
            }
            let budgets = try transaction.list(
                resource: Resource.podDisruptionBudgets.qualifiedName, namespace: namespace
            ).map { try $0.decoded() }
            if let charged = try DisruptionBudget.evict(
                try stored.decoded(), budgets: budgets, now: .now)
            {
                let place = StoreKey(
                    resource: Resource.podDisruptionBudgets.qualifiedName, namespace: namespace,
                    name: charged["metadata", "name"]?.string ?? "")
                try transaction.update(place, charged)
            }
            _ = try delete(kind, stored, options: options, in: &transaction)
        }
    }
}
