import Netlink

/// The bytes nft keeps with objects for itself: type, length, value (libnftnl's udata.h).
enum UserData {
    /// A rule's or an element's remark (type 0), cut to 127 bytes.
    static func comment(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8.prefix(127))
        return [0, UInt8(bytes.count + 1)] + bytes + [0]
    }

    /// Reads a remark.
    static func comment(in data: ByteView?) -> String? {
        guard let data else { return nil }
        var position = 0
        while position + 2 <= data.count {
            let length = Int(data.uint8(at: position + 1))
            if data.uint8(at: position) == 0 {
                return data.dropFirst(position + 2, byteCount: length).string
            }
            position += 2 + length
        }
        return nil
    }

    /// A set's byte orders (types 0 and 1): 1 the machine's, 2 the network's, 0 none of its own,
    /// as a concatenation has none.
    static func byteOrders(of set: NamedSet) -> [UInt8] {
        func order(_ fields: [FieldType]) -> UInt8 {
            guard fields.count == 1, let field = fields.first else { return 0 }
            return field.isHostOrder ? 1 : 2
        }
        let key: [UInt8] = [0, 4, order(set.key), 0, 0, 0]
        switch set.content {
        case .value(let fields): return key + [1, 4, order(fields), 0, 0, 0]
        case .none, .verdict, .counter: return key
        }
    }
}
