import Glibc
import Informer
import JSON
import KubernetesAPI
import TestSupport
import Testing

@testable import PodRuntime

@Suite(.offPool) struct NodeServerTests {
    @Test func givesLogsOut() async throws {
        try await NodeFixture.run { node in
            try await node.withServer { port in
                let script = "echo one; echo two; echo three; sleep 1; echo four"
                try await node.create(
                    "talk", spec(["sh", "-c", script], pod: ["restartPolicy": "Never"]))
                try await node.waitFor("talk", "running") { $0.phase == "Running" }
                let base = "http://127.0.0.1:\(port)/containerLogs/default/talk/main"
                // Following ends when the container does.
                let followed = try await curl("-N", base + "?follow=true")
                #expect(followed == "one\ntwo\nthree\nfour\n")
                let tail = try await curl(base + "?tailLines=2")
                #expect(tail == "three\nfour\n")
                let limited = try await curl(base + "?limitBytes=5")
                #expect(limited == "one\nt")
                let times = try await curl(base + "?timestamps=true&tailLines=1")
                #expect(times.hasSuffix("Z four\n") || times.hasSuffix("+00:00 four\n"))
                let previous = try await curl(base + "?previous=true")
                #expect(previous.contains("previous terminated container \"main\""))
                let unknown = try await curl(
                    "-o", "/dev/null", "-w", "%{http_code}", base + "x")
                #expect(unknown == "400")
            }
        }
    }

    @Test func runsCommands() async throws {
        try await NodeFixture.run { node in
            try await node.withServer { port in
                try await node.create("box", spec(["sleep", "1000"]))
                try await node.waitFor("box", "ready") { $0.isReady }
                let base = "/exec/default/box/main?output=1&error=1"
                let script = "&command=sh&command=-c&command=echo+out;echo+err+%3E%262;exit+7"
                var streams = try await Blocking.run {
                    try RawWebSocket(port: port, path: base + script).readAll()
                }
                #expect(streams[1] == Array("out\n".utf8))
                #expect(streams[2] == Array("err\n".utf8))
                let status = try JSONValue(parsing: streams[3] ?? [])
                #expect(status["reason"]?.string == "NonZeroExitCode")
                #expect(status["details", "causes"]?[0]?["message"]?.string == "7")

                streams = try await Blocking.run {
                    let cat = try RawWebSocket(port: port, path: base + "&input=1&command=cat")
                    let text = [UInt8](repeating: UInt8(ascii: "x"), count: 20_000)
                    for _ in 0..<20 { try cat.send(0, text) }
                    try cat.send(255, [0])
                    return try cat.readAll()
                }
                #expect(streams[1]?.count == 400_000)
                #expect(try JSONValue(parsing: streams[3] ?? [])["status"]?.string == "Success")
            }
        }
    }

    @Test func runsCommandsInTerminals() async throws {
        try await NodeFixture.run { node in
            try await node.withServer { port in
                try await node.create("box", spec(["sleep", "1000"]))
                try await node.waitFor("box", "ready") { $0.isReady }
                let streams = try await Blocking.run {
                    let shell = try RawWebSocket(
                        port: port,
                        path: "/exec/default/box/main?input=1&output=1&tty=1&command=sh",
                        protocolName: "v4.channel.k8s.io")
                    try shell.send(4, Array(#"{"Width":91,"Height":33}"#.utf8))
                    let script = "tty; until stty size | grep '33 91'; do :; done; exit 4\n"
                    try shell.send(0, Array(script.utf8))
                    return try shell.readAll()
                }
                let output = String(decoding: streams[1] ?? [], as: UTF8.self)
                #expect(output.contains("/dev/pts/"))
                #expect(output.contains("33 91\r\n"))
                let status = try JSONValue(parsing: streams[3] ?? [])
                #expect(status["details", "causes"]?[0]?["message"]?.string == "4")
            }
        }
    }

    @Test func attachesToTheContainersProcess() async throws {
        try await NodeFixture.run { node in
            try await node.withServer { port in
                try await node.create(
                    "cat",
                    spec(
                        ["cat"], ["stdin": true, "stdinOnce": true],
                        pod: ["restartPolicy": "Never"]))
                try await node.waitFor("cat", "ready") { $0.isReady }
                let output = try await Blocking.run {
                    let socket = try RawWebSocket(
                        port: port, path: "/attach/default/cat/main?input=1&output=1&error=1")
                    try socket.send(0, Array("hello\n".utf8))
                    try socket.send(255, [0])
                    return try socket.readAll()
                }
                #expect(output[1] == Array("hello\n".utf8))
                // Its input was for one client, so it has ended.
                try await node.waitFor("cat", "succeeded") { $0.phase == "Succeeded" }
            }
        }
    }

    @Test func answersTheAPIServerOnly() async throws {
        try await NodeFixture.run { node in
            let directory = node.configuration.dataDirectory + "/tls"
            try Files.makeDirectories(directory)
            try makeCertificates(in: directory)
            var configuration = node.configuration
            configuration.serverCertificatePath = directory + "/server.crt"
            configuration.serverKeyPath = directory + "/server.key"
            configuration.clientAuthorityPath = directory + "/ca.crt"
            configuration.serverPort = Int(try freePort())
            let port = configuration.serverPort
            try await node.withAgent(configuration) {
                let url = "https://127.0.0.1:\(port)/healthz"
                let base = ["curl", "-sS", "--cacert", directory + "/ca.crt"]
                let own = ["--cert", directory + "/client.crt", "--key", directory + "/client.key"]
                try await eventually("the server answers") {
                    try await Blocking.run {
                        try Command.check(base + own + [url]).output == "ok"
                    }
                }
                let refused = try await Blocking.run { try Command.run(base + [url]).exitCode }
                #expect(refused != 0)
                // Another node's certificate is one of the cluster's, and opens nothing.
                let other = ["--cert", directory + "/node.crt", "--key", directory + "/node.key"]
                let forbidden = try await Blocking.run {
                    try Command.check(base + other + ["-w", " %{http_code}", url]).output
                }
                #expect(
                    forbidden
                        == "Forbidden: only the API server may call this port; use kubectl 403"
                )
            }
        }
    }

    private func makeCertificates(in directory: String) throws {
        func openssl(_ arguments: String) throws {
            try Command.check(["openssl"] + arguments.split(separator: " ").map(String.init))
        }
        let place = directory
        try openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout \(place)/ca.key "
                + "-out \(place)/ca.crt")
        try Files.write(place + "/san", Array("subjectAltName=IP:127.0.0.1\n".utf8))
        for (name, subject) in [
            ("server", "system:node:n1"),
            ("client", NodeAgent.Configuration.apiServerClientName), ("node", "system:node:n2"),
        ] {
            try openssl(
                "req -newkey rsa:2048 -nodes -subj /CN=\(subject) -keyout \(place)/\(name).key "
                    + "-out \(place)/\(name).csr")
            try openssl(
                "x509 -req -days 2 -in \(place)/\(name).csr -CA \(place)/ca.crt "
                    + "-CAkey \(place)/ca.key -CAcreateserial -extfile \(place)/san "
                    + "-out \(place)/\(name).crt")
        }
    }
}
