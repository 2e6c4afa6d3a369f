import Glibc
import JSON
import Store

/// A directory of a test's own; removed with the fixture.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/portolan-store-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXFailure(call: "mkdtemp", code: errno) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    deinit {
        guard let directory = opendir(path) else { return }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { unlink(file(name)) }
        }
        closedir(directory)
        rmdir(path)
    }
}

struct POSIXFailure: Error {
    let call: String
    let code: Int32
}

/// The key of a Service in namespace `default`.
func serviceKey(_ name: String, namespace: String = "default") -> StoreKey {
    StoreKey(resource: "services", namespace: namespace, name: name)
}

/// A small object with a mark to recognise.
func object(_ name: String, mark: Int = 0) -> JSONValue {
    ["metadata": ["name": .string(name)], "mark": .integer(Int64(mark))]
}
