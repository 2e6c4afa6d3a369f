import AddressPools
import NetworkTypes
import Testing

@Suite struct AddressRangeTests {
    @Test(arguments: [
        ("10.1.0.0/24", "10.1.0.0/24", UInt64(256)),
        ("10.1.0.9/24", "10.1.0.0/24", 256),
        ("10.1.0.2-10.1.0.100", "10.1.0.2-10.1.0.100", 99),
        (" 10.1.0.2 - 10.1.0.3 ", "10.1.0.2/31", 2),
        ("10.1.0.7/32", "10.1.0.7/32", 1),
        ("2001:db8::/64", "2001:db8::/64", .max),
        ("0.0.0.0/0", "0.0.0.0/0", 4_294_967_296),
    ])
    func reads(text: String, canonical: String, count: UInt64) throws {
        let range = try AddressRange(parsing: text)
        #expect(range.description == canonical)
        #expect(range.addressCount == count)
    }

    @Test(arguments: [
        ("10.1.0.7", "write \"10.1.0.7/32\""),
        ("10.1.0.9-10.1.0.2", "write \"10.1.0.2-10.1.0.9\""),
        ("10.1.0.0/33", "neither a CIDR"),
        ("10.1.0.1-2001:db8::1", "one family"),
        ("10.1.0.1-10.1.0.300", "last address \"10.1.0.300\""),
        ("a-b-c", "more than one"),
        ("", "neither a CIDR"),
    ])
    func refusesWithTheRemedy(text: String, remedy: String) {
        #expect {
            try AddressRange(parsing: text)
        } throws: { error in
            "\(error)".contains(remedy)
        }
    }

    @Test func coversARangeWithTheFewestPrefixes() throws {
        let range = try AddressRange(parsing: "10.1.0.2-10.1.0.100")
        let expected = [
            "10.1.0.2/31", "10.1.0.4/30", "10.1.0.8/29", "10.1.0.16/28", "10.1.0.32/27",
            "10.1.0.64/27", "10.1.0.96/30", "10.1.0.100/32",
        ]
        #expect(range.prefixes.map(\.description) == expected)
    }

    @Test func prefixesAddUpToTheRange() throws {
        for _ in 0..<300 {
            let first = UInt32.random(in: 0...UInt32.max)
            let last = UInt32.random(in: first...UInt32.max)
            let range = try #require(AddressRange(first: .v4(first), last: .v4(last)))
            let prefixes = range.prefixes
            #expect(prefixes.first?.address == range.first)
            #expect(prefixes.last?.lastAddress == range.last)
            #expect(prefixes.reduce(0) { $0 + $1.addressCount } == range.addressCount)
            for (left, right) in zip(prefixes, prefixes.dropFirst()) {
                #expect(left.lastAddress.advanced(by: 1) == right.address)
            }
        }
    }

    @Test(arguments: ["10.1.0.0/24", "10.1.0.1-10.1.3.7", "10.1.0.255-10.1.1.0", "10.9.0.5/32"])
    func countsBuggyAddressesAsAScanDoes(text: String) throws {
        let careful = try pool("p", text, avoidBuggyIPs: true)
        let range = careful.ranges[0]
        var count: UInt64 = 0
        var next: IPAddress? = range.first
        while let address = next, address <= range.last {
            if careful.offers(address) { count += 1 }
            next = address.advanced(by: 1)
        }
        #expect(careful.addressCount(.ipv4) == count)
        #expect(careful.addressCount(.ipv6) == 0)
    }
}
