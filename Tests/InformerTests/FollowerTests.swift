import JSON
import KubernetesAPI
import Testing

@testable import Informer

/// What a follower of a shared informer has yet to be told.
@Suite
struct FollowerTests {
    private typealias Follower = Informer<Object>.Follower
    private typealias Change = Informer<Object>.Change

    private func object(_ name: String, _ revision: Int) -> Shared<Object> {
        Shared(
            Object(json: [
                "metadata": ["name": .string(name), "resourceVersion": .string("\(revision)")]
            ]))
    }

    private func key(_ name: String) -> ObjectKey { ObjectKey(name: name) }

    /// `name old>new` of each change.
    private func lines(_ changes: [Change]) -> [String] {
        changes.map { change in
            let old = change.old?.metadata.resourceVersion ?? "-"
            return "\(change.key.name) \(old)>\(change.new?.metadata.resourceVersion ?? "-")"
        }
    }

    @Test func whoIsSlowIsToldTheLatestAndWhatItKnew() {
        var follower = Follower(expecting: [])
        let versions = (1...4).map { object("a", $0) }
        for (old, new) in zip(versions, versions.dropFirst()) {
            follower.note(Change(key: key("a"), old: old, new: new))
        }
        #expect(follower.pendingCount == 1)
        #expect(lines(follower.take(9, from: [key("a"): versions[3]])) == ["a 1>4"])
        #expect(follower.take(9, from: [key("a"): versions[3]]).isEmpty)
    }

    @Test func whatCameAndWentIsNotTold() {
        var follower = Follower(expecting: [])
        let brief = object("brief", 1)
        follower.note(Change(key: key("brief"), old: nil, new: brief))
        follower.note(Change(key: key("brief"), old: brief, new: nil))
        #expect(follower.take(9, from: [:]).isEmpty)
    }

    @Test func objectsThatComeAndGoTakeNoRoom() {
        var follower = Follower(expecting: [])
        for number in 0..<10_000 {
            let brief = object("brief-\(number)", number)
            follower.note(Change(key: brief.value.key, old: nil, new: brief))
            follower.note(Change(key: brief.value.key, old: brief, new: nil))
        }
        #expect(follower.pendingCount == 0)
        #expect(follower.queueLength < 200)
    }

    @Test func changesComeInBatchesInTheOrderOfTheirFirst() {
        var follower = Follower(expecting: [key("a"), key("b")])
        let (a, b, c) = (object("a", 1), object("b", 2), object("c", 3))
        let objects = [key("a"): a, key("b"): b, key("c"): c]
        follower.note(Change(key: key("c"), old: nil, new: c))
        #expect(lines(follower.take(2, from: objects)) == ["a ->1", "b ->2"])
        #expect(lines(follower.take(2, from: objects)) == ["c ->3"])
    }

    /// Whatever happens, and whenever the follower looks, applying what it is told gives what is
    /// there, and the old object is always the one it was told last.
    @Test func whatIsToldAddsUp() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var objects: [ObjectKey: Shared<Object>] = [:]
            var told: [ObjectKey: Object] = [:]
            var follower = Follower(expecting: [])
            for revision in 1...100 {
                let key = key("n\(Int.random(in: 0..<8, using: &generator))")
                let new = Bool.random(using: &generator) ? object(key.name, revision) : nil
                let old = objects[key]
                objects[key] = new
                if old != nil || new != nil {
                    follower.note(Change(key: key, old: old, new: new))
                }
                guard Int.random(in: 0..<5, using: &generator) == 0 else { continue }
                for change in follower.take(3, from: objects) {
                    #expect(change.old?.metadata == told[change.key]?.metadata)
                    told[change.key] = change.new
                }
            }
            for change in follower.take(.max, from: objects) { told[change.key] = change.new }
            #expect(told.mapValues(\.metadata) == objects.mapValues(\.value.metadata))
        }
    }
}
