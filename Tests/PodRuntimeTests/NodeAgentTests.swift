import Glibc
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

@testable import PodRuntime

@Suite(.offPool) struct NodeAgentTests {
    @Test func servesHostnamesAndEndsGracefully() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                for index in 1...3 {
                    try await node.create("web-\(index)", spec(image: "portolan/hostname"))
                }
                var addresses: Set<IPAddress> = []
                for index in 1...3 {
                    let pod = try await node.waitFor("web-\(index)", "ready") { $0.isReady }
                    #expect(pod.phase == "Running")
                    addresses.formUnion(pod.podIPs)
                    try await eventually("the server of web-\(index) answers") {
                        try await node.curl(pod).contains("web-\(index)")
                    }
                    let answer = try await node.curl(pod)
                    #expect(
                        answer
                            == "Hello, I am web-\(index) on \(node.configuration.nodeName); "
                            + "you are 172.30.0.11\n")
                }
                #expect(addresses.count == 3)
                try await node.api.delete(
                    .pods, namespace: "default", name: "web-1", options: nil)
                try await node.waitUntilGone("web-1")
                #expect(node.network.isSetUp(PodSpecification.shortID(uid: "web-1")) == false)
                let events = try await node.events("web-1")
                for reason in ["Pulled", "Created", "Started", "Killing"] {
                    #expect(events.contains { $0.hasPrefix(reason) }, "\(reason) in \(events)")
                }
            }
        }
    }

    @Test func takesRunningPodsOver() async throws {
        try await NodeFixture.run { node in
            var first: Pod?
            try await node.withAgent {
                try await node.create("web", spec(image: "portolan/hostname"))
                first = try await node.waitFor("web", "ready") { $0.isReady }
            }
            let before = try #require(first)
            try await node.withAgent {
                try await node.create("other", spec(["sleep", "100"]))
                try await node.waitFor("other", "ready") { $0.isReady }
                let after = try await node.pod("web")
                #expect(after.podIPs == before.podIPs)
                #expect(
                    after.json["status", "containerStatuses"]?[0]?["containerID"]
                        == before.json["status", "containerStatuses"]?[0]?["containerID"])
                #expect(try await node.curl(after).hasPrefix("Hello, I am web"))
                try await node.api.delete(.pods, namespace: "default", name: "web", options: nil)
                try await node.waitUntilGone("web")
            }
        }
    }

    @Test func restartsWithBackoffAndReportsEnds() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                try await node.create(
                    "crash", spec(["sh", "-c", "echo gone > /dev/termination-log; exit 3"]))
                try await node.create(
                    "done", spec(["true"], pod: ["restartPolicy": "Never"]))
                let crash = try await node.waitFor("crash", "in back-off") {
                    $0.json["status", "containerStatuses"]?[0]?["state", "waiting", "reason"]?
                        .string == "CrashLoopBackOff"
                }
                let status = crash.json["status", "containerStatuses"]?[0]
                #expect(status?["lastState", "terminated", "exitCode"]?.int == 3)
                #expect(status?["lastState", "terminated", "message"]?.string == "gone\n")
                #expect((status?["restartCount"]?.int ?? 0) >= 1)
                try await node.waitFor("done", "succeeded") { $0.phase == "Succeeded" }
            }
        }
    }

    @Test func saysWhatToDoAboutAnImageThatCannotBeHad() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                try await node.create("far", spec(image: "127.0.0.1:1/nothing/here:1"))
                try await node.waitFor("far", "waiting for its image") {
                    $0.json["status", "containerStatuses"]?[0]?["state", "waiting", "reason"]?
                        .string == "ErrImagePull"
                }
                try await eventually("the event") {
                    try await node.events("far").contains { $0.contains("portolan/hostname") }
                }
            }
        }
    }
}

extension NodeFixture {
    var network: PodNetwork {
        PodNetwork(
            namePrefix: configuration.namePrefix, lanAddress: configuration.lanAddress,
            node: NodeNamespace(name: namespace.name))
    }
}
