public import Informer
import JSON
public import KubernetesAPI
public import Logging

/// The secret that speakers sign their heartbeats with. MetalLB's own, Secret
/// metallb-system/memberlist, is used where the user has made it; Portolan never creates that one
/// and otherwise keeps a secret of its own.
public enum SpeakerSecret {
    /// MetalLB's secret.
    public static let memberlist = ObjectKey(namespace: "metallb-system", name: "memberlist")
    /// Portolan's own secret.
    public static let own = ObjectKey(namespace: "kube-system", name: "portolan-speaker")
    /// The key in both.
    public static let dataKey = "secretkey"

    /// Creates Portolan's own secret where it is missing.
    /// - Throws: `StatusError`, but not where another was faster.
    public static func ensure(client: any KubernetesClient) async throws {
        do {
            _ = try await client.get(.secrets, namespace: own.namespace, name: own.name)
        } catch let error as StatusError where error.isNotFound {
            var generator = SystemRandomNumberGenerator()
            let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let object: JSONValue = [
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": [
                    "name": .string(own.name), "namespace": .string(own.namespace),
                ],
                "data": .object([dataKey: .string(Base64.encode(bytes))]),
            ]
            do {
                _ = try await client.create(.secrets, object)
            } catch let error as StatusError where error.isAlreadyExists {
                // Another process made it between the two requests: it will do.
            }
        }
    }

    /// Creates it where it is missing, and tries until it is there or the task is cancelled.
    public static func ensureAtLast(client: any KubernetesClient, logger: Logger) async {
        let backoff = Backoff()
        var attempt = 0
        while !Task.isCancelled {
            do {
                return try await ensure(client: client)
            } catch {
                attempt += 1
                logger.debug(
                    "the speakers' secret is not there yet", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
    }

    /// The bytes in a Secret; nil where it has none of that key.
    public static func bytes(_ secret: Object?) -> [UInt8]? {
        guard let text = secret?.json["data", dataKey]?.string,
            let bytes: [UInt8] = Base64.decode(text), !bytes.isEmpty
        else { return nil }
        return bytes
    }
}
