import NetworkTypes
import Testing

@testable import ServiceProxy

@Suite struct KubeProxyConfigurationTests {
    private let head =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

    @Test func theDefaultHasNoWarningsAndKubeadmsLines() throws {
        let text = KubeProxyConfiguration.defaultYAML(clusterCIDR: Prefix("10.244.0.0/16"))
        let configuration = try KubeProxyConfiguration(yaml: text)
        #expect(configuration.warnings == [])
        #expect(configuration.clusterCIDRs == [Prefix("10.244.0.0/16")])
        #expect(!configuration.isARPStrict)
        #expect(configuration.isTCPLiberal == true)
        #expect(text.contains("\nipvs:\n"))
        #expect(text.contains("\n  strictARP: false\n"))
        #expect(text.contains("\nmode: \"\"\n"))
        let strict = text.split(separator: "strictARP: false").joined(separator: "strictARP: true")
        #expect(try KubeProxyConfiguration(yaml: strict).isARPStrict)
    }

    @Test func fieldsTakeEffect() throws {
        let configuration = try KubeProxyConfiguration(
            yaml: head + """
                clusterCIDR: 10.244.0.0/16,fd00::/64
                nodePortAddresses: [primary]
                healthzBindAddress: 0.0.0.0:10300
                nftables: {masqueradeBit: 10, masqueradeAll: true, syncPeriod: 1m30s}
                conntrack: {tcpEstablishedTimeout: 24h0m0s, udpTimeout: 500ms, tcpBeLiberal: false}
                """)
        #expect(configuration.clusterCIDRs.count == 2)
        #expect(configuration.nodePortAddresses == .primary)
        #expect(configuration.healthBindAddress == "0.0.0.0:10300")
        #expect(configuration.masqueradeBit == 10)
        #expect(configuration.masqueradesAll)
        #expect(configuration.syncPeriodSeconds == 90)
        #expect(
            configuration.conntrackSysctls == [
                "net/netfilter/nf_conntrack_tcp_timeout_established": 86400,
                "net/netfilter/nf_conntrack_udp_timeout": 1,
            ])
        #expect(configuration.isTCPLiberal == false)
        #expect(configuration.warnings == [])
    }

    @Test func whatHasNoEffectIsNamed() throws {
        let cases = [
            ("mode: ipvs", "mode ipvs"), ("ipvs: {scheduler: rr}", "ipvs.scheduler"),
            ("ipvs: {what: 1}", "ipvs.what is not a field"),
            ("colour: red", "colour is not a field"),
            ("hostnameOverride: n", "hostnameOverride"),
            ("detectLocal: {bridgeInterface: br0}", "detectLocal.bridgeInterface"),
            ("detectLocalMode: NodeCIDR", "detectLocalMode"),
            ("iptables: {masqueradeBit: 14}", "iptables.masqueradeBit"),
        ]
        for (line, warning) in cases {
            let configuration = try KubeProxyConfiguration(yaml: head + line)
            #expect(configuration.warnings.count == 1)
            #expect(configuration.warnings.first?.hasPrefix(warning) == true, "\(line)")
        }
    }

    @Test func faultsNameTheField() {
        let cases = [
            ("", ""), ("a: [", ""), ("[]", ""), ("kind: Pod", "kind"),
            ("kind: KubeProxyConfiguration\napiVersion: v1", "apiVersion"),
            (head + "mode: userspace", "mode"), (head + "ipvs: {strictARP: 7}", "ipvs.strictARP"),
            (head + "clusterCIDR: nowhere", "clusterCIDR"),
            (head + "nodePortAddresses: [x]", "nodePortAddresses"),
            (head + "nftables: {masqueradeBit: 32}", "nftables.masqueradeBit"),
            (head + "conntrack: {udpTimeout: soon}", "conntrack.udpTimeout"),
            (head + "conntrack: {maxPerCore: many}", "conntrack.maxPerCore"),
        ]
        for (text, field) in cases {
            #expect {
                _ = try KubeProxyConfiguration(yaml: text)
            } throws: { error in
                (error as? KubeProxyConfigurationError)?.field == field
            }
        }
    }

    @Test func listenAddresses() {
        let address = ProxyAgent.ListenAddress("0.0.0.0:10256", defaultPort: 1)
        #expect(address == ProxyAgent.ListenAddress(.v4(0), 10256))
        #expect(
            ProxyAgent.ListenAddress("[::]:9", defaultPort: 1)
                == ProxyAgent.ListenAddress(.v6(0), 9))
        #expect(
            ProxyAgent.ListenAddress("127.0.0.1", defaultPort: 7)
                == ProxyAgent.ListenAddress(.v4(0x7F00_0001), 7))
        #expect(ProxyAgent.ListenAddress("here:9", defaultPort: 1) == nil)
    }
}
