import Glibc

/// A directory of inputs that once broke a rule, tried first in each run so that a fault once found
/// stays fixed.
public struct Corpus: Sendable {
    private let directory: String?

    /// The largest file that is read; what is longer is cut.
    private static let largestInput = 1 << 20

    /// A corpus in `directory`; nil for none.
    public init(directory: String?) { self.directory = directory }

    /// Every input that is there; none where the directory cannot be read.
    public var inputs: [[UInt8]] {
        guard let directory, let handle = opendir(directory) else { return [] }
        defer { closedir(handle) }
        var inputs: [[UInt8]] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard !name.hasPrefix("."), let file = fopen("\(directory)/\(name)", "r") else {
                continue
            }
            defer { fclose(file) }
            var bytes = [UInt8](repeating: 0, count: Self.largestInput)
            inputs.append(Array(bytes.prefix(fread(&bytes, 1, bytes.count, file))))
        }
        return inputs
    }

    /// Keeps an input under `name`; where that is impossible, it is on standard output at least.
    public func keep(_ input: [UInt8], name: String) {
        guard let directory, let file = fopen("\(directory)/\(name)", "w") else { return }
        fwrite(input, 1, input.count, file)
        fclose(file)
    }
}
