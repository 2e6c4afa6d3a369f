import Informer
import JSON
import KubernetesAPI
import Store
import TestSupport
import Testing

@testable import APIServer

/// The wire, as curl sees it.
@Suite(.offPool) struct HTTPTests {
    private static let configMaps = "/api/v1/namespaces/default/configmaps"

    private func status(_ result: CommandResult) throws -> StatusError {
        let json = try JSONValue(parsing: result.output)
        return try #require(StatusError(json: json), "\(result.output)")
    }

    @Test func letsStrangersAskForHealthAndVersionOnly() async throws {
        try await ServerFixture.run { fixture in
            for path in ["/livez", "/readyz", "/healthz"] {
                #expect(try await fixture.curl(path, withCertificate: false).output == "ok")
            }
            let version = try await fixture.curl("/version", withCertificate: false)
            #expect(version.output.contains("v1.36.0+portolan"))
            for path in ["/api", "/apis", "/metrics", "/openapi/v2", Self.configMaps] {
                let refused = try status(await fixture.curl(path, withCertificate: false))
                #expect(refused.code == 403 && refused.reason == "Forbidden")
            }
            let token = try await fixture.curl(
                "/api", ["-H", "Authorization: Bearer nonsense"], withCertificate: false)
            #expect(try status(token).code == 401)
        }
    }

    @Test(arguments: ["--http1.1", "--http2"])
    func answersBadRequestsWithAStatus(_ version: String) async throws {
        try await ServerFixture.run { fixture in
            func post(_ type: String, _ body: String, _ extra: String...) async throws
                -> StatusError
            {
                let file = "\(fixture.directory)/body"
                try fixture.write(body, to: file)
                return try status(
                    await fixture.curl(
                        Self.configMaps,
                        [version, "-H", "Content-Type: \(type)", "--data-binary", "@\(file)"]
                            + extra))
            }
            #expect(try await post("application/json", "{").code == 400)
            #expect(try await post("application/json", "[1]").code == 400)
            #expect(try await post("application/xml", "<a/>").code == 415)
            #expect(try await post("application/vnd.kubernetes.protobuf", "k8s").code == 400)
            let large = String(repeating: " ", count: 4 * 1024 * 1024)
            #expect(try await post("application/json", large).code == 413)
            let patch = try await fixture.curl(
                "\(Self.configMaps)/x", [version, "-X", "PATCH", "-d", "{}"])
            #expect(try status(patch).code == 415)
            let method = try await fixture.curl(Self.configMaps, [version, "-X", "OPTIONS"])
            #expect(try status(method).code == 405)
            #expect(try status(await fixture.curl("/nowhere", [version])).code == 404)
            let form = try await fixture.curl(
                Self.configMaps, [version, "-H", "Accept: application/xml"])
            #expect(try status(form).code == 406)
            // The server is as it was.
            #expect(try await fixture.curl("/livez", [version]).output == "ok")
        }
    }

    @Test func refusesTooManyHeaders() async throws {
        try await ServerFixture.run { fixture in
            let file = "\(fixture.directory)/headers"
            try fixture.write(
                (0..<10_000).map { "X-\($0): y\n" }.joined(), to: file)
            let result = try await fixture.curl("/livez", ["--http1.1", "-H", "@\(file)"])
            #expect(result.output.contains("431") || result.exitCode != 0)
            #expect(try await fixture.curl("/livez").output == "ok")
        }
    }

    @Test func listsInPages() async throws {
        try await ServerFixture.run { fixture in
            for index in 0..<5 {
                _ = try await fixture.server.client.create(
                    .configMaps,
                    ["metadata": ["name": .string("c\(index)"), "namespace": "default"]])
            }
            var names: [String] = []
            var token = ""
            repeat {
                let page = try JSONValue(
                    parsing: await fixture.curl(
                        "\(Self.configMaps)?limit=2&continue=\(token)"
                    ).output)
                #expect(page["kind"] == "ConfigMapList")
                names += (page["items"]?.array ?? []).compactMap {
                    $0["metadata", "name"]?.string
                }
                token = page["metadata", "continue"]?.string ?? ""
            } while !token.isEmpty
            #expect(names == ["c0", "c1", "c2", "c3", "c4"])
        }
    }

    /// Pages show the moment of the first one, whatever is written meanwhile.
    @Test func pagesShowOneMoment() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            func create(_ name: String) async throws {
                _ = try await client.create(
                    .configMaps, ["metadata": ["name": .string(name), "namespace": "default"]])
            }
            for index in 0..<6 { try await create("c\(index)") }
            func page(_ token: String) async throws -> JSONValue {
                try JSONValue(
                    parsing: await fixture.curl(
                        "\(Self.configMaps)?limit=2&continue=\(token)"
                    ).output)
            }
            func names(_ page: JSONValue) -> [String] {
                (page["items"]?.array ?? []).compactMap { $0["metadata", "name"]?.string }
            }
            let first = try await page("")
            #expect(names(first) == ["c0", "c1"])
            #expect(first["metadata", "remainingItemCount"] == 4)
            try await client.delete(.configMaps, namespace: "default", name: "c3", options: nil)
            try await create("c2b")
            _ = try await client.patch(
                .configMaps, namespace: "default", name: "c4", subresource: nil, type: .merge,
                ["data": ["a": "b"]])
            let second = try await page(first["metadata", "continue"]?.string ?? "")
            #expect(names(second) == ["c2", "c3"])
            let third = try await page(second["metadata", "continue"]?.string ?? "")
            #expect(names(third) == ["c4", "c5"])
            #expect(third["items"]?[0]?["data"] == nil)
            #expect(third["metadata", "continue"] == nil)
            for other in [second, third] {
                #expect(
                    other["metadata", "resourceVersion"] == first["metadata", "resourceVersion"])
            }
            // Another list shows the newest state.
            #expect(names(try await page("")) == ["c0", "c1"])
            let all = try await fixture.check(["get", "cm", "--chunk-size=2", "-o", "name"])
            #expect(
                all.split(separator: "\n").map { $0.dropFirst("configmap/".count) } == [
                    "c0", "c1", "c2", "c2b", "c4", "c5",
                ])
        }
    }

    @Test func collectionsInPagesAreBounded() throws {
        let snapshots = ListSnapshots(limit: 2, lifetime: .seconds(60))
        for revision: Int64 in 1...3 {
            snapshots.keep(resource: "pods", namespace: nil, revision: revision, [])
        }
        func isKept(_ revision: Int64) -> Bool {
            snapshots.objects(resource: "pods", namespace: nil, revision: revision) != nil
        }
        #expect([1, 2, 3].map(isKept) == [false, true, true])
        #expect(snapshots.droppedTotal.value == 1)
        #expect(snapshots.objects(resource: "pods", namespace: "a", revision: 3) == nil)
        let brief = ListSnapshots(limit: 2, lifetime: .seconds(-1))
        brief.keep(resource: "pods", namespace: nil, revision: 1, [])
        #expect(brief.objects(resource: "pods", namespace: nil, revision: 1) == nil)
    }

    // MARK: - Watches

    /// The events of a watch that ends by itself after a second.
    private func watch(_ fixture: ServerFixture, _ query: String) async throws -> [JSONValue] {
        let result = try await fixture.curl(
            "\(Self.configMaps)?watch=true&timeoutSeconds=1&\(query)", ["-N"])
        #expect(result.exitCode == 0, "\(result.errorOutput)")
        return try result.output.split(separator: "\n").map { try JSONValue(parsing: $0.utf8) }
    }

    @Test func watchesWithInitialEventsBookmarksAndSelectors() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.server.client
            _ = try await client.create(
                .configMaps,
                ["metadata": ["name": "a", "namespace": "default", "labels": ["x": "1"]]])
            let start = fixture.store.revision
            let initial = try await watch(
                fixture,
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            )
            #expect(initial.prefix(2).map { $0["type"]?.string } == ["ADDED", "BOOKMARK"])
            #expect(
                initial.dropFirst().first?["object", "metadata", "annotations"]?[
                    "k8s.io/initial-events-end"] == "true")
            #expect(
                initial.last?["object", "metadata", "resourceVersion"]?.string == String(start))

            _ = try await client.patch(
                .configMaps, namespace: "default", name: "a", subresource: nil, type: .merge,
                ["metadata": ["labels": ["x": "2"]]])
            try await client.delete(
                .configMaps, namespace: "default", name: "a", options: nil)
            let all = try await watch(fixture, "resourceVersion=\(start)")
            #expect(all.map { $0["type"]?.string } == ["MODIFIED", "DELETED"])
            let selected = try await watch(
                fixture, "resourceVersion=\(start)&labelSelector=x%3D1")
            #expect(selected.map { $0["type"]?.string } == ["DELETED"])
            #expect(selected.first?["object", "metadata", "labels", "x"] == "1")
            let entering = try await watch(
                fixture, "resourceVersion=\(start)&labelSelector=x%3D2")
            #expect(entering.map { $0["type"]?.string } == ["ADDED", "DELETED"])

            fixture.store.compact(before: fixture.store.revision + 1)
            let gone = try await watch(fixture, "resourceVersion=\(start)")
            #expect(gone.first?["type"] == "ERROR")
            #expect(gone.first?["object", "code"] == 410)
        }
    }

    @Test func endsWatchesWhoseClientLeft() async throws {
        try await ServerFixture.run { fixture in
            for _ in 0..<5 {
                _ = try await fixture.curl(
                    "\(Self.configMaps)?watch=true", ["-N", "--max-time", "0.5"])
            }
            try await eventually("no watch is left") {
                try await fixture.curl("/metrics").output
                    .contains("apiserver_longrunning_requests 0\n")
            }
        }
    }
}
