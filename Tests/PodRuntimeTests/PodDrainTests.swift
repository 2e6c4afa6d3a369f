import JSON
import KubernetesAPI
import Testing

@testable import PodRuntime

/// Which slices keep a pod from its end: the pure part of `PodDrain`.
@Suite
struct PodDrainTests {
    private static let pod = ObjectKey(namespace: "default", name: "web-1")

    private func endpoint(
        _ name: String, ready: Bool, terminating: Bool = false
    ) -> JSONValue {
        [
            "addresses": ["10.244.0.2"],
            "conditions": [
                "ready": .bool(ready), "serving": true, "terminating": .bool(terminating),
            ],
            "targetRef": ["kind": "Pod", "namespace": "default", "name": .string(name)],
        ]
    }

    private func slice(
        _ revision: Int, _ endpoints: [JSONValue],
        manager: String = "endpointslice-controller.k8s.io"
    ) throws -> EndpointSlice {
        try EndpointSlice(json: [
            "metadata": [
                "name": .string("web-\(revision)"), "namespace": "default",
                "resourceVersion": .string("\(revision)"),
                "labels": ["endpointslice.kubernetes.io/managed-by": .string(manager)],
            ],
            "addressType": "IPv4", "endpoints": .array(endpoints),
        ])
    }

    @Test func aPodThatIsReadyInOneSliceIsStillServed() throws {
        let slices = [
            try slice(7, [endpoint("web-1", ready: false, terminating: true)]),
            try slice(9, [endpoint("web-2", ready: true), endpoint("web-1", ready: true)]),
        ]
        #expect(PodDrain.markedRevision(of: Self.pod, in: slices) == nil)
    }

    @Test func theNewestSliceSaysWhatToWaitFor() throws {
        let slices = [
            try slice(7, [endpoint("web-1", ready: false, terminating: true)]),
            try slice(9, [endpoint("web-2", ready: true)]),
        ]
        #expect(PodDrain.markedRevision(of: Self.pod, in: slices) == 9)
        #expect(PodDrain.markedRevision(of: Self.pod, in: []) == 0)
    }

    @Test func publishedAddressesCountOnceTheyTerminate() throws {
        // publishNotReadyAddresses keeps `ready` true to the end.
        let slices = [try slice(7, [endpoint("web-1", ready: true, terminating: true)])]
        #expect(PodDrain.markedRevision(of: Self.pod, in: slices) == 7)
    }

    @Test func slicesOfOtherControllersSayNothing() throws {
        let mirrored = try slice(
            11, [endpoint("web-1", ready: true)],
            manager: "endpointslicemirroring-controller.k8s.io")
        #expect(PodDrain.markedRevision(of: Self.pod, in: [mirrored]) == 0)
    }

    @Test func onlyServicesThatSelectThePodMatter() throws {
        let pod = try Pod(json: [
            "metadata": [
                "name": "web-1", "namespace": "default", "labels": ["app": "web", "tier": "front"],
            ]
        ])
        func service(
            _ name: String, _ selector: JSONValue?, namespace: String = "default",
            type: String = "ClusterIP"
        ) throws -> Service {
            var json: JSONValue = [
                "metadata": ["name": .string(name), "namespace": .string(namespace)],
                "spec": ["type": .string(type)],
            ]
            json["spec", "selector"] = selector
            return try Service(json: json)
        }
        let services = [
            try service("a", ["app": "web"]), try service("b", ["app": "web", "tier": "front"]),
            try service("c", ["app": "web", "tier": "back"]), try service("d", nil),
            try service("e", ["app": "web"], namespace: "other"),
            try service("f", ["app": "web"], type: "ExternalName"),
        ]
        let keys = PodDrain.services(services, selecting: pod)
        #expect(keys.map(\.name).sorted() == ["a", "b"])
    }

    @Test(arguments: [(0, 0.0), (1, 0.5), (4, 2), (30, 10), (3600, 10)])
    func containersKeepTimeToEnd(_ grace: Int, _ limit: Double) {
        #expect(PodDrain.limitSeconds(graceSeconds: grace) == limit)
    }
}
