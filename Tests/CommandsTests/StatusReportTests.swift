import JSON
import KubernetesAPI
import Testing

@testable import Commands

/// The layout of `portolan status`.
@Suite
struct StatusReportTests {
    private func report() throws -> StatusReport {
        let node: JSONValue = [
            "metadata": ["name": "n1"], "spec": ["podCIDR": "10.244.0.0/24"],
            "status": [
                "addresses": [["type": "InternalIP", "address": "172.30.0.11"]],
                "conditions": [["type": "Ready", "status": "True"]],
            ],
        ]
        let service: JSONValue = [
            "metadata": ["name": "web", "namespace": "default", "uid": "u1"],
            "spec": [
                "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                "ports": [["port": 80, "nodePort": 31000, "protocol": "TCP"]],
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
        return StatusReport(
            nodes: [try Node(json: node)], pods: [], services: [try Service(json: service)],
            slices: [try EndpointSlice(json: slice)], warnings: ["u1": "AllocationFailed: no pool"])
    }

    @Test func showsNodesServicesAndWhatIsPending() throws {
        #expect(
            try report().lines == [
                "NODE   STATUS   ADDRESS       POD RANGE       PODS",
                "n1     Ready    172.30.0.11   10.244.0.0/24   0",
                "",
                "SERVICE       TYPE           CLUSTER-IP   EXTERNAL    PORTS          ENDPOINTS",
                "default/web   LoadBalancer   10.96.0.7    <pending>   80:31000/TCP   1 of 2 ready",
                "",
                "PENDING",
                "  service default/web: AllocationFailed: no pool",
            ])
    }

    @Test func namesWhatAPodWaitsForInItsOwnWords() throws {
        let pulling: JSONValue = [
            "metadata": ["name": "a", "namespace": "default", "uid": "u2"],
            "status": [
                "phase": "Pending",
                "containerStatuses": [
                    ["state": ["waiting": ["reason": "ErrImagePull", "message": "no such image"]]]
                ],
            ],
        ]
        let homeless: JSONValue = [
            "metadata": ["name": "b", "namespace": "default", "uid": "u3"],
            "status": [
                "phase": "Pending",
                "conditions": [
                    [
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                        "message": "no node is ready",
                    ]
                ],
            ],
        ]
        var report = try report()
        report.services = []
        report.pods = try [pulling, homeless].map(Pod.init(json:))
        report.warnings["u2"] = "Failed: Error: ErrImagePull"
        report.waiting = StatusReport.waitingReasons([pulling, homeless])
        #expect(
            report.lines.suffix(2) == [
                "  pod default/a: ErrImagePull: no such image",
                "  pod default/b: Unschedulable: no node is ready",
            ])
    }

    @Test func saysSoWhereNothingIsPending() throws {
        var report = try report()
        report.services = []
        #expect(report.lines.last == "Nothing is pending.")
    }
}
