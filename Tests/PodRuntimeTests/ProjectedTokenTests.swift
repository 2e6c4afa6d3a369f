import Informer
import KubernetesAPI
import Synchronization
import Testing

@testable import PodRuntime

/// When a pod's token is asked for anew.
@Suite struct ProjectedTokenTests {
    private struct Away: Error {}

    private static let key = ProjectedTokens.Key(audience: "", expirationSeconds: 3600)

    /// Asks at moments, in seconds after the first; tokens are numbered.
    private func ask(
        _ seconds: [Double], life: Double, failing: Set<Int> = []
    ) async throws -> [String] {
        let tokens = ProjectedTokens()
        let start = Timestamp(seconds: 1_000_000)
        let asked = Mutex(0)
        var answers: [String] = []
        for second in seconds {
            let now = start.adding(seconds: second)
            let answer = try? await tokens.token(Self.key, now: now) {
                let number = asked.withLock { count in
                    count += 1
                    return count
                }
                if failing.contains(number) { throw Away() }
                return ("t\(number)", now.adding(seconds: life))
            }
            answers.append(answer ?? "none")
        }
        return answers
    }

    @Test func isKeptForFourFifthsOfItsLife() async throws {
        #expect(
            try await ask([0, 10, 2879, 2880, 2890], life: 3600) == [
                "t1", "t1", "t1", "t2", "t2",
            ])
    }

    @Test func isAskedForAnewAfterADay() async throws {
        #expect(
            try await ask([0, 86_399, 86_400], life: 30 * 86_400) == ["t1", "t1", "t2"])
    }

    @Test func outlivesAnAPIServerThatIsAway() async throws {
        #expect(
            try await ask([0, 3000, 3100, 3700], life: 3600, failing: [2, 3, 4]) == [
                "t1", "t1", "t1", "none",
            ])
    }
}
