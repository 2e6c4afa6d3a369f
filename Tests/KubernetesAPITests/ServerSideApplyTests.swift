import JSON
import Testing

@testable import KubernetesAPI

@Suite struct ServerSideApplyTests {
    let kind: Kind
    let now = Timestamp(seconds: 1_800_000_000)

    init() throws { kind = try #require(KindRegistry.builtIn[.services]) }

    private func apply(
        _ text: String, to live: JSONValue?, manager: String = "one", force: Bool = false
    ) throws -> JSONValue {
        var configuration = try JSONValue(parsing: text)
        configuration["apiVersion"] = "v1"
        configuration["kind"] = "Service"
        configuration["metadata", "name"] = "web"
        let decoded = try kind.decode(configuration)
        return kind.defaulted(
            try ServerSideApply.apply(
                decoded.object, to: live, kind: kind, manager: manager, force: force, now: now))
    }

    @Test func anAppliedObjectNamesItsFields() throws {
        let object = try apply(
            #"{"metadata":{"labels":{"a":"1"}},"spec":{"ports":[{"port":80}]}}"#, to: nil)
        let entry = try #require(object["metadata", "managedFields"]?[0])
        #expect(entry["manager"] == "one")
        #expect(entry["operation"] == "Apply")
        #expect(entry["time"] == "2027-01-15T08:00:00Z")
        #expect(
            entry["fieldsV1"]?.serializedText
                == #"{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:ports":"#
                + #"{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}"#)
    }

    @Test func whatIsNoLongerAppliedGoesAndOthersStay() throws {
        var object = try apply(
            #"""
            {"metadata":{"labels":{"a":"1","b":"2"}},
             "spec":{"ports":[{"port":80},{"port":81,"name":"x"}]}}
            """#,
            to: nil)
        object = try apply(
            #"{"metadata":{"labels":{"b":"2","c":"3"}}}"#, to: object, manager: "two")
        object = try apply(
            #"{"metadata":{"labels":{"a":"1"}},"spec":{"ports":[{"port":81,"name":"x"}]}}"#,
            to: object)
        #expect(object["metadata", "labels"] == ["a": "1", "b": "2", "c": "3"])
        #expect(object["spec", "ports"]?.array?.count == 1)
        object = try apply(#"{"metadata":{"labels":{"c":"3"}}}"#, to: object, manager: "two")
        #expect(object["metadata", "labels"] == ["a": "1", "c": "3"])
    }

    @Test func anotherManagersFieldConflicts() throws {
        var object = try apply(#"{"spec":{"ports":[{"port":80,"nodePort":30080}]}}"#, to: nil)
        let wanted = #"{"spec":{"ports":[{"port":80,"nodePort":30081}]}}"#
        let error = #expect(throws: StatusError.self) {
            try apply(wanted, to: object, manager: "two")
        }
        #expect(error?.code == 409)
        #expect(
            error?.message == "Apply failed with 1 conflict: conflict with \"one\": "
                + ".spec.ports[port=80,protocol=\"TCP\"].nodePort")
        #expect(error?.details?["causes"]?[0]?["reason"] == "FieldManagerConflict")
        object = try apply(wanted, to: object, manager: "two", force: true)
        #expect(object["spec", "ports"]?[0]?["nodePort"] == 30081)
        // The field now belongs to the second: the first can drop it without taking it away.
        object = try apply(#"{"spec":{"ports":[{"port":80}]}}"#, to: object)
        #expect(object["spec", "ports"]?[0]?["nodePort"] == 30081)
    }

    @Test func updatesTakeFieldsOver() throws {
        let old = try apply(#"{"spec":{"ports":[{"port":80}],"selector":{"a":"1"}}}"#, to: nil)
        var new = old
        new["spec", "selector"] = ["a": "2"]
        new["metadata", "labels"] = ["x": "y"]
        ManagedFields.track(old: old, new: &new, kind: kind, manager: "kubectl-edit", now: now)
        let entries = try #require(new["metadata", "managedFields"]?.array)
        #expect(entries.map { $0["operation"]?.string } == ["Apply", "Update"])
        #expect(entries[0]["fieldsV1"]?["f:spec"]?["f:selector"] == nil)
        #expect(
            entries[1]["fieldsV1"]?.serializedText
                == #"{"f:metadata":{"f:labels":{".":{},"f:x":{}}},"f:spec":{"f:selector":{}}}"#)
        let error = #expect(throws: StatusError.self) {
            try apply(#"{"spec":{"selector":{"a":"3"}}}"#, to: new, manager: "one")
        }
        #expect(
            error?.message == "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using "
                + "v1 at 2027-01-15T08:00:00Z: .spec.selector")
    }

    @Test func applyingTheSameAgainChangesNothing() throws {
        let text = #"{"spec":{"ports":[{"port":80},{"port":53,"protocol":"UDP","name":"d"}]}}"#
        let object = try apply(text, to: nil)
        #expect(try apply(text, to: object) == object)
    }

    @Test func duplicateKeysAreRefused() {
        #expect(throws: StatusError.self) {
            try apply(#"{"spec":{"ports":[{"port":80},{"port":80}]}}"#, to: nil)
        }
    }

    @Test func manyUpdatersAreSummedUp() throws {
        var object: JSONValue = ["metadata": ["name": "web"]]
        for index in 0..<15 {
            let old = object
            object["metadata", "labels", "k\(index)"] = "v"
            ManagedFields.track(
                old: old, new: &object, kind: kind, manager: "m\(index)",
                now: Timestamp(seconds: Int64(index)))
        }
        let names = (object["metadata", "managedFields"]?.array ?? []).map { $0["manager"] }
        #expect(names.count == 10)
        #expect(names.contains("ancient-changes"))
    }
}
