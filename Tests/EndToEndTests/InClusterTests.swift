import Foundation
import JSON
import TestSupport
import Testing

/// Programs in pods that talk to the API, as client libraries do in a cluster.
@Suite struct InClusterTests {
    private static let folder = "/var/run/secrets/kubernetes.io/serviceaccount"

    @Test func podsTalkToTheAPI() throws {
        try StandaloneFixture.run { cluster in
            try cluster.runDebugPod()
            let ask =
                "curl -sS --max-time 10 --cacert \(Self.folder)/ca.crt "
                + "-H \"Authorization: Bearer $(cat \(Self.folder)/token)\" "
                + "https://kubernetes.default.svc"
            #expect(try cluster.inPod("debug", "cat \(Self.folder)/namespace") == "default")
            let who = try JSONValue(
                parsing: cluster.inPod(
                    "debug",
                    "\(ask)/apis/authentication.k8s.io/v1/selfsubjectreviews "
                        + "-H 'Content-Type: application/json' -d '{}'"))
            let user = who["status", "userInfo"]
            #expect(user?["username"] == "system:serviceaccount:default:default")
            #expect(user?["extra"]?["authentication.kubernetes.io/pod-name"] == ["debug"])
            let refused = try JSONValue(
                parsing: cluster.inPod("debug", "\(ask)/api/v1/namespaces/default/pods"))
            #expect(refused["code"] == 403)

            // kubectl finds its way by itself, as every client library does.
            try cluster.kubectl(
                "create", "rolebinding", "v", "--clusterrole=view",
                "--serviceaccount=default:default")
            try eventually("the role is known") {
                try cluster.inPod("debug", "\(StandaloneFixture.kubectl) get pods -o name")
                    == "pod/debug"
            }
            try keepsTokensFromPodsThatSayNo(cluster)
            try answersNobodyElseOnTheNodesPort(cluster)
        }
    }

    private func keepsTokensFromPodsThatSayNo(_ cluster: StandaloneFixture) throws {
        try cluster.kubectl(
            "run", "quiet", "--image=portolan/shell", "--restart=Never",
            "--overrides={\"spec\":{\"automountServiceAccountToken\":false}}", "--command", "--",
            "sleep", "1d")
        try cluster.kubectl("wait", "--for=condition=Ready", "pod/quiet", "--timeout=60s")
        #expect(try cluster.inPod("quiet", "ls \(Self.folder) 2>/dev/null | wc -l") == "0")
    }

    /// Port 10250 of a node is for the API server: not for strangers, nor for another node.
    private func answersNobodyElseOnTheNodesPort(_ cluster: StandaloneFixture) throws {
        #expect(try cluster.kubectl("logs", "debug") == "")
        let url = "https://\(cluster.nodeAddress(1)):10250/healthz"
        let stranger = try Command.run(["curl", "-sS", "-k", "--max-time", "5", url])
        #expect(stranger.exitCode != 0)
        for name in ["nodes/\(cluster.nodeName(2))/kubeconfig", "admin.kubeconfig"] {
            let path = "\(cluster.dataDirectory)/\(name)"
            let config = try String(contentsOfFile: path, encoding: .utf8)
            var files: [String] = []
            for field in ["client-certificate-data: ", "client-key-data: "] {
                let text = try #require(config.components(separatedBy: field).dropFirst().first)
                let line = text.prefix { !$0.isNewline }.filter { $0 != "\"" }
                let file = "\(cluster.dataDirectory)/\(files.count).pem"
                try #require(Data(base64Encoded: String(line))).write(
                    to: URL(fileURLWithPath: file))
                files.append(file)
            }
            let answer = try Command.run([
                "curl", "-sS", "-k", "--max-time", "5", "--cert", files[0], "--key", files[1],
                "-w", " %{http_code}", url,
            ])
            #expect(answer.output.hasSuffix(" 403"), "\(name): \(answer)")
            #expect(answer.output.contains("only the API server may call this port"))
        }
    }
}
