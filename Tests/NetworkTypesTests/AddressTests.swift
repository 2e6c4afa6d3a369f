import NetworkTypes
import Testing

@Suite struct AddressTests {
    @Test(arguments: [
        ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("::", "::"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("fe80::1", "fe80::1"), ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("255.255.255.255", "255.255.255.255"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
    ])
    func textsBecomeCanonical(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(networkBytes: address.networkBytes) == address)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.x", ":::", "1::2::3",
        "fe80::1%eth0",
        "12345::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1.2.3", "g::",
    ])
    func refused(text: String) { #expect(IPAddress(text) == nil) }

    @Test func classes() throws {
        #expect(try #require(IPAddress("127.3.2.1")).isLoopback)
        #expect(try #require(IPAddress("169.254.1.1")).isLinkLocalUnicast)
        #expect(try #require(IPAddress("febf::1")).isLinkLocalUnicast)
        #expect(try #require(IPAddress("239.1.1.1")).isMulticast)
        #expect(try #require(IPAddress("::")).isUnspecified)
        #expect(!(try #require(IPAddress("10.0.0.1")).isLoopback))
    }

    @Test func steps() throws {
        let last = try #require(IPAddress("255.255.255.255"))
        #expect(last.advanced(by: 1) == nil)
        #expect(last.advanced(by: -1)?.description == "255.255.255.254")
        #expect(try #require(IPAddress("::ffff")).advanced(by: 1)?.description == "::1:0")
    }
}

@Suite struct PrefixTests {
    @Test func hostBitsAreCleared() throws {
        let prefix = try #require(Prefix("10.1.2.3/16"))
        #expect(prefix.description == "10.1.0.0/16")
        #expect(prefix.lastAddress.description == "10.1.255.255")
        #expect(prefix.addressCount == 65536)
        #expect(prefix.contains(try #require(IPAddress("10.1.9.9"))))
        #expect(!prefix.contains(try #require(IPAddress("10.2.0.0"))))
        #expect(prefix.address(at: 10)?.description == "10.1.0.10")
        #expect(prefix.address(at: 65536) == nil)
    }

    @Test func overlapsAndExtremes() throws {
        let wide = try #require(Prefix("10.0.0.0/8"))
        let narrow = try #require(Prefix("10.96.0.0/16"))
        #expect(wide.overlaps(narrow) && narrow.overlaps(wide))
        #expect(!narrow.overlaps(try #require(Prefix("10.97.0.0/16"))))
        #expect(try #require(Prefix("::/0")).addressCount == .max)
        #expect(try #require(Prefix("0.0.0.0/0")).contains(try #require(IPAddress("8.8.8.8"))))
    }

    @Test(arguments: [
        "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "x/8", "::/129", "10.0.0.0/8/8",
    ])
    func refused(text: String) { #expect(Prefix(text) == nil) }
}
