import Informer
import JSON
import KubernetesAPI
import Synchronization

/// The tokens in a pod's projected volumes: asked for once and again before they expire, by
/// kubelet's rule: when a fifth of their life is left, and at the latest after a day.
final class ProjectedTokens: Sendable {
    /// What tells the tokens of one pod apart.
    struct Key: Hashable, Sendable {
        var audience: String
        var expirationSeconds: Int64
    }

    private struct Token: Sendable {
        var text: String
        var issued: Timestamp
        var expires: Timestamp

        func needsRefresh(at now: Timestamp) -> Bool {
            let life = expires.secondsSince(issued)
            return now >= issued.adding(seconds: min(life * 0.8, 24 * 3600))
        }
    }

    private let tokens = Mutex<[Key: Token]>([:])

    /// A token that holds, the one in use or a new one.
    /// - Parameter request: asks the API server for a token.
    /// - Throws: what `request` throws, where there is no token that still holds.
    func token(
        _ key: Key, now: Timestamp = .now,
        request: () async throws -> (token: String, expires: Timestamp)
    ) async throws -> String {
        let held = tokens.withLock { $0[key] }
        if let held, !held.needsRefresh(at: now) { return held.text }
        do {
            let answer = try await request()
            tokens.withLock {
                $0[key] = Token(text: answer.token, issued: now, expires: answer.expires)
            }
            return answer.token
        } catch {
            // The API server may be away: the old token holds for a while.
            if let held, held.expires > now { return held.text }
            throw error
        }
    }
}
