import JSON
import KubernetesAPI
import Testing

@Suite struct SelectorTests {
    @Test(arguments: [
        ("a=1", true), ("a==1", true), ("a!=1", false), ("c!=1", true), ("a in (1,2)", true),
        ("a notin (1,2)", false), ("a", true), ("!a", false), ("!c", true), ("n>3", true),
        ("n<3", false), ("a=1,b=x", true), ("a=1, b in (y)", false), ("", true),
        ("example.com/k=v", true),
    ])
    func labels(text: String, isMatch: Bool) throws {
        let labels = ["a": "1", "b": "x", "n": "5", "example.com/k": "v"]
        #expect(try LabelSelector(parsing: text).matches(labels) == isMatch)
    }

    @Test(arguments: ["a=", "a in ()", "a=1,b"]) func oddButLegal(text: String) throws {
        _ = try LabelSelector(parsing: text)
    }

    @Test(arguments: ["=1", "a in 1", "a b", "a in (1", "a=b=c d", "a>x", "-a=1", ",", "a=%"])
    func refused(text: String) {
        #expect(throws: SelectorError.self) { try LabelSelector(parsing: text) }
    }

    @Test func theTextFormReadsBack() throws {
        for text in ["a=1,b!=2,c in (x,y),d notin (z,w),e,!f,g>1"] {
            let selector = try LabelSelector(parsing: text)
            let again = try LabelSelector(parsing: selector.description)
            #expect(again.description == selector.description)
        }
    }

    @Test(arguments: [
        ("metadata.name=web", true), ("metadata.name!=web", false), ("spec.type==NodePort", true),
        ("spec.type=NodePort,metadata.name=other", false), ("spec.nodeName=", true),
        ("spec.unschedulable=false", true), ("", true),
    ])
    func fields(text: String, isMatch: Bool) throws {
        let object: JSONValue = ["metadata": ["name": "web"], "spec": ["type": "NodePort"]]
        #expect(try FieldSelector(parsing: text).matches(object) == isMatch)
    }

    @Test func unknownFieldsAreRefusedByKind() throws {
        let kind = try #require(KindRegistry.builtIn[.services])
        #expect(kind.fault(of: try FieldSelector(parsing: "spec.clusterIP=None")) == nil)
        #expect(kind.fault(of: try FieldSelector(parsing: "spec.foo=1"))?.code == 400)
        #expect(throws: SelectorError.self) { try FieldSelector(parsing: "metadata.name") }
    }
}
