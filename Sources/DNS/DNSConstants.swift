/// A record type (IANA "DNS Parameters", Resource Record TYPEs).
public struct RecordType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt16

    /// Makes a type of its number; every number is allowed.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// IPv4 address (RFC 1035).
    public static let a = RecordType(rawValue: 1)
    /// Name server (RFC 1035).
    public static let ns = RecordType(rawValue: 2)
    /// Alias (RFC 1035).
    public static let cname = RecordType(rawValue: 5)
    /// Start of authority (RFC 1035).
    public static let soa = RecordType(rawValue: 6)
    /// Pointer, for reverse names (RFC 1035).
    public static let ptr = RecordType(rawValue: 12)
    /// Host information; answers ANY (RFC 8482).
    public static let hinfo = RecordType(rawValue: 13)
    /// Mail exchange (RFC 1035).
    public static let mx = RecordType(rawValue: 15)
    /// Text (RFC 1035).
    public static let txt = RecordType(rawValue: 16)
    /// IPv6 address (RFC 3596).
    public static let aaaa = RecordType(rawValue: 28)
    /// Service location (RFC 2782).
    public static let srv = RecordType(rawValue: 33)
    /// EDNS pseudo-record (RFC 6891).
    public static let opt = RecordType(rawValue: 41)
    /// Delegation signer (RFC 4034).
    public static let ds = RecordType(rawValue: 43)
    /// Signature (RFC 4034).
    public static let rrsig = RecordType(rawValue: 46)
    /// Denial of existence (RFC 4034).
    public static let nsec = RecordType(rawValue: 47)
    /// Zone key (RFC 4034).
    public static let dnskey = RecordType(rawValue: 48)
    /// Hashed denial of existence (RFC 5155).
    public static let nsec3 = RecordType(rawValue: 50)
    /// Service binding (RFC 9460).
    public static let svcb = RecordType(rawValue: 64)
    /// Service binding of HTTPS (RFC 9460).
    public static let https = RecordType(rawValue: 65)
    /// Incremental zone transfer (RFC 1995).
    public static let ixfr = RecordType(rawValue: 251)
    /// Zone transfer (RFC 5936).
    public static let axfr = RecordType(rawValue: 252)
    /// All records (RFC 1035; RFC 8482).
    public static let any = RecordType(rawValue: 255)

    private static let names: [(RecordType, String)] = [
        (.a, "A"), (.ns, "NS"), (.cname, "CNAME"), (.soa, "SOA"), (.ptr, "PTR"),
        (.hinfo, "HINFO"), (.mx, "MX"), (.txt, "TXT"), (.aaaa, "AAAA"), (.srv, "SRV"),
        (.opt, "OPT"), (.ds, "DS"), (.rrsig, "RRSIG"), (.nsec, "NSEC"), (.dnskey, "DNSKEY"),
        (.nsec3, "NSEC3"), (.svcb, "SVCB"), (.https, "HTTPS"), (.ixfr, "IXFR"), (.axfr, "AXFR"),
        (.any, "ANY"),
    ]

    /// Parses `A`, `aaaa`, `TYPE65`; nil for an unknown mnemonic.
    public init?(_ text: some StringProtocol) {
        let upper = text.uppercased()
        if let known = Self.names.first(where: { $0.1 == upper }) {
            self = known.0
        } else if upper.hasPrefix("TYPE"), let number = UInt16(upper.dropFirst(4)) {
            self.init(rawValue: number)
        } else {
            return nil
        }
    }

    /// The mnemonic, or `TYPEn` (RFC 3597, 5).
    public var description: String {
        Self.names.first { $0.0 == self }?.1 ?? "TYPE\(rawValue)"
    }
}

/// A response code (IANA "DNS Parameters", RCODEs); values above 15 need EDNS.
public struct ResponseCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number, twelve bits with EDNS' extension.
    public let rawValue: UInt16

    /// Makes a code of its number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// No error.
    public static let noError = ResponseCode(rawValue: 0)
    /// The query is malformed.
    public static let formatError = ResponseCode(rawValue: 1)
    /// The server could not find out.
    public static let serverFailure = ResponseCode(rawValue: 2)
    /// The name does not exist.
    public static let nameError = ResponseCode(rawValue: 3)
    /// The operation is not known.
    public static let notImplemented = ResponseCode(rawValue: 4)
    /// Not for this client or name.
    public static let refused = ResponseCode(rawValue: 5)
    /// The EDNS version is not known (RFC 6891).
    public static let badVersion = ResponseCode(rawValue: 16)
    /// The cookie is not ours (RFC 7873).
    public static let badCookie = ResponseCode(rawValue: 23)

    /// The mnemonic as dig and CoreDNS' metrics spell it.
    public var description: String {
        switch rawValue {
        case 0: "NOERROR"
        case 1: "FORMERR"
        case 2: "SERVFAIL"
        case 3: "NXDOMAIN"
        case 4: "NOTIMP"
        case 5: "REFUSED"
        case 16: "BADVERS"
        case 23: "BADCOOKIE"
        default: "RCODE\(rawValue)"
        }
    }
}

/// Bits of the header's second word (RFC 1035, 4.1.1; AD and CD by RFC 4035).
public enum HeaderFlags {
    /// QR: an answer.
    public static let response: UInt16 = 0x8000
    /// The operation.
    public static let opcodeMask: UInt16 = 0x7800
    /// AA: from the zone itself.
    public static let authoritative: UInt16 = 0x0400
    /// TC: cut to fit.
    public static let truncated: UInt16 = 0x0200
    /// RD: names of other servers, too.
    public static let recursionDesired: UInt16 = 0x0100
    /// RA: the server forwards.
    public static let recursionAvailable: UInt16 = 0x0080
    /// AD: validated by DNSSEC.
    public static let authenticData: UInt16 = 0x0020
    /// CD: do not validate.
    public static let checkingDisabled: UInt16 = 0x0010
    /// The lower bits of the response code.
    public static let responseCodeMask: UInt16 = 0x000F
}

/// Sizes of the wire format, in octets.
public enum WireSize {
    /// The header (RFC 1035, 4.1.1).
    public static let header = 12
    /// The limit of a UDP message without EDNS (RFC 1035, 2.3.4).
    public static let plainDatagram = 512
    /// The datagram that passes every sane path unfragmented (DNS flag day 2020).
    public static let safeDatagram = 1232
    /// The largest datagram this server sends whatever a client asks for.
    public static let largestDatagram = 4096
    /// The largest message over TCP (RFC 1035, 4.2.2).
    public static let largestMessage = 65535
    /// An OPT record without options (RFC 6891, 6.1.2).
    public static let emptyOPT = 11
}

/// The Internet class (RFC 1035, 3.2.4).
public let internetClass: UInt16 = 1
