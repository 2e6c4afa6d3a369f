import Dispatch
import JSON
import KubernetesAPI
import Store
import TestSupport
import Testing

@testable import APIServer

/// What clients may ask at a time, and what they are told beyond it.
@Suite(.offPool) struct BoundsTests {
    private static let configMaps = "/api/v1/namespaces/default/configmaps"

    /// Starts a request whose answer is not waited for.
    private func start(
        _ fixture: ServerFixture, _ path: String, _ arguments: [String] = []
    ) throws -> RunningCommand {
        let identity = try fixture.authority.issueClient(user: "admin", groups: ["system:masters"])
        let file = "\(fixture.directory)/bounds"
        try fixture.write(identity.certificatePEM, to: "\(file).crt")
        try fixture.write(identity.privateKeyPEM, to: "\(file).key")
        return try RunningCommand(
            [
                "curl", "-sS", "-N", "--max-time", "60", "--cacert",
                "\(fixture.directory)/pki/ca.crt", "--cert", "\(file).crt", "--key", "\(file).key",
            ] + arguments + [fixture.url + path])
    }

    private func metric(_ fixture: ServerFixture, _ name: String) async throws -> String? {
        try await fixture.curl("/metrics").output.split(separator: "\n")
            .first { $0.hasPrefix(name + " ") }
            .map { String($0.dropFirst(name.count + 1)) }
    }

    /// Checks that a request is refused with 429, a Status and Retry-After.
    private func expectRefusal(
        _ fixture: ServerFixture, _ path: String, _ arguments: [String] = []
    ) async throws {
        let result = try await fixture.curl(path, ["-i", "--http1.1"] + arguments)
        #expect(result.output.hasPrefix("HTTP/1.1 429 "), "\(result.output)")
        #expect(result.output.lowercased().contains("\r\nretry-after: 1\r\n"), "\(result.output)")
        #expect(result.output.contains(#""reason":"TooManyRequests""#))
    }

    @Test func requestsInFlightAreBounded() async throws {
        try await ServerFixture.run(configure: { $0.limits.requestsInFlight = 2 }) { fixture in
            // Holds the store's writer: every write waits until it is let go.
            let gate = DispatchSemaphore(value: 0)
            async let held: Void = fixture.store.write { _ in gate.wait() }
            let json = ["-H", "Content-Type: application/json"]
            var waiting: [RunningCommand] = []
            for name in ["a", "b"] {
                waiting.append(
                    try start(
                        fixture, Self.configMaps,
                        json + ["-d", #"{"metadata":{"name":"\#(name)"}}"#]))
            }
            try await eventually("two requests are under way", withinSeconds: 60) {
                try await metric(fixture, "apiserver_current_inflight_requests") == "2"
            }
            try await expectRefusal(
                fixture, Self.configMaps, json + ["-d", #"{"metadata":{"name":"c"}}"#])
            try await expectRefusal(fixture, Self.configMaps)
            // What needs no waiting is still answered.
            #expect(try await fixture.curl("/livez").output == "ok")
            gate.signal()
            try await held
            for command in waiting {
                #expect(try command.finish(timeoutSeconds: 30).output.contains(#""uid""#))
            }
            #expect(try await metric(fixture, "apiserver_rejected_requests_total") == "2")
            #expect(
                try await fixture.check(["get", "cm", "-o", "name"])
                    == "configmap/a\nconfigmap/b\n")
        }
    }

    @Test func watchesAreBounded() async throws {
        try await ServerFixture.run(configure: { $0.limits.streams = 2 }) { fixture in
            let watch = Self.configMaps + "?watch=true"
            let open = try (0..<2).map { _ in try start(fixture, watch) }
            defer { for command in open { command.stop() } }
            try await eventually("two watches are open", withinSeconds: 60) {
                try await metric(fixture, "apiserver_longrunning_requests") == "2"
            }
            try await expectRefusal(fixture, watch)
            // Lists and single objects have places of their own.
            #expect(try await fixture.check(["get", "cm", "-o", "name"]) == "")
            open[0].stop()
            try await eventually("a place is free", withinSeconds: 60) {
                let status = try await fixture.curl(
                    watch + "&timeoutSeconds=1", ["-o", "/dev/null", "-w", "%{http_code}"])
                return status.output == "200"
            }
        }
    }

    @Test func connectionsAreBounded() async throws {
        try await ServerFixture.run(configure: { $0.limits.connections = 3 }) { fixture in
            let watch = Self.configMaps + "?watch=true"
            var open = try (0..<2).map { _ in try start(fixture, watch) }
            defer { for command in open { command.stop() } }
            try await eventually("two watches are open", withinSeconds: 60) {
                // Connections that read the metric, left but not yet closed here, may have had
                // a watch's place: it was refused, and asks again.
                for index in open.indices where !open[index].isRunning {
                    open[index] = try start(fixture, watch)
                }
                return try await metric(fixture, "apiserver_longrunning_requests") == "2"
            }
            var third = try start(fixture, watch)
            defer { third.stop() }
            try await eventually("a fourth connection is closed") {
                // The one that read the metric may have had the third place still.
                if !third.isRunning { third = try start(fixture, watch) }
                return try await fixture.curl("/livez", ["--max-time", "5"]).exitCode != 0
            }
            for command in open { command.stop() }
            try await eventually("there is room again", withinSeconds: 60) {
                try await fixture.curl("/livez").output == "ok"
            }
        }
    }

    @Test(arguments: ["--http1.1", "--http2"])
    func bodiesAreBounded(_ version: String) async throws {
        try await ServerFixture.run(configure: { $0.limits.bodyBytes = 100_000 }) { fixture in
            func send(_ count: Int, _ arguments: String...) async throws -> JSONValue {
                let file = "\(fixture.directory)/body-\(count)"
                let data = String(repeating: "x", count: count)
                try fixture.write(
                    #"{"metadata":{"name":"c\#(count)"},"data":{"x":"\#(data)"}}"#, to: file)
                return try JSONValue(
                    parsing: await fixture.curl(
                        Self.configMaps,
                        [
                            version, "-H", "Content-Type: application/json", "--data-binary",
                            "@\(file)",
                        ] + arguments
                    ).output)
            }
            #expect(try await send(90_000)["kind"] == "ConfigMap")
            let refused = try await send(110_000)
            #expect(refused["code"] == 413)
            #expect(refused["reason"] == "RequestEntityTooLarge")
            #expect(refused["message"] == "Request entity too large: limit is 100000")
            // Without a Content-Length it is counted as it comes.
            let chunked = try await send(120_000, "-H", "Transfer-Encoding: chunked")
            #expect(chunked["code"] == 413)
        }
    }
}
