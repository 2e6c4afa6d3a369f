import JSON
import KubernetesAPI
import Testing

@testable import Informer

/// Who may write the Lease, and when: the pure part of `LeaderElection`.
@Suite
struct LeaderElectionTests {
    private static let key = ObjectKey(namespace: "kube-system", name: "leader")
    private let start = ContinuousClock.now

    private func lease(_ holder: String, renewed: String, revision: Int = 7) -> JSONValue {
        [
            "metadata": ["resourceVersion": .string("\(revision)")],
            "spec": [
                "holderIdentity": .string(holder), "leaseDurationSeconds": 15,
                "renewTime": .string(renewed), "leaseTransitions": 3,
            ],
        ]
    }

    private func wish(_ observer: LeaseObserver, after seconds: Int) -> JSONValue? {
        observer.wish(
            Self.key, leaseSeconds: 15, now: start + .seconds(seconds),
            time: Timestamp(nanoseconds: 0))
    }

    @Test func aLeaseThatIsNotThereIsMade() {
        var observer = LeaseObserver(identity: "a")
        observer.observe(nil, at: start)
        let made = wish(observer, after: 0)
        #expect(made?["spec", "holderIdentity"]?.string == "a")
        #expect(made?["spec", "leaseTransitions"]?.int == 0)
        #expect(made?["metadata", "resourceVersion"] == nil)
    }

    @Test func anotherHoldsItAsLongAsItChanges() {
        var observer = LeaseObserver(identity: "a")
        observer.observe(lease("b", renewed: "1"), at: start)
        #expect(observer.isHeldByAnother)
        observer.observe(lease("b", renewed: "2"), at: start + .seconds(10))
        #expect(wish(observer, after: 24) == nil)
        // Read again without a change: its age counts from the change.
        observer.observe(lease("b", renewed: "2"), at: start + .seconds(24))
        let taken = wish(observer, after: 25)
        #expect(taken?["spec", "holderIdentity"]?.string == "a")
        #expect(taken?["spec", "leaseTransitions"]?.int == 4)
        #expect(taken?["metadata", "resourceVersion"]?.string == "7")
    }

    @Test func theHolderRenewsWithoutATransition() {
        var observer = LeaseObserver(identity: "a")
        observer.observe(lease("a", renewed: "1"), at: start)
        #expect(!observer.isHeldByAnother)
        #expect(wish(observer, after: 0)?["spec", "leaseTransitions"]?.int == 3)
    }

    @Test func aLeaseGivenBackIsTakenAtOnce() {
        var holder = LeaseObserver(identity: "b")
        holder.observe(lease("b", renewed: "1"), at: start)
        let released = holder.release(Self.key, time: Timestamp(nanoseconds: 0))
        var observer = LeaseObserver(identity: "a")
        observer.observe(released, at: start)
        #expect(wish(observer, after: 0)?["spec", "holderIdentity"]?.string == "a")
        #expect(observer.release(Self.key, time: Timestamp(nanoseconds: 0)) == nil)
    }
}
