import JSON
import TestSupport
import Testing

/// kube-proxy's ConfigMap on a running cluster: what is written there holds on every node, or an
/// event says why not.
@Suite(.offPool) struct ProxyConfigurationTests {
    @Test func whatIsWrittenHoldsOnEveryNodeOrIsNamed() throws {
        try StandaloneFixture.run { cluster in
            let original = try configMap(cluster)
            func write(_ edits: [(String, String)]) throws {
                var object = original
                var text = original["data", "config.conf"]?.string ?? ""
                for (old, new) in edits {
                    #expect(text.contains(old), "\(old)")
                    let parts = text.split(separator: old, maxSplits: 1)
                    text = parts.joined(separator: new)
                }
                object["data", "config.conf"] = .string(text)
                object["metadata", "resourceVersion"] = nil
                try cluster.kubectl("replace", "-f", "-", input: object.serializedText)
            }
            func sysctl(_ node: Int, _ name: String) throws -> String {
                try cluster.onNode(node, "sysctl", "-n", "net.netfilter.\(name)")
            }
            func reasons() throws -> String {
                try cluster.kubectl(
                    "get", "events", "--all-namespaces", "-o",
                    "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}")
            }
            for node in 1...2 {
                try eventually("the defaults hold on node \(node)") {
                    try sysctl(node, "nf_conntrack_tcp_be_liberal") == "1"
                }
            }
            try write([
                ("udpTimeout: 0s\ndetectLocal", "udpTimeout: 45s\ndetectLocal"),
                ("tcpBeLiberal: true", "tcpBeLiberal: false"), ("mode: \"\"", "mode: ipvs"),
                ("scheduler: \"\"", "scheduler: rr"),
            ])
            for node in 1...2 {
                try eventually("what was written holds on node \(node)") {
                    try sysctl(node, "nf_conntrack_udp_timeout") == "45"
                        && sysctl(node, "nf_conntrack_tcp_be_liberal") == "0"
                        && cluster.onNode(node, "nft", "list", "table", "ip", cluster.name)
                            .contains("ct state invalid")
                }
            }
            try eventually("what has no effect is named") {
                let text = try reasons()
                return text.contains("ModeReplaced mode ipvs")
                    && text.contains("FieldIgnored ipvs.scheduler")
            }
            // A slip leaves what held before in force, and says where it is.
            try write([("mode: \"\"", "mode: userspace")])
            try eventually("the slip is named") {
                try reasons().contains("InvalidConfiguration KubeProxyConfiguration: mode")
            }
            #expect(try sysctl(1, "nf_conntrack_tcp_be_liberal") == "0")
            try write([])
            for node in 1...2 {
                try eventually("the defaults hold again on node \(node)") {
                    try sysctl(node, "nf_conntrack_tcp_be_liberal") == "1"
                        && !cluster.onNode(node, "nft", "list", "table", "ip", cluster.name)
                            .contains("ct state invalid")
                }
            }
        }
    }

    private func configMap(_ cluster: StandaloneFixture) throws -> JSONValue {
        try JSONValue(
            parsing: try cluster.kubectl(
                "get", "configmap", "kube-proxy", "--namespace", "kube-system", "-o", "json"))
    }
}
