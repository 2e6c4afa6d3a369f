import DNS
import DNSServer
import KubernetesAPI
import NetworkTypes
import Testing

@Suite struct CorefileTests {
    static let kubeadm = """
        .:53 {
            errors
            health {
               lameduck 5s
            }
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {
               pods insecure
               fallthrough in-addr.arpa ip6.arpa
               ttl 30
            }
            prometheus :9153
            forward . /etc/resolv.conf {
               max_concurrent 1000
            }
            cache 30
            loop
            reload
            loadbalance
        }
        """

    private func settings(_ text: String) throws -> ClusterSettings {
        try ClusterSettings(corefile: text, defaultDomain: try #require(DNSName("cluster.local")))
    }

    @Test func kubeadmsFileMeansTheDefaults() throws {
        let settings = try settings(Self.kubeadm)
        #expect(settings.domain == DNSName("cluster.local"))
        #expect(settings.podRecords == .insecure)
        #expect(settings.timeToLiveSeconds == 30)
        #expect(settings.fallthroughZones == [.inAddrArpa, .ip6Arpa])
        #expect(settings.reverseZones == [.inAddrArpa, .ip6Arpa])
        #expect(settings.routes.count == 1)
        #expect(settings.routes.first?.resolverFile == "/etc/resolv.conf")
        #expect(settings.routes.first?.cache?.maximumSeconds == 30)
        #expect(settings.concurrentForwards == 1000)
        #expect(settings.warnings.isEmpty, "\(settings.warnings)")
    }

    @Test func stubDomainsAndOptions() throws {
        let settings = try settings(
            """
            # a comment
            corp.test:53 b.test {
                forward . 192.0.2.1 192.0.2.2:5353 {
                    policy sequential
                    except public.corp.test
                    force_tcp
                    max_fails 3
                }
                cache {
                    success 100 60
                    denial 100 20
                    prefetch 5 1m 20%
                    serve_stale 2h
                }
            }
            . {
                log
                rewrite name suffix old.test default.svc.cluster.local
                template IN A x.test {
                    answer "quoted words"
                }
                hosts {
                    192.0.2.9 a.test b.test
                    ttl 60
                    fallthrough
                }
                kubernetes other.domain { 
                    pods verified
                    ttl 5
                }
                forward . 192.0.2.53
            }
            """)
        #expect(settings.domain == DNSName("other.domain"))
        #expect(settings.podRecords == .verified)
        #expect(settings.reverseZones.isEmpty, "reverse zones are not this server's")
        #expect(settings.logsQueries)
        #expect(settings.routes.map(\.suffix.description) == ["corp.test.", "b.test.", "."])
        let stub = try #require(settings.routes.first)
        #expect(stub.upstreams.map(\.description) == ["192.0.2.1:53", "192.0.2.2:5353"])
        #expect(stub.upstreams.map(\.forcesTCP) == [true, true])
        #expect(stub.policy == .sequential)
        #expect(stub.maximumFailures == 3)
        #expect(stub.exceptions == [try #require(DNSName("public.corp.test"))])
        #expect(stub.cache?.maximumSeconds == 60)
        #expect(stub.cache?.maximumDenialSeconds == 20)
        #expect(stub.cache?.prefetchAmount == 5)
        #expect(stub.cache?.prefetchPercentage == 20)
        #expect(stub.cache?.staleSeconds == 7200)
        let main = try #require(settings.routes.last)
        #expect(main.hosts.addresses.count == 2)
        #expect(main.hosts.timeToLiveSeconds == 60)
        #expect(main.rewrites.count == 1)
        #expect(settings.warnings.count == 1)
        #expect(settings.warnings.first?.hasPrefix("line 19: template") == true)
    }

    @Test func tlsServersAndUpstreams() throws {
        let settings = try settings(
            """
            tls://.:8853 {
                tls /etc/dns/tls.crt /etc/dns/tls.key /etc/dns/ca.crt {
                    client_auth require_and_verify
                }
                forward . 192.0.2.1
            }
            corp.test {
                forward . tls://192.0.2.2 tls://192.0.2.3:8853%other.test 192.0.2.4 {
                    tls_servername dns.test
                    tls /etc/dns/ca.crt
                }
            }
            . {
                bind 192.0.2.10 eth0
                forward . 192.0.2.1
            }
            """)
        #expect(settings.tlsPort == 8853)
        #expect(settings.tls?.certificatePath == "/etc/dns/tls.crt")
        #expect(settings.tls?.keyPath == "/etc/dns/tls.key")
        #expect(settings.tls?.clientAuthorityPath == "/etc/dns/ca.crt")
        #expect(settings.bindAddresses == [.v4(0xC000_020A)])
        #expect(
            settings.warnings == ["line 14: bind eth0 is ignored: only addresses are listened at"])
        let stub = try #require(settings.routes.first { $0.suffix.labelCount == 2 })
        #expect(
            stub.upstreams.map(\.description) == [
                "tls://192.0.2.2:853", "tls://192.0.2.3:8853", "192.0.2.4:53",
            ])
        #expect(stub.upstreams.map(\.tls?.serverName) == ["dns.test", "other.test", nil])
        #expect(stub.upstreams[0].tls?.authorityPath == "/etc/dns/ca.crt")
    }

    @Test func kubernetesOptions() throws {
        let settings = try settings(
            """
            cluster.local other.test 10.96.0.0/15 {
                kubernetes {
                    endpoint https://192.0.2.1:6443
                    namespaces shop bank
                    labels environment in (staging, qa),app=web
                    noendpoints
                    endpoint_pod_names
                    ignore empty_service
                    fallthrough other.test
                }
            }
            """)
        #expect(settings.domain == DNSName("cluster.local"))
        #expect(settings.furtherDomains == [try #require(DNSName("other.test"))])
        #expect(
            settings.reverseZones.map(\.description) == [
                "96.10.in-addr.arpa.", "97.10.in-addr.arpa.",
            ])
        #expect(settings.fallthroughZones == settings.furtherDomains)
        #expect(settings.podRecords == .disabled, "CoreDNS' own defaults")
        #expect(settings.timeToLiveSeconds == 5)
        let records = settings.records
        #expect(records.namespaces == ["shop", "bank"])
        #expect(records.labels?.description == "environment in (qa,staging),app=web")
        #expect(!records.hasEndpoints && records.namesEndpointsAfterPods)
        #expect(records.ignoresEmptyServices)
        #expect(settings.warnings.count == 1)
        #expect(
            settings.warnings.first
                == "line 3: endpoint of kubernetes is ignored: the API server is reached as the "
                + "agent's command line says")
    }

    @Test func forwardsOfABlockHaveTheirOwnZones() throws {
        let settings = try settings(
            """
            . {
                forward lab.test 192.0.2.1
                cache 20
                forward . 192.0.2.2
            }
            corp.test {
                hosts {
                    192.0.2.9 a.corp.test
                }
                forward deep.corp.test tls://192.0.2.3%dns.test:8853
                forward elsewhere.test 192.0.2.4
            }
            """)
        #expect(
            settings.routes.map(\.suffix.description)
                == ["lab.test.", ".", "deep.corp.test.", "corp.test."])
        #expect(
            settings.routes.map(\.upstreams.first?.description) == [
                "192.0.2.1:53", "192.0.2.2:53", "tls://192.0.2.3:8853", nil,
            ])
        #expect(settings.routes.map(\.cache?.maximumSeconds) == [20, 20, nil, nil])
        #expect(settings.routes.map(\.hosts.addresses.count) == [0, 0, 1, 1])
    }

    @Test(arguments: [
        (". {\n kubernetes {\n  labels a in (b\n }\n}", 3),
        (". {\n kubernetes {\n  ignore everything\n }\n}", 3),
        (". {\n kubernetes {\n  namespaces a\n  namespace_labels b\n }\n}", 2),
        ("tls://. {\n forward . 192.0.2.1\n}", 1), ("tls://. {\n tls relative key\n}", 2),
        (". {\n forward . tls://name.test\n}", 2),
        (". {\n forward . tls://192.0.2.1 {\n  tls_servername\n }\n}", 3),
        ("", 1), (".:53 {", 1), (". {\n  nonsense\n}", 2), (". {\n errors\n forward .\n}", 3),
        (". {\n kubernetes {\n  pods maybe\n }\n}", 3), (". {\n kubernetes {\n  what\n }\n}", 3),
        (". {\n forward . host.name\n}", 2), ("(snippet) {\n}", 1), (". {\n log \"open\n}", 2),
        (". {\n forward . 192.0.2.1 {\n  max_concurrent x\n }\n}", 3),
        ("a..b {\n forward . 192.0.2.1\n}", 1),
        (". {\n hosts {\n  nowhere a.test\n }\n}", 3),
    ])
    func whatIsWrongIsNamedWithItsLine(text: String, line: Int) throws {
        let error = #expect(throws: CorefileError.self) { try settings(text) }
        #expect(error?.line == line, "\(error?.description ?? "")")
    }
}
