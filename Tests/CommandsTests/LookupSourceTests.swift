import JSON
import KubernetesAPI
import Testing

@testable import Commands

/// What `portolan dns lookup` makes of the cluster's objects.
@Suite
struct LookupSourceTests {
    private func source(
        corefile: String? = nil, pod spec: JSONValue = [:], namespace: String = "default"
    ) throws -> LookupSource {
        let dns: JSONValue = [
            "metadata": ["name": "kube-dns", "namespace": "kube-system"],
            "spec": ["type": "ClusterIP", "clusterIP": "10.96.0.10"],
        ]
        let web: JSONValue = [
            "metadata": ["name": "web", "namespace": "default"],
            "spec": [
                "type": "ClusterIP", "clusterIP": "None",
                "ports": [["name": "http", "port": 80, "protocol": "TCP"]],
            ],
        ]
        let slice: JSONValue = [
            "metadata": [
                "name": "web-1", "namespace": "default",
                "labels": ["kubernetes.io/service-name": "web"],
            ],
            "addressType": "IPv4",
            "endpoints": [
                ["addresses": ["10.244.0.2"], "conditions": ["ready": true]],
                ["addresses": ["10.244.0.3"], "conditions": ["ready": false]],
            ],
        ]
        let pod: JSONValue = [
            "metadata": ["name": "client", "namespace": .string(namespace)], "spec": spec,
        ]
        return try LookupSource(
            corefile: corefile, clusterDomain: "cluster.local", namespaces: ["default": [:]],
            services: [try Service(json: dns), try Service(json: web)],
            slices: [try EndpointSlice(json: slice)], pods: [], namespace: namespace,
            pod: try Pod(json: pod))
    }

    @Test func theAnsweringObjectsAreNamed() throws {
        #expect(
            try source().explain("web", type: nil)
                == "web.default.svc.cluster.local. → A 10.244.0.2 "
                + "(Service default/web, EndpointSlice web-1)")
        #expect(try source().explain("10.96.0.10", type: nil).contains("PTR kube-dns.kube-system"))
    }

    @Test func thePodsOwnResolverDecides() throws {
        let config: JSONValue = [
            "dnsConfig": [
                "searches": ["corp.test"], "options": [["name": "ndots", "value": "1"]],
            ]
        ]
        let text = try source(pod: config).explain("a.b", type: nil)
        #expect(text.hasPrefix("a.b. → asked upstream"))
        let long = try source(pod: config).explain("none", type: nil)
        #expect(long.contains("none.corp.test. → asked upstream"))
        let host = try source(pod: ["dnsPolicy": "Default"]).explain("web", type: nil)
        #expect(host.contains("the name servers of its node"))
        #expect(host.contains("hint: this pod asks"))
    }

    @Test func theCorefileDecides() throws {
        let other = try source(
            corefile: ". {\n kubernetes corp.local\n forward . 192.0.2.1\n}")
        #expect(
            try other.explain("web.default.svc.cluster.local", type: nil)
                .contains("hint: the cluster domain here is corp.local."))
        let broken = try source(corefile: ". {\n nonsense\n}")
        #expect(try broken.explain("web", type: nil).contains("note: the coredns ConfigMap"))
    }
}
