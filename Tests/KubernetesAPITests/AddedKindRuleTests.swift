import JSON
import Testing

@testable import KubernetesAPI

/// Secrets of well-known types, containers added to pods, and lists of custom resources.
@Suite struct AddedKindRuleTests {
    @Test(arguments: [
        ("Opaque", "{}", ""),
        (
            "kubernetes.io/service-account-token", "{}",
            "metadata.annotations[kubernetes.io/service-account.name]: Required value"
        ),
        (
            "kubernetes.io/tls", #"{"tls.crt":""}"#, "data[tls.key]: Required value"
        ),
        ("kubernetes.io/tls", #"{"tls.crt":"","tls.key":""}"#, ""),
        (
            "kubernetes.io/dockerconfigjson", "{}", "data[.dockerconfigjson]: Required value"
        ),
        ("kubernetes.io/basic-auth", #"{"username":"eA=="}"#, ""),
        (
            "kubernetes.io/basic-auth", "{}",
            "data[username]: Required value, data[password]: Required value"
        ),
        (
            "kubernetes.io/ssh-auth", #"{"ssh-privatekey":""}"#,
            "data[ssh-privatekey]: Required value"
        ),
    ])
    func secretsHoldWhatTheirTypeAsks(type: String, data: String, faults: String) throws {
        let secret: JSONValue = [
            "metadata": ["name": "s"], "type": .string(type), "data": try JSONValue(parsing: data),
        ]
        let found = SecretRules.validate(secret).map(\.description).joined(separator: ", ")
        #expect(found == faults)
    }

    @Test(arguments: [
        (#"[{"name":"old","image":"x"},{"name":"new","image":"y"}]"#, ""),
        (#"[{"name":"new","image":"y"}]"#, "\"old\" may not be removed"),
        (#"[{"name":"old","image":"z"}]"#, "\"old\" may not be changed"),
        (
            #"[{"name":"old","image":"x"},{"name":"main","image":"y"}]"#,
            "spec.ephemeralContainers[1].name: Duplicate value: \"main\""
        ),
        (
            #"[{"name":"old","image":"x"},{"name":"n"}]"#,
            "spec.ephemeralContainers[1].image: Required value"
        ),
        (
            #"[{"name":"old","image":"x"},{"name":"n","image":"y","targetContainerName":"q"}]"#,
            "spec.ephemeralContainers[1].targetContainerName: Not found: \"q\""
        ),
        (
            #"[{"name":"old","image":"x"},{"name":"n","image":"y","ports":[{"containerPort":1}]}]"#,
            "spec.ephemeralContainers[1].ports: Forbidden"
        ),
    ])
    func containersAreAddedAndNothingElse(list: String, fault: String) throws {
        let pod: JSONValue = [
            "metadata": ["name": "p", "labels": ["a": "b"]],
            "spec": [
                "containers": [["name": "main", "image": "x"]],
                "ephemeralContainers": [["name": "old", "image": "x"]],
            ],
        ]
        var sent = pod
        sent["spec", "ephemeralContainers"] = try JSONValue(parsing: list)
        sent["spec", "nodeName"] = "elsewhere"
        sent["metadata", "labels"] = [:]
        do {
            var result = try EphemeralContainers.added(by: sent, to: pod, name: "p")
            #expect(fault.isEmpty)
            #expect(result["spec", "ephemeralContainers"] == sent["spec", "ephemeralContainers"])
            result["spec", "ephemeralContainers"] = pod["spec", "ephemeralContainers"]
            #expect(result == pod)
        } catch let error as StatusError {
            #expect(!fault.isEmpty && error.message.contains(fault), "\(error.message)")
        }
    }

    @Test func elementsOfSetsAndMapsDiffer() throws {
        let schema = CustomSchema.read(
            try JSONValue(
                parsing: """
                    {"type":"object","properties":{
                    "tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
                    "ports":{"type":"array","x-kubernetes-list-type":"map",
                      "x-kubernetes-list-map-keys":["name"],"items":{"type":"object","properties":
                      {"name":{"type":"string"},"n":{"type":"integer"}}}},
                    "free":{"type":"array","items":{"type":"string"}}}}
                    """), depth: 0)
        func faults(_ text: String) throws -> [String] {
            CustomLists.duplicates(try JSONValue(parsing: text), schema).map(\.description)
        }
        #expect(try faults(#"{"tags":["a","b"],"free":["a","a"]}"#) == [])
        #expect(
            try faults(#"{"tags":["a","b","a"]}"#) == [#"tags[2]: Duplicate value: "a""#])
        #expect(
            try faults(#"{"ports":[{"name":"a","n":1},{"name":"a","n":2}]}"#)
                == [#"ports[1]: Duplicate value: {"name":"a"}"#])
    }
}
