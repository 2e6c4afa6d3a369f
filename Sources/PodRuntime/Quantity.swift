/// A Kubernetes quantity (apimachinery's resource.Quantity), read to the precision a cgroup needs.
struct Quantity: Hashable, Sendable {
    /// The value in thousandths, rounded up as Kubernetes does.
    let thousandths: Int64

    /// The value, rounded up to a whole number.
    var value: Int64 { (thousandths + 999) / 1000 }

    /// Reads `250m`, `1.5`, `64Mi`, `2G`, `1e3`; nil for anything else, or what does not fit.
    init?(_ text: String) {
        let suffixes: [(String, Double)] = [
            ("Ki", 1024), ("Mi", 1_048_576), ("Gi", 1_073_741_824), ("Ti", 1_099_511_627_776),
            ("Pi", 1_125_899_906_842_624), ("Ei", 1_152_921_504_606_846_976),
            ("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("k", 1e3), ("M", 1e6), ("G", 1e9),
            ("T", 1e12), ("P", 1e15), ("E", 1e18),
        ]
        var number = text[...]
        var factor = 1.0
        if let (suffix, value) = suffixes.first(where: { text.hasSuffix($0.0) }) {
            number = text.dropLast(suffix.count)
            factor = value
        }
        guard let first = number.utf8.first, first != UInt8(ascii: "i"),
            number.utf8.allSatisfy({ (43...57).contains($0) || $0 == 101 || $0 == 69 }),
            let parsed = Double(number)
        else { return nil }
        let scaled = (parsed * factor * 1000).rounded(.up)
        guard scaled.magnitude < 9e18 else { return nil }
        thousandths = Int64(scaled)
    }
}
