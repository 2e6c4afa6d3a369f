import Glibc
import Netlink
import TestSupport
import Testing

/// Pods are replaced under load, and no request is lost: issue "zero lost requests".
@Suite(.offPool)
struct RollingUpdateTests {
    private static let replicas = 10

    private static func deployment(grace: Int = 30) -> String {
        """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec:
          replicas: \(replicas)
          selector: {matchLabels: {app: web}}
          template:
            metadata: {labels: {app: web}}
            spec:
              terminationGracePeriodSeconds: \(grace)
              containers:
              - name: web
                image: portolan/hostname
                readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: web-lb}
        spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: web}
        spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
        """
    }

    private func value(_ cluster: StandaloneFixture, _ service: String, _ path: String) throws
        -> String
    {
        try cluster.kubectl("get", "service", service, "-o", "jsonpath={\(path)}")
    }

    @Test func aRollingUpdateUnderLoadLosesNoRequest() throws {
        try StandaloneFixture.run { cluster in
            try cluster.kubectl("create", "namespace", "metallb-system")
            try cluster.kubectl(
                "apply", "-f", "-",
                input: """
                    apiVersion: v1
                    kind: ConfigMap
                    metadata: {namespace: metallb-system, name: config}
                    data:
                      config: |
                        address-pools:
                        - {name: default, protocol: layer2, addresses: ["\(cluster.lan).200-\(cluster.lan).210"]}
                    """)
            try cluster.kubectl(
                "run", "client", "--image=portolan/shell", "--command", "--", "sleep", "1d")
            try cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
            let client = try #require(
                NetworkNamespace.names().first { $0.hasPrefix("\(cluster.name)-pod-") })
            try cluster.kubectl("apply", "-f", "-", input: Self.deployment())
            try cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
            try eventually("the load balancer has an address") {
                try !value(cluster, "web-lb", ".status.loadBalancer.ingress[0].ip").isEmpty
            }
            let clusterIP = try value(cluster, "web", ".spec.clusterIP")
            let nodePort = try #require(
                UInt16(try value(cluster, "web", ".spec.ports[0].nodePort")))
            let balancer = try value(cluster, "web-lb", ".status.loadBalancer.ingress[0].ip")
            try eventually("every way leads to a pod") {
                try cluster.curl("http://\(balancer)").hasPrefix("Hello")
                    && cluster.curl("http://\(cluster.nodeAddress(2)):\(nodePort)")
                        .hasPrefix("Hello")
            }
            let node = try NetworkNamespace.open(cluster.nodeName(1))
            let before = try pods(cluster)
            let loads = [
                try SteadyLoad(
                    clusterIP, port: 80, perSecond: 100, in: NetworkNamespace.open(client)),
                try SteadyLoad(clusterIP, port: 80, perSecond: 100, in: node),
                try SteadyLoad(
                    cluster.nodeAddress(2), port: nodePort, perSecond: 100, in: nil),
                try SteadyLoad(balancer, port: 80, perSecond: 100, in: nil),
            ]
            try eventually("the load is under way") { loads.allSatisfy { $0.requestCount > 50 } }
            try cluster.kubectl("rollout", "restart", "deployment/web")
            try cluster.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
            try eventually("the old pods are gone", withinSeconds: 60) {
                try before.isDisjoint(with: pods(cluster))
            }
            let counts = loads.map(\.requestCount)
            try eventually("the load goes on") {
                zip(loads, counts).allSatisfy { $0.requestCount > $1 + 50 }
            }
            for load in loads { #expect(try load.stop() == []) }
            #expect(try drainEvents(cluster) == "")
        }
    }

    @Test func aNodeThatDoesNotConfirmHoldsPodsUpForABoundedTimeOnly() throws {
        try StandaloneFixture.run { cluster in
            try cluster.kubectl("apply", "-f", "-", input: Self.deployment(grace: 4))
            try cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
            // A pod behind no Service waits for nobody.
            try cluster.kubectl(
                "run", "alone", "--image=portolan/hostname", "--overrides",
                #"{"spec":{"nodeName":"\#(cluster.nodeName(1))"}}"#)
            try cluster.kubectl("wait", "--for=condition=Ready", "pod/alone", "--timeout=60s")
            let served = try #require(
                try cluster.kubectl(
                    "get", "pods", "-l", "app=web", "-o",
                    "jsonpath={.items[*].metadata.name}", "--field-selector",
                    "spec.nodeName=\(cluster.nodeName(1))"
                ).split(separator: " ").first.map(String.init))
            let other = try process(cluster, ofNode: 2)
            kill(other, SIGSTOP)
            defer { kill(other, SIGCONT) }
            try cluster.kubectl("delete", "pod", served, "alone", "--timeout=60s")
            try eventually("an event says who has not confirmed") {
                try drainEvents(cluster).contains(cluster.nodeName(2))
            }
            let named = try cluster.kubectl(
                "get", "events", "--field-selector", "reason=DrainTimeout", "-o",
                "jsonpath={.items[*].involvedObject.name}")
            #expect(named == served)
        }
    }

    private func process(_ cluster: StandaloneFixture, ofNode node: Int) throws -> pid_t {
        let text = try Command.check([
            "pgrep", "-f", "portolan node --network-namespace \(cluster.nodeName(node)) ",
        ]).trimmedOutput
        return try #require(pid_t(text))
    }

    private func pods(_ cluster: StandaloneFixture) throws -> Set<Substring> {
        let names = try cluster.kubectl(
            "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}")
        return Set(names.split(separator: " "))
    }

    private func drainEvents(_ cluster: StandaloneFixture) throws -> String {
        try cluster.kubectl(
            "get", "events", "--field-selector", "reason=DrainTimeout", "-o",
            "jsonpath={.items[*].message}")
    }
}
