import JSON
import KubernetesAPI

/// The resources that a CustomResourceDefinition adds.
enum CustomResources {
    /// One resource of the definition: the version that is stored, else the first that is served.
    /// All versions show the same objects, so one is enough to watch and empty them.
    static func resource(of definition: Object) -> Resource? {
        let spec = definition["spec"]
        let versions = (spec?["versions"]?.array ?? []).filter { $0["served"]?.bool == true }
        let version = versions.first { $0["storage"]?.bool == true } ?? versions.first
        guard definition.metadata.deletionTimestamp == nil,
            Conditions(of: definition.json).isTrue("Established"),
            let group = spec?["group"]?.string, let name = version?["name"]?.string,
            let plural = spec?["names"]?["plural"]?.string,
            let kind = spec?["names"]?["kind"]?.string
        else { return nil }
        return Resource(
            group: group, version: name, plural: plural, kind: kind,
            isNamespaced: spec?["scope"]?.string == "Namespaced")
    }
}
