import Glibc
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import PodRuntime

@Suite(.offPool) struct ImageTests {
    /// An image that was put into the node's image directory by hand needs no registry.
    @Test func runsAnImageThatWasLoadedByHand() async throws {
        try await NodeFixture.run { node in
            let reference = try #require(ImageReference("example.test/tool:1"))
            let place = node.configuration.imageDirectory + "/" + reference.directoryName
            try makeImage(place + "/oci")
            try await node.withAgent {
                try await node.create(
                    "tool",
                    spec(
                        image: "example.test/tool:1", [], ["args": ["said $(GREETING)"]],
                        pod: ["restartPolicy": "Never"]))
                let pod = try await node.waitFor("tool", "ended") { $0.isFinished }
                let log =
                    node.configuration.dataDirectory
                    + "/pods/\(pod.metadata.uid)/logs/main/0.log"
                let lines = LogLines.last(10, of: try Files.read(log))
                #expect(lines == ["said $(GREETING)\n"])
                let status = pod.json["status", "containerStatuses"]?[0]
                #expect(status?["imageID"]?.string?.hasPrefix("example.test/tool@sha256:") == true)
                #expect(status?["state", "terminated", "exitCode"]?.int == 0)
            }
        }
    }

    /// An image with `echo` as its entrypoint and what that program needs to run.
    private func makeImage(_ layout: String) throws {
        let parent = String(layout.dropLast(4))
        try Files.makeDirectories(parent)
        let bundle = parent + "/bundle"
        func umoci(_ arguments: String...) throws { try Command.check(["umoci"] + arguments) }
        try umoci("init", "--layout", layout)
        try umoci("new", "--image", layout + ":image")
        try umoci("unpack", "--image", layout + ":image", bundle)
        let needed = try TestSupport.Command.check(["ldd", "/usr/bin/echo"]).output
            .split(whereSeparator: \.isWhitespace).filter { $0.hasPrefix("/") }
        for file in ["/usr/bin/echo"] + needed.map(String.init) {
            try Command.check(["cp", "-L", "--parents", file, bundle + "/rootfs"])
        }
        try umoci("repack", "--image", layout + ":image", bundle)
        try umoci(
            "config", "--image", layout + ":image", "--config.entrypoint", "/usr/bin/echo")
        Files.removeTree(bundle)
    }
}
